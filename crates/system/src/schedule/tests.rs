//! Homes, and who looks at whom. Whose turn it is: `sched`'s tests.

use super::*;
use vault::{Arena, LockWord};

fn schedule(cpus: u32, vcpus: u32) -> Schedule {
    let lock = Box::leak(Box::new(LockWord::new()));
    let mut arena = Arena::leak(1 << 16);
    let region = sched::Region::carve(&mut arena, cpus as usize, 1, vcpus as usize, lock).unwrap();
    Schedule::new(cpus, vcpus, region)
}

#[test]
fn vcpus_of_cpus_that_do_not_run_get_other_homes() {
    let s = schedule(4, 8);
    s.set_online(|cpu| cpu.0 != 1 && cpu.0 != 3);
    let homes: alloc::vec::Vec<u32> = (0..8).map(|vcpu| s.home(VcpuSlot(vcpu)).0).collect();
    assert_eq!(homes, [0, 0, 2, 2, 0, 0, 2, 2]);
    let mut seen = [false; 8];
    for cpu in [0, 2].map(CpuId) {
        while let Some(vcpu) = s.next_woken(cpu) {
            seen[vcpu.0 as usize] |= s.home(vcpu) == cpu;
        }
    }
    assert_eq!(seen, [true; 8], "each is looked at where it is at home");
}
