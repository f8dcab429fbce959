//! `sysenter` of a user program: what its kernel finds, whatever step the hypervisor fails at.

use guest_memory::GuestMemory as _;
use ids::{Gva, Maddr, VcpuSlot};
use pv_cpu::{Context, Mode, Reg, vector};
use simulator::{Cut, Entry, Size, World};
use xen_abi::callback::CALLBACKTYPE_SYSENTER;
use zerocopy::IntoBytes as _;

const VCPU: VcpuSlot = VcpuSlot(0);
const CALLBACK: u64 = 0xffff_ffff_8000_1800;
const PROTECTION_HANDLER: u64 = 0xffff_ffff_8000_1900;
/// Top of the kernel's stack.
const STACK: u64 = 0xffff_ffff_8006_2000;
/// CF, ZF, TF, IF and NT.
const FLAGS: u64 = 0x4341 | 2;

/// A guest in user mode, events allowed, with these entry points, and the state it is in.
fn world(callback: Option<bool>) -> World {
    let world = World::boot(Size { cpus: 1, vcpus: 1 }).expect("a guest");
    world.start_cpu(0).expect("it runs");
    let context = context(&world);
    let mut journal = world.system.journal_beside();
    journal.log().begin();
    journal.change(|tx| {
        tx.set(&context.kernel_sp, STACK);
        tx.set(&context.root_user, context.root_kernel.get());
        tx.set(&context.traps[13].address, Gva(PROTECTION_HANDLER));
        if let Some(mask) = callback {
            let to = &context.callbacks[usize::from(CALLBACKTYPE_SYSENTER)];
            tx.set(&to.address, Gva(CALLBACK));
            tx.set(&to.mask, mask);
        }
    });
    journal.log().end();
    context.set_mode(Mode::User);
    world.machine.store8(upcall_mask(&world), 0);
    world
}

fn context(world: &World) -> &'static Context {
    world.system.state.contexts.context(VCPU)
}

fn upcall_mask(world: &World) -> Maddr {
    let info = world.system.state.events(world.machine).vcpu_info(VCPU).expect("it has one");
    Maddr(info.0 + 1)
}

/// What the stub makes of it.
fn entry() -> Entry {
    let tail = [(Reg::Rip, 0), (Reg::Cs, 3), (Reg::Rflags, FLAGS), (Reg::Rsp, 0), (Reg::Ss, 0xe02b)];
    let general = [(Reg::Rax, 20), (Reg::Rcx, 1), (Reg::R11, 2), (Reg::Rbp, 3)];
    Entry {
        family: "sysenter",
        vector: vector::SYSENTER,
        error: 20,
        registers: tail.into_iter().chain(general).collect(),
        ..Entry::default()
    }
}

/// The kernel runs at `rip` with these words on its stack; the program's other registers are as they were.
fn assert_entered(world: &World, rip: u64, words: &[u64], masked: bool) {
    let context = context(world);
    let found = [Reg::Rip, Reg::Rsp, Reg::Rflags, Reg::Rax, Reg::Rbp].map(|reg| context.registers.get(reg));
    let top = STACK - 8 * words.len() as u64;
    assert_eq!(found, [rip, top, 0x243, 20, 3]);
    assert_eq!((context.mode(), world.machine.load8(upcall_mask(world))), (Mode::Kernel, masked.into()));
    assert_eq!(context.registers.vector.get(), vector::NONE);
    let mut frame = [0_u64; 8];
    let frame = &mut frame[..words.len()];
    world.machine.copy_in(Gva(top), frame.as_mut_bytes()).expect("its stack");
    assert_eq!(frame, words);
}

/// Enters without a crash, then with one at each step.
fn at_every_step(callback: Option<bool>, rip: u64, words: &[u64], masked: bool) {
    let steps = {
        let world = world(callback);
        world.present(&entry());
        let ran = world.enter(&entry(), 0);
        assert_eq!(ran.result, Ok(VCPU));
        assert_entered(&world, rip, words, masked);
        ran.steps
    };
    assert!(steps > 0);
    for step in 1..=steps {
        let mut world = world(callback);
        world.present(&entry());
        assert_eq!(world.enter(&entry(), step).result, Err(Cut::Crash));
        assert_eq!(world.charge(0), Some(1), "it is the entry's failure");
        assert_eq!(world.recover(0, 0).0.result, Ok(VCPU));
        assert_entered(&world, rip, words, masked);
    }
}

#[test]
fn the_kernels_callback_gets_it() {
    // RCX and R11, then what is known of the program: CS with the upcall mask of before, flags, SS.
    for mask in [false, true] {
        at_every_step(Some(mask), CALLBACK, &[1, 2, 0, 3, FLAGS | 0x200, 0, 0xe02b], mask);
    }
}

#[test]
fn without_a_callback_it_is_a_protection_fault() {
    at_every_step(None, PROTECTION_HANDLER, &[1, 2, 0, 0, 3, FLAGS | 0x200, 0, 0xe02b], false);
}
