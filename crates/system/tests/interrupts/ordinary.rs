//! An ordinary domain: what it sees of the processor goes by its own policy, and no port is its.

use crate::{SLOT, SetUp, VCPU, World};
use cpu_policy::cpuid::{Leaf, NO_SUBLEAF};
use cpu_policy::submission::Submission;
use cpu_policy::{Controls, Feature, SystemPolicies};
use guest_memory::GuestMemory as _;
use ids::Gva;
use pv_cpu::{Mode, Reg};
use std::sync::LazyLock;
use vault::Journal;

/// Guest address of the instruction.
const CODE: u64 = 0x9000;
const INVALID_OPCODE: u32 = 6;
const PROTECTION: u32 = 13;
const FORCED_CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];
const CPUID: [u8; 2] = [0x0f, 0xa2];
const RDMSR: [u8; 2] = [0x0f, 0x32];
const IN_AL_DX: [u8; 1] = [0xec];
const OUT_DX_AL: [u8; 1] = [0xee];

fn cpuid(number: u32, _: u32) -> Leaf {
    match number {
        0 => Leaf { eax: 0xd, ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 },
        1 => Leaf { eax: 0x00a0_0f11, ebx: 0x800, ecx: 0x7eda_320b, edx: 0x178b_fbff },
        0xd => Leaf { eax: 7, ebx: 0x340, ecx: 0x340, edx: 0 },
        _ => Leaf::EMPTY,
    }
}

/// The machine's policies.
pub(crate) fn policies() -> &'static SystemPolicies {
    static POLICIES: LazyLock<SystemPolicies> =
        LazyLock::new(|| SystemPolicies::new(cpuid, &Controls::default()));
    &POLICIES
}

/// Takes features of leaf 1 ECX away from the domain.
fn take_away(w: &World, features: u32) {
    let policies = w.system.state.policies;
    let mut submission = Submission::over(&policies.of(SLOT, false));
    let mut value = policies.of(SLOT, false).leaf(1, 0);
    value.ecx &= !features;
    submission.leaf(1, NO_SUBLEAF, &value).unwrap();
    let policy = submission.finish(policies.system.max()).unwrap();
    let mut j = Journal::new(&w.system.state.logs[0], SetUp(w.system), u32::MAX);
    j.log().begin();
    j.change(|tx| policies.choose(tx, SLOT, &policy));
    j.log().end();
}

/// The guest executes `code`, which raises `vector`; it must be emulated.
fn executes(w: &World, mode: Mode, vector: u32, code: &[u8], registers: &[(Reg, u64)]) -> [u64; 4] {
    let context = w.system.state.contexts.context(VCPU);
    let mut bytes = [0x90; 16];
    bytes[..code.len()].copy_from_slice(code);
    w.machine.copy_out(Gva(CODE), &bytes).unwrap();
    context.set_mode(mode);
    context.registers.set(Reg::Rip, CODE);
    for (register, value) in registers {
        context.registers.set(*register, *value);
    }
    context.registers.error_code.set(0);
    context.registers.vector.set(vector);
    w.system.enter(VCPU, context);
    assert_eq!(context.registers.get(Reg::Rip), CODE + code.len() as u64, "not emulated");
    [Reg::Rax, Reg::Rbx, Reg::Rcx, Reg::Rdx].map(|register| context.registers.get(register))
}

#[test]
fn its_kernel_and_its_processes_see_its_own_policy() {
    let w = World::new();
    let (sse3, xsave, osxsave) = (1, u64::from(Feature::XSAVE.mask()), u64::from(Feature::OSXSAVE.mask()));
    let asks = |mode, vector, code| executes(&w, mode, vector, code, &[(Reg::Rax, 1), (Reg::Rcx, 0)])[2];
    let all = asks(Mode::Kernel, INVALID_OPCODE, &FORCED_CPUID);
    assert_eq!(all & (sse3 | xsave | osxsave), sse3 | xsave | osxsave);
    // The hardware domain's kernel alone is told of what it prepares for the hypervisor.
    assert_eq!(all & u64::from(Feature::MONITOR.mask()), 0);
    take_away(&w, 1 | Feature::XSAVE.mask());
    for (mode, vector, code) in [
        (Mode::Kernel, INVALID_OPCODE, &FORCED_CPUID[..]),
        (Mode::Kernel, PROTECTION, &CPUID),
        (Mode::User, PROTECTION, &CPUID),
    ] {
        assert_eq!(asks(mode, vector, code) & (sse3 | xsave | osxsave), 0);
    }
    let version = executes(&w, Mode::Kernel, INVALID_OPCODE, &FORCED_CPUID, &[(Reg::Rax, 0x4000_0000)]);
    assert_eq!(version[0], 0x4000_0005);
}

#[test]
fn registers_are_those_of_an_ordinary_domain() {
    let w = World::new();
    let reads = |index: u64| executes(&w, Mode::Kernel, PROTECTION, &RDMSR, &[(Reg::Rcx, index)]);
    for index in [0xc001_0015, 0xc001_0061, 0xc001_001f] {
        assert_eq!(reads(index), [0, 0, index, 0], "{index:#x}");
    }
    let boot = reads(0x1b);
    assert_eq!((boot[0], boot[3]), (0xfee0_0900, 0));
}

#[test]
fn ports_read_all_ones_and_writes_are_dropped() {
    let w = World::new();
    let context = w.system.state.contexts.context(VCPU);
    let mut j = Journal::new(&w.system.state.logs[0], SetUp(w.system), u32::MAX);
    j.log().begin();
    j.change(|tx| tx.set(&context.iopl, 1));
    j.log().end();
    for port in [0x3f8, 0x61, 0xcf8, 0xcfc, 0x608] {
        let [rax, ..] = executes(&w, Mode::Kernel, PROTECTION, &IN_AL_DX, &[(Reg::Rdx, port), (Reg::Rax, 0)]);
        assert_eq!(rax, 0xff, "port {port:#x}");
        executes(&w, Mode::Kernel, PROTECTION, &OUT_DX_AL, &[(Reg::Rdx, port)]);
    }
    assert_eq!(w.machine.hardware().port_accesses, 0);
}

#[test]
fn of_the_interval_timer_dom0_has_channel_2() {
    let w = World::new();
    let state = w.system.state;
    let context = state.contexts.context(VCPU);
    let slot = state.domains.vcpu(VCPU).domain.get();
    let mut j = Journal::new(&state.logs[0], SetUp(w.system), u32::MAX);
    j.log().begin();
    j.change(|tx| {
        tx.set(&context.iopl, 1);
        tx.set(&state.domains.domain(slot).privileged, true);
    });
    j.log().end();
    let reads =
        |port: u64| executes(&w, Mode::Kernel, PROTECTION, &IN_AL_DX, &[(Reg::Rdx, port), (Reg::Rax, 0)])[0];
    // The machine's ports read 0 in this test.
    for (port, value) in [(0x40, 0xff), (0x41, 0xff), (0x42, 0), (0x43, 0xff), (0x61, 0)] {
        assert_eq!(reads(port), value, "port {port:#x}");
    }
    let writes = |port: u64, value: u64| {
        w.machine.hardware().written = None;
        executes(&w, Mode::Kernel, PROTECTION, &OUT_DX_AL, &[(Reg::Rdx, port), (Reg::Rax, value)]);
        w.machine.hardware().written
    };
    for (port, value, written) in [
        (0x40, 1, None),
        (0x42, 0x12, Some(0x12)),
        // Counters 0 and 1; counter 2; what is read back of all, and of the first two.
        (0x43, 0x34, None),
        (0x43, 0x74, None),
        (0x43, 0xb0, Some(0xb0)),
        (0x43, 0xce, Some(0xc8)),
        (0x43, 0xc6, None),
        // The gate and the speaker, not what silences NMIs.
        (0x61, 0xff, Some(3)),
    ] {
        assert_eq!(writes(port, value), written.map(|value| (port as u16, value)), "{port:#x} {value:#x}");
    }
}
