//! A program on its way back is interrupted by an event: its kernel sees its runstate at once, whatever step the
//! hypervisor fails at.

use guest_memory::GuestMemory as _;
use ids::{CpuId, DomainSlot, Gva, Maddr, VcpuSlot};
use pv_cpu::{Context, Mode, Reg, SAVED};
use simulator::{Cut, Entry, Size, World};
use vault::{Effect, kind};
use xen_abi::callback::CALLBACKTYPE_EVENT;

const VCPU: VcpuSlot = VcpuSlot(0);
const AREA: Gva = Gva(0xffff_ffff_8000_3b20);
const CALLBACK: u64 = 0xffff_ffff_8000_1800;
/// Top of the kernel's stack.
const STACK: u64 = 0xffff_ffff_8006_2000;
/// An interrupt that nothing waits for.
const SPURIOUS: u32 = 0xff;

/// A guest in user mode with a runstate area that shows nothing yet, and an event pending.
fn world() -> World {
    let mut world = World::boot(Size { cpus: 1, vcpus: 1 }).expect("a guest");
    world.start_cpu(0).expect("it runs");
    let (context, state) = (context(&world), world.system.state);
    let events = state.events(world.machine);
    let mut journal = world.system.journal_beside();
    journal.log().begin();
    let port = journal.change(|tx| {
        tx.set(&context.kernel_sp, STACK);
        tx.set(&context.root_user, context.root_kernel.get());
        tx.set(&context.callbacks[usize::from(CALLBACKTYPE_EVENT)].address, Gva(CALLBACK));
        state.timers().set_area(tx, VCPU, AREA).expect("a vCPU");
        events.bind_ipi(tx, DomainSlot(0), 0).expect("a port")
    });
    events.raise(DomainSlot(0), port);
    journal.log().end();
    context.set_mode(Mode::User);
    let info = events.vcpu_info(VCPU).expect("it has one");
    world.machine.store8(Maddr(info.0 + 1), 0);
    // As after a start: nothing derived knows what the area shows.
    let saved = world.save();
    world.restore(&saved, true);
    world
}

fn context(world: &World) -> &'static Context {
    world.system.state.contexts.context(VCPU)
}

fn entry() -> Entry {
    Entry {
        family: "interrupt",
        vector: SPURIOUS,
        registers: vec![
            (Reg::Rip, 0x40_0000),
            (Reg::Cs, 0x33),
            (Reg::Rflags, 0x202),
            (Reg::Rsp, 0x7f_0000),
            (Reg::Ss, 0x2b),
        ],
        ..Entry::default()
    }
}

fn shows_the_kernel_its_runstate(world: &World, when: &str) {
    assert_eq!(context(world).mode(), Mode::Kernel, "{when}: it was not interrupted");
    assert_eq!(context(world).registers.get(Reg::Rip), CALLBACK, "{when}");
    world.audit_area().unwrap_or_else(|e| panic!("{when}: {e}"));
}

#[test]
fn an_upcall_finds_the_runstate_shown() {
    let steps = {
        let world = world();
        world.present(&entry());
        let ran = world.enter(&entry(), 0);
        assert!(ran.result.is_ok());
        shows_the_kernel_its_runstate(&world, "without a crash");
        ran.steps
    };
    for step in 1..=steps {
        let mut world = world();
        world.present(&entry());
        assert_eq!(world.enter(&entry(), step).result, Err(Cut::Crash));
        assert!(world.recover(0, 0).0.result.is_ok());
        shows_the_kernel_its_runstate(&world, &format!("step {step}"));
    }
}

#[test]
fn nothing_is_shown_of_one_whose_page_tables_are_not_in_use() {
    const SECOND: VcpuSlot = VcpuSlot(1);
    const UNTOUCHED: [u8; 48] = [0xaa; 48];
    let world = World::boot(Size { cpus: 1, vcpus: 2 }).expect("a guest");
    world.start_cpu(0).expect("it runs");
    let mut journal = world.system.journal_beside();
    journal.log().begin();
    journal.change(|tx| world.system.state.timers().set_area(tx, SECOND, AREA)).expect("a vCPU");
    journal.log().end();
    world.machine.copy_out(AREA, &UNTOUCHED).expect("mapped");
    // Taken, and then it was found that it may not run.
    let context = world.system.state.contexts.context(SECOND);
    context.set_mode(Mode::Kernel);
    context.fpu_saved.set(SAVED);
    world.system.schedule.keep(CpuId(0), SECOND);
    let mut journal = world.system.journal_beside();
    journal.log().begin();
    journal.change(|tx| tx.publish(Effect { kind: kind::KICK, x: VCPU.0, a: 0, b: 0 }));
    journal.log().end();
    world.start_cpu(0).expect("it runs");
    assert_eq!(world.system.schedule.loaded(CpuId(0)), Some(VCPU));
    let mut seen = [0; 48];
    world.machine.copy_in(AREA, &mut seen).expect("mapped");
    assert_eq!(seen, UNTOUCHED);
}
