//! Turns, homes, taking over.

use super::*;

const CPU: CpuId = CpuId(0);
const MS: u64 = 1_000_000;

fn slots(range: core::ops::Range<u32>) -> impl Iterator<Item = VcpuSlot> {
    range.map(VcpuSlot)
}

/// One CPU, three vCPUs that always want to run: nanoseconds that each gets of `ticks` ms.
#[test]
fn turns_are_fair() {
    let s = Schedule::new(1, 3);
    let mut got = [0; 3];
    slots(0..3).for_each(|vcpu| assert!(s.make_ready(CPU, vcpu, 0)));
    let mut current = None;
    for tick in 0..300 {
        current = s.choose(CPU, current, s.is_over(CPU, tick * MS), tick * MS, |_| true);
        got[current.unwrap().0 as usize] += 1;
        assert_eq!(s.turn_ends(CPU), tick / 10 * 10 * MS + 10 * MS, "no look renews a turn");
    }
    assert_eq!(got, [100; 3]);
    let next = s.choose(CPU, current, true, 300 * MS, |vcpu| vcpu.0 == 1);
    assert_eq!(next, Some(VcpuSlot(1)), "a yield passes the turn on to who can run");
}

#[test]
fn who_wakes_does_not_wait_long_and_who_is_alone_is_not_stopped() {
    let s = Schedule::new(1, 2);
    let zero = s.choose(CPU, Some(VcpuSlot(0)), true, 0, |_| true);
    assert_eq!((zero, s.turn_ends(CPU), s.is_over(CPU, 1 << 60)), (Some(VcpuSlot(0)), NEVER, false));
    assert!(s.make_ready(CPU, VcpuSlot(1), MS / 2));
    assert_eq!((s.turn_ends(CPU), s.is_over(CPU, MS / 2)), (MS, false));
    assert!(s.make_ready(CPU, VcpuSlot(1), 7 * MS));
    assert_eq!(s.choose(CPU, zero, s.is_over(CPU, 7 * MS), 7 * MS, |_| true), Some(VcpuSlot(1)));
}

#[test]
fn vcpus_of_cpus_that_do_not_run_get_other_homes() {
    let s = Schedule::new(4, 8);
    s.set_online(|cpu| cpu.0 != 1 && cpu.0 != 3);
    let homes: alloc::vec::Vec<u32> = slots(0..8).map(|vcpu| s.home(vcpu).0).collect();
    assert_eq!(homes, [0, 0, 2, 2, 0, 0, 2, 2]);
    let mut seen = [false; 8];
    for cpu in [0, 2].map(CpuId) {
        while let Some(vcpu) = s.next_woken(cpu) {
            seen[vcpu.0 as usize] |= s.home(vcpu) == cpu;
        }
    }
    assert_eq!(seen, [true; 8], "each is looked at where it is at home");
}

#[test]
fn only_who_is_in_memory_is_taken_over() {
    let s = Schedule::new(2, 4);
    s.keep(CPU, VcpuSlot(0));
    assert!(s.make_ready(CPU, VcpuSlot(0), 0));
    assert_eq!(s.take_over(CpuId(1), |_| true), None, "its registers are in its CPU");
    assert!(s.make_ready(CPU, VcpuSlot(2), 0));
    assert_eq!(s.take_over(CpuId(1), |_| false), None, "pinned");
    assert_eq!(s.take_over(CpuId(1), |_| true), Some(VcpuSlot(2)));
    assert_eq!((s.home(VcpuSlot(2)), s.wake(VcpuSlot(2))), (CpuId(1), CpuId(1)));
    // Woken here before it was taken over, and looked at after: it must not wait in two places.
    assert!(!s.make_ready(CPU, VcpuSlot(2), 0));
    assert!(s.is_alone(CPU) || s.has_ready(CPU, |vcpu| vcpu == VcpuSlot(0)), "only who it holds is left");
    assert!(!s.has_ready(CPU, |vcpu| vcpu == VcpuSlot(2)));
    s.set_idle(CpuId(1), true);
    assert_eq!((s.call_idle(), s.call_idle()), (Some(CpuId(1)), None), "called once");
}
