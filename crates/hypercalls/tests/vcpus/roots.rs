//! Root tables: which of them show the machine-to-physical table.

use crate::world::World;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use xen_abi::arch::{VGCF_IN_KERNEL, VcpuGuestContext};
use xen_abi::hypercall::{MMUEXT_OP, VCPU_OP, VM_ASSIST};
use xen_abi::vcpu::VCPUOP_INITIALISE;
use xen_abi::xen::{
    DOMID_SELF, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MmuextOp, VMASST_CMD_ENABLE,
    VMASST_TYPE_M2P_STRICT,
};
use zerocopy::FromZeros;

/// What the test's machine has in slot 256.
const M2P: u64 = crate::world::SLOTS[0];

fn shows(w: &World, root: Mfn) -> bool {
    let entry = w.memory.load64(Maddr(root.maddr().0 + 8 * 256));
    assert!(entry == 0 || entry == M2P, "{entry:#x}");
    entry == M2P
}

fn load(w: &mut World, cmd: u32, root: Mfn) {
    let at = w.argument(&MmuextOp { cmd, _pad0: [0; 4], arg1: root.0, arg2: 0 });
    assert_eq!(w.value(MMUEXT_OP, &[at, 1, 0, DOMID_SELF.into()]), 0);
}

/// Another vCPU begins in this root.
fn initialise(w: &mut World, vcpu: u64, kernel: Mfn, user: Mfn) {
    let mut c = Box::new(VcpuGuestContext::new_zeroed());
    c.flags = VGCF_IN_KERNEL;
    (c.ctrlreg[3], c.ctrlreg[1]) = (kernel.0 << 12, user.0 << 12);
    let at = w.argument(&*c);
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_INITIALISE.into(), vcpu, at]), 0);
}

#[test]
fn a_kernel_sees_the_m2p_through_whatever_root() {
    let mut w = World::new();
    let [one, two, three] = [0; 3].map(|_| w.frame(DomainSlot(0)));
    load(&mut w, MMUEXT_NEW_BASEPTR, one);
    load(&mut w, MMUEXT_NEW_USER_BASEPTR, two);
    assert!(shows(&w, one) && !shows(&w, two));
    // A process's root becomes that of another vCPU's kernel; then a kernel's that of a process.
    initialise(&mut w, 1, two, three);
    assert!(shows(&w, two) && !shows(&w, three));
    load(&mut w, MMUEXT_NEW_USER_BASEPTR, one);
    load(&mut w, MMUEXT_NEW_BASEPTR, three);
    load(&mut w, MMUEXT_NEW_USER_BASEPTR, two);
    assert_eq!(w.state.contexts.context(VcpuSlot(1)).root_kernel.get(), two);
    assert!(shows(&w, two) && shows(&w, three), "kernels use them");
}

#[test]
fn processes_of_a_strict_guest_do_not() {
    let mut w = World::new();
    let [one, two] = [0; 2].map(|_| w.frame(DomainSlot(0)));
    assert_eq!(w.value(VM_ASSIST, &[VMASST_CMD_ENABLE.into(), VMASST_TYPE_M2P_STRICT.into()]), 0);
    load(&mut w, MMUEXT_NEW_BASEPTR, one);
    load(&mut w, MMUEXT_NEW_BASEPTR, two);
    load(&mut w, MMUEXT_NEW_USER_BASEPTR, one);
    assert!(!shows(&w, one) && shows(&w, two));
    initialise(&mut w, 1, one, two);
    assert!(shows(&w, one) && !shows(&w, two), "the last use decides");
}
