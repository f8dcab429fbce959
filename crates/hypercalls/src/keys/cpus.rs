//! Keys about who runs, time and registers.

use super::domains::Cpus;
use super::report::Report;
use crate::domain_info::live;
use guest_memory::GuestMemory;
use ids::{CpuId, DomainSlot, VcpuSlot};
use pv_cpu::{Mode, Reg};
use vault::Apply;

/// Pools with their CPUs, and who runs in them.
pub(super) fn schedule<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let (state, now) = (report.state(), report.call.now());
    report.line(format_args!("NOW={now}"));
    let mut next = Some(0);
    while let Some((pool, id)) = next.and_then(|id| state.sched.pool_from(id)) {
        let cpus = state.sched.cpus_of(pool);
        report.line(format_args!(
            "Cpupool {id}: CPUs {}, scheduler credit2, shortest turn {} us",
            Cpus(&cpus),
            state.sched.shortest_turn(pool)
        ));
        for CpuId(cpu) in cpus.iter() {
            let idle = state.sched.idle_time(CpuId(cpu), now) / 1_000_000;
            report.line(format_args!("    CPU[{cpu:02}] was idle for {idle} ms"));
        }
        for slot in crate::pools::members(state, pool) {
            vcpus(report, slot);
        }
        next = id.checked_add(1);
    }
}

fn vcpus<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>, slot: DomainSlot) {
    let (state, id) = (report.state(), report.id(slot));
    let (weight, cap) = (state.sched.weight(slot), state.sched.cap(slot));
    report.line(format_args!("    Domain: {id} w {weight} c {cap}"));
    for vcpu in state.domains.vcpus_of(slot) {
        let (record, home) = (state.domains.vcpu(vcpu), state.timers().home(vcpu).0);
        let held = if report.call.cpus.hold(vcpu) { "on" } else { "of" };
        report.line(format_args!(
            "      d{id}v{} {held} CPU {home}: {:?}",
            record.id.get().0,
            record.state()
        ));
    }
}

/// When each CPU and each vCPU wants to be woken.
pub(super) fn timers<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let (state, now) = (report.state(), report.call.now());
    report.line(format_args!("Dumping timer queues: NOW={now}"));
    for cpu in 0..state.facts.cpus().len() as u32 {
        let at = state.timers().derived.earliest(CpuId(cpu));
        report.line(format_args!("CPU{cpu:02}: {}", Until(at, now)));
    }
    for slot in live(state) {
        for vcpu in state.domains.vcpus_of(slot) {
            let Ok([single, periodic, poll]) = state.timers().deadlines(vcpu) else { continue };
            let (id, number) = (report.id(slot), state.domains.vcpu(vcpu).id.get().0);
            let each = [single, periodic, poll].map(|at| Until(at, now));
            report.line(format_args!(
                "  d{id}v{number}: single {}, periodic {}, poll {}",
                each[0], each[1], each[2]
            ));
        }
    }
}

/// Time until a deadline; 0 and the end of time are none.
struct Until(u64, u64);

impl core::fmt::Display for Until {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Until(0 | u64::MAX, _) => f.write_str("none"),
            Until(at, now) if at >= now => write!(f, "in {} us", (at - now) / 1000),
            Until(at, now) => write!(f, "{} us ago", (now - at) / 1000),
        }
    }
}

/// What the clock is.
pub(super) fn clock<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let (timing, now) = (&report.state().facts.timing, report.call.now());
    let invariant = if timing.tsc_invariant { "invariant" } else { "not invariant" };
    report
        .line(format_args!("One clock for all CPUs: TSC of {} kHz, {invariant}, NOW={now}", timing.tsc_khz));
}

/// NMIs that vCPUs have not taken yet.
pub(super) fn nmis<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let state = report.state();
    for slot in live(state) {
        for vcpu in state.domains.vcpus_of(slot) {
            let (id, record) = (report.id(slot), state.domains.vcpu(vcpu));
            let pending = record.nmi_pending.get();
            report.line(format_args!("d{id}v{}: NMI pending {pending}", record.id.get().0));
        }
    }
}

/// The registers of Dom0's vCPUs.
pub(super) fn dom0_registers<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    if let Some(slot) = report.state().domains.by_id(ids::DomId(0)) {
        registers_of(report, slot);
    }
}

/// The registers of all vCPUs.
pub(super) fn registers<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    for slot in live(report.state()) {
        registers_of(report, slot);
    }
}

fn registers_of<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>, slot: DomainSlot) {
    for vcpu in report.state().domains.vcpus_of(slot) {
        one_vcpu(report, slot, vcpu);
    }
}

/// The registers of its last entry; those that a CPU holds may have gone on since.
fn one_vcpu<M: GuestMemory + 'static, A: Apply>(
    report: &mut Report<'_, '_, M, A>,
    slot: DomainSlot,
    vcpu: VcpuSlot,
) {
    let (state, id) = (report.state(), report.id(slot));
    let (context, number) = (state.contexts.context(vcpu), state.domains.vcpu(vcpu).id.get().0);
    let when = if report.call.cpus.hold(vcpu) { "at its last entry" } else { "at rest" };
    let mode = if context.mode() == Mode::Kernel { "kernel" } else { "user" };
    report.line(format_args!(
        "*** d{id}v{number} {when}, {mode} mode, CR3 of frame {:#x}: ***",
        context.root().0
    ));
    let get = |register| context.registers.get(register);
    report.line(format_args!(
        "RIP    {:04x}:{:016x}  RFLAGS {:016x}",
        get(Reg::Cs),
        get(Reg::Rip),
        get(Reg::Rflags)
    ));
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] =
        context.registers.general();
    report.line(format_args!("rax {rax:016x} rbx {rbx:016x} rcx {rcx:016x} rdx {rdx:016x}"));
    report.line(format_args!("rsi {rsi:016x} rdi {rdi:016x} rbp {rbp:016x} rsp {rsp:016x}"));
    report.line(format_args!("r8  {r8:016x} r9  {r9:016x} r10 {r10:016x} r11 {r11:016x}"));
    report.line(format_args!("r12 {r12:016x} r13 {r13:016x} r14 {r14:016x} r15 {r15:016x}"));
}
