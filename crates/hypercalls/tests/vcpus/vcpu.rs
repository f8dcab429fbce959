use crate::world::{World, error};
use domains::{Life, VcpuState};
use guest_memory::GuestMemory;
use hypercalls::Outcome;
use ids::{DomainSlot, Gva, Maddr, VcpuSlot};
use xen_abi::Errno;
use xen_abi::hypercall::{NMI_OP, SET_TIMER_OP, VCPU_OP};
use xen_abi::nmi::{XENNMI_REGISTER_CALLBACK, XENNMI_UNREGISTER_CALLBACK, XennmiCallback};
use xen_abi::vcpu::*;
use zerocopy::{Immutable, IntoBytes};

fn op<T: IntoBytes + Immutable>(world: &mut World, command: u32, vcpu: u64, argument: &T) -> i64 {
    let at = world.argument(argument);
    world.value(VCPU_OP, &[command.into(), vcpu, at])
}

fn bare(world: &mut World, command: u32, vcpu: u64) -> i64 {
    world.value(VCPU_OP, &[command.into(), vcpu, 0])
}

#[test]
fn who_is_up() {
    let mut w = World::new();
    let up = [0, 1, 3, 8191, u64::MAX].map(|vcpu| bare(&mut w, VCPUOP_IS_UP, vcpu));
    assert_eq!(up, [1, 0, error(Errno::ENOENT), error(Errno::ENOENT), error(Errno::ENOENT)]);
    assert_eq!(bare(&mut w, VCPUOP_UP, 1), error(Errno::EINVAL), "not initialised");
    assert_eq!(bare(&mut w, 14, 0), error(Errno::ENOSYS));
}

#[test]
fn an_nmi_waits_for_its_vcpu() {
    let mut w = World::new();
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_SEND_NMI.into(), 1, 8]), error(Errno::EINVAL), "no argument");
    assert!(!w.state.domains.vcpu(VcpuSlot(1)).nmi_pending.get());
    assert_eq!(bare(&mut w, VCPUOP_SEND_NMI, 1), 0);
    assert_eq!((w.state.domains.vcpu(VcpuSlot(1)).nmi_pending.get(), &w.kicked[..]), (true, &[1][..]));
}

#[test]
fn the_nmi_handler_is_an_entry_of_the_trap_table() {
    let mut w = World::new();
    let trap = &w.state.contexts.context(VcpuSlot(0)).traps[2];
    let callback = |handler_address| XennmiCallback { handler_address, _pad: 0 };
    let register = |w: &mut World, address| {
        let at = w.argument(&callback(address));
        w.value(NMI_OP, &[XENNMI_REGISTER_CALLBACK.into(), at])
    };
    assert_eq!(register(&mut w, 1 << 47), error(Errno::EINVAL));
    assert_eq!(register(&mut w, 0x1000), 0);
    assert_eq!((trap.address.get(), trap.cs.get(), trap.flags.get()), (Gva(0x1000), 0xe033, 0));
    assert_eq!(w.value(NMI_OP, &[XENNMI_REGISTER_CALLBACK.into(), 1 << 40]), error(Errno::EFAULT));
    assert_eq!(w.value(NMI_OP, &[XENNMI_UNREGISTER_CALLBACK.into(), 0]), 0);
    assert_eq!(trap.address.get(), Gva(0));
    assert_eq!(w.value(NMI_OP, &[2, 0]), error(Errno::ENOSYS));
}

#[test]
fn physical_identifiers_are_for_pinned_vcpus() {
    let mut w = World::new();
    let at = w.argument(&0_u64);
    let get = |w: &mut World, vcpu| w.value(VCPU_OP, &[VCPUOP_GET_PHYSID.into(), vcpu, at]);
    assert_eq!(get(&mut w, 0), error(Errno::EINVAL));
    let region = w.state.sched;
    w.change(|tx| {
        (1..3).for_each(|vcpu| region.bind(tx, VcpuSlot(vcpu), &[ids::CpuId(0)].into_iter().collect()))
    });
    assert_eq!([get(&mut w, 1), get(&mut w, 2)], [0, error(Errno::EINVAL)], "there are two CPUs");
    assert_eq!(w.memory.read::<u64>(Gva(at)).unwrap(), 6 << 32 | 6);
}

#[test]
fn up_down_and_the_last_one() {
    let mut w = World::new();
    let vcpu = w.state.domains.vcpu(VcpuSlot(1));
    w.change(|tx| tx.set(&vcpu.initialised, true));
    assert_eq!(bare(&mut w, VCPUOP_UP, 1), 0);
    assert_eq!((w.vcpu_state(1), &w.kicked[..]), (VcpuState::Runnable, &[1][..]));
    assert_eq!((w.runstate(1).state, w.runstate(1).spent[3]), (timers::State::Runnable as u32, w.now));
    assert_eq!(bare(&mut w, VCPUOP_UP, 1), 0);
    assert!(w.kicked.is_empty());
    assert_eq!(bare(&mut w, VCPUOP_DOWN, 1), 0);
    assert_eq!((w.vcpu_state(1), &w.kicked[..]), (VcpuState::Down, &[1][..]));
    assert_eq!(w.runstate(1).state, timers::State::Offline as u32);
    assert_eq!(w.run(0, VCPU_OP, &[VCPUOP_DOWN.into(), 0]), (0, Outcome::Shutdown));
    let domain = w.state.domains.domain(DomainSlot(0));
    assert_eq!((domain.life(), domain.shutdown.get()), (Life::Shutdown, 1), "powered off");
}

#[test]
fn one_shot_timers() {
    let mut w = World::new();
    let deadline = |w: &World| w.deadlines(0)[0];
    let set = |timeout_abs_ns, flags| VcpuSetSingleshotTimer { timeout_abs_ns, flags, _pad0: [0; 4] };
    assert_eq!(op(&mut w, VCPUOP_SET_SINGLESHOT_TIMER, 0, &set(5_000_000, 1)), 0);
    assert_eq!((deadline(&w), &w.timers[..]), (5_000_000, &[0][..]));
    assert_eq!(op(&mut w, VCPUOP_SET_SINGLESHOT_TIMER, 0, &set(999_999, 1)), error(Errno::ETIME));
    assert_eq!(deadline(&w), 5_000_000);
    assert_eq!(op(&mut w, VCPUOP_SET_SINGLESHOT_TIMER, 0, &set(0, 0)), 0);
    assert_eq!(deadline(&w), 1, "long past");
    assert_eq!(op(&mut w, VCPUOP_SET_SINGLESHOT_TIMER, 1, &set(0, 0)), error(Errno::EINVAL));
    assert_eq!(bare(&mut w, VCPUOP_STOP_SINGLESHOT_TIMER, 1), error(Errno::EINVAL));
    assert_eq!(bare(&mut w, VCPUOP_STOP_SINGLESHOT_TIMER, 0), 0);
    assert_eq!(deadline(&w), 0);
    assert_eq!(w.value(SET_TIMER_OP, &[7_000_000]), 0);
    assert_eq!((deadline(&w), &w.timers[..]), (7_000_000, &[0][..]));
    for wrapped in [u64::MAX - 5, w.now + (1 << 50)] {
        assert_eq!(w.value(SET_TIMER_OP, &[wrapped]), 0);
        assert_eq!(deadline(&w), w.now + 100_000_000);
    }
    assert_eq!(w.value(SET_TIMER_OP, &[0]), 0);
    assert_eq!(deadline(&w), 0);
    assert_eq!(bare(&mut w, VCPUOP_STOP_PERIODIC_TIMER, 1), 0);
    let periodic = |period_ns| VcpuSetPeriodicTimer { period_ns };
    assert_eq!(op(&mut w, VCPUOP_SET_PERIODIC_TIMER, 0, &periodic(10)), error(Errno::EINVAL));
    assert_eq!(op(&mut w, VCPUOP_SET_PERIODIC_TIMER, 0, &periodic(u64::MAX)), error(Errno::EINVAL));
    assert_eq!(op(&mut w, VCPUOP_SET_PERIODIC_TIMER, 1, &periodic(10_000_000)), 0, "also for others");
    assert_eq!((w.deadlines(1)[1], &w.timers[..]), (w.now + 10_000_000, &[1][..]));
    assert_eq!(bare(&mut w, VCPUOP_STOP_PERIODIC_TIMER, 1), 0);
    assert_eq!(w.deadlines(1)[1], 0);
}

#[test]
fn runstate_areas() {
    let mut w = World::new();
    let area = |addr| VcpuRegisterRunstateMemoryArea { addr };
    for (vcpu, state) in [(0, RUNSTATE_RUNNING), (1, RUNSTATE_OFFLINE)] {
        let to = w.argument(&[0_u64; 6]);
        assert_eq!(op(&mut w, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, vcpu, &area(to)), 0);
        let info: VcpuRunstateInfo = w.memory.read(Gva(to)).unwrap();
        // The caller's own as it is shown at each change, another's up to now.
        assert_eq!((info.state, info.time[state as usize]), (state, if vcpu == 0 { 0 } else { w.now }));
        assert_eq!(w.state.timers().area(VcpuSlot(vcpu as u32)), Some(Gva(to)));
    }
    let hidden = area(0xffff_8200_0000_0000);
    assert_eq!(op(&mut w, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, &hidden), error(Errno::EFAULT));
    let at = w.argument(&[0_u64; 6]);
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_GET_RUNSTATE_INFO.into(), 0, at]), 0);
    let info: VcpuRunstateInfo = w.memory.read(Gva(at)).unwrap();
    assert_eq!((info.state, info.time[0]), (RUNSTATE_RUNNING, w.now));
    let nowhere = 1 << 40;
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_GET_RUNSTATE_INFO.into(), 0, nowhere]), error(Errno::EFAULT));
}

#[test]
fn time_area_shows_the_clock() {
    let mut w = World::new();
    w.memory.store64(w.info(0, 40), 1234);
    let to = w.argument(&[9_u64; 4]);
    let area = VcpuRegisterTimeMemoryArea { addr: to };
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 1, &area), 0);
    assert_eq!(w.memory.read::<[u64; 4]>(Gva(to)).unwrap(), [0, 1234, 0, 0]);
    assert_eq!(w.state.domains.vcpu(VcpuSlot(1)).time_area.get(), Gva(to));
}

#[test]
fn vcpu_info_moves_once() {
    let mut w = World::new();
    let (frame, foreign) = (w.frame(DomainSlot(0)), w.frame(DomainSlot(1)));
    let at = |frame: ids::Mfn, offset| VcpuRegisterVcpuInfo { mfn: frame.0, offset, rsvd: 0 };
    w.memory.store64(w.info(1, 16), 0xfeed);
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_INFO, 1, &at(foreign, 0)), error(Errno::EINVAL));
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_INFO, 1, &at(frame, 4033)), error(Errno::ENXIO));
    assert_eq!(w.references(frame), (1, 0));
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_INFO, 1, &at(frame, 0x3c0)), 0);
    assert_eq!(w.kicked, [1]);
    assert_eq!(w.info(1, 0), Maddr(frame.maddr().0 + 0x3c0));
    assert_eq!(w.memory.load64(w.info(1, 0)) & 0xffff, 0x0101, "pending, still masked");
    assert_eq!(w.memory.load64(w.info(1, 8)), u64::MAX);
    assert_eq!(w.memory.load64(w.info(1, 16)), 0xfeed, "the contents moved");
    assert_eq!(w.references(frame), (2, 1));
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_INFO, 1, &at(frame, 0)), error(Errno::EINVAL));
    let other = w.state.domains.vcpu(VcpuSlot(2));
    w.change(|tx| other.set_state(tx, VcpuState::Blocked));
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_INFO, 2, &at(frame, 0)), error(Errno::EINVAL), "not down");
    assert_eq!(op(&mut w, VCPUOP_REGISTER_VCPU_INFO, 0, &at(frame, 0)), 0, "itself");
    assert_eq!(w.references(frame), (3, 2));
}
