//! Which CPUs a flush asks.

use crate::{SLOT, SetUp, VCPU, World};
use guest_memory::GuestMemory as _;
use ids::{CpuId, DomainSlot, Gva, VcpuSlot};
use pv_cpu::{Mode, Reg, vector};
use system::Flush;
use vault::{Journal, flush};
use xen_abi::hypercall;
use xen_abi::xen::{DOMID_SELF, MMUEXT_INVLPG_ALL, MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL, MmuextOp};
use zerocopy::IntoBytes as _;

/// Where the guest has its request, and the page that it names.
const REQUEST: u64 = 0x9000;
const PAGE: u64 = 0xffff_8880_1234_5000;
/// Another domain's vCPU, and a second one of the first domain's.
const STRANGER: VcpuSlot = VcpuSlot(1);
const SISTER: VcpuSlot = VcpuSlot(2);

/// CPU 1 holds another domain's vCPU, CPU 2 one of the domain that CPU 0 runs, CPU 3 none.
fn world() -> World {
    let w = World::new();
    let mut j = Journal::new(&w.system.state.logs[0], SetUp(w.system), u32::MAX);
    j.log().begin();
    j.change(|tx| {
        tx.set(&w.system.state.domains.vcpu(STRANGER).domain, DomainSlot(1));
        tx.set(&w.system.state.domains.vcpu(SISTER).domain, SLOT);
    });
    j.log().end();
    w.system.schedule.keep(CpuId(1), STRANGER);
    w.system.schedule.keep(CpuId(2), SISTER);
    w
}

/// Whom the guest's request makes the hypervisor ask for what.
fn asks(w: &World, cmd: u32) -> Vec<(CpuId, Flush)> {
    let context = w.system.state.contexts.context(VCPU);
    let op = MmuextOp { cmd, _pad0: [0; 4], arg1: PAGE, arg2: 0 };
    w.machine.copy_out(Gva(REQUEST), op.as_bytes()).unwrap();
    context.set_mode(Mode::Kernel);
    let arguments = [
        (Reg::Rax, u64::MAX),
        (Reg::Rdi, REQUEST),
        (Reg::Rsi, 1),
        (Reg::Rdx, 0),
        (Reg::R10, DOMID_SELF.into()),
    ];
    for (register, value) in arguments {
        context.registers.set(register, value);
    }
    context.registers.error_code.set(hypercall::MMUEXT_OP as u32);
    context.registers.vector.set(vector::SYSCALL);
    w.system.enter(VCPU, context);
    assert_eq!(context.registers.get(Reg::Rax), 0, "refused");
    std::mem::take(&mut w.machine.asked.lock().unwrap())
}

#[test]
fn a_guests_flush_asks_who_holds_its_vcpus() {
    let w = world();
    assert_eq!(asks(&w, MMUEXT_TLB_FLUSH_ALL), [(CpuId(2), Flush::All)]);
    assert_eq!(asks(&w, MMUEXT_INVLPG_ALL), [(CpuId(2), Flush::Page(Gva(PAGE)))]);
    assert_eq!(asks(&w, MMUEXT_TLB_FLUSH_LOCAL), []);
    // Whether it runs there or not.
    w.system.schedule.keep(CpuId(3), SISTER);
    assert_eq!(asks(&w, MMUEXT_TLB_FLUSH_ALL), [2, 3].map(|cpu| (CpuId(cpu), Flush::All)));
}

#[test]
fn a_flush_for_frames_that_are_used_again_asks_everyone() {
    let w = world();
    let mut journal = w.system.journal_beside();
    journal.log().begin();
    journal.change(|tx| tx.publish(flush::EVERYWHERE));
    journal.log().end();
    assert_eq!(*w.machine.asked.lock().unwrap(), [1, 2, 3].map(|cpu| (CpuId(cpu), Flush::All)));
}
