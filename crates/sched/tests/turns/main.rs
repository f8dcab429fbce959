//! Shares of CPU time, in virtual time: weights, caps, affinity, pools; who wakes, and who waits.

mod model;

use ids::{CpuId, DomainSlot};
use model::{Life, MS, S, World};
use proptest::prelude::*;
use sched::CpuSet;

/// Whether `got` is `wanted` within so many thousandths.
fn is_near(got: u64, wanted: u64, thousandths: u64) -> bool {
    got.abs_diff(wanted) <= wanted * thousandths / 1000
}

fn busy(domains: u16) -> Vec<(u16, Life)> {
    (0..domains).map(|domain| (domain, Life::Busy)).collect()
}

#[test]
fn four_weights_share_one_cpu() {
    let mut w = World::new(1, &busy(4));
    (0..4).for_each(|domain| w.weigh(domain, 256 << domain, 0));
    w.look_at_all();
    w.run(10 * S);
    for domain in 0..4 {
        let wanted = 10 * S * (1 << domain) / 15;
        assert!(is_near(w.time_of(domain), wanted, 20), "{domain}: {} of {wanted}", w.time_of(domain));
    }
    // Turns of at least a millisecond, and not much less than three on average.
    assert!(w.looks < 10 * 1000 / 2, "{} looks", w.looks);
}

#[test]
fn weights_share_several_cpus() {
    // Twice as many CPUs as 1:1:2:2:3:3 can use for one: none is to get more than one.
    let mut w = World::new(2, &busy(6));
    for (domain, weight) in (0..).zip([1, 1, 2, 2, 3, 3]) {
        w.weigh(domain, weight * 100, 0);
    }
    w.look_at_all();
    w.run(10 * S);
    for (domain, weight) in (0..).zip([1, 1, 2, 2, 3, 3]) {
        let wanted = 20 * S * weight / 12;
        assert!(is_near(w.time_of(domain), wanted, 30), "{domain}: {} of {wanted}", w.time_of(domain));
    }
}

#[test]
fn who_could_use_more_than_a_cpu_gets_one_and_the_rest_is_shared() {
    let mut w = World::new(2, &busy(4));
    (0..4).for_each(|domain| w.weigh(domain, 256 << domain, 0));
    w.look_at_all();
    w.run(10 * S);
    for (domain, wanted) in (0..).zip([10 * S / 7, 20 * S / 7, 40 * S / 7, 10 * S]) {
        assert!(is_near(w.time_of(domain), wanted, 30), "{domain}: {} of {wanted}", w.time_of(domain));
    }
}

#[test]
fn three_take_turns_on_two_cpus() {
    let mut w = World::new(2, &busy(3));
    w.look_at_all();
    w.run(10 * S);
    for domain in 0..3 {
        assert!(is_near(w.time_of(domain), 20 * S / 3, 20), "{domain}: {}", w.time_of(domain));
    }
}

#[test]
fn a_cap_is_kept_with_an_idle_cpu_and_a_busy_one() {
    let mut w = World::new(2, &[(0, Life::Busy), (1, Life::Busy), (1, Life::Busy), (2, Life::Busy)]);
    w.weigh(0, 256, 30);
    w.weigh(1, 256, 50);
    w.look_at_all();
    w.run(10 * S);
    assert!(is_near(w.time_of(0), 3 * S, 20), "{}", w.time_of(0));
    assert!(is_near(w.time_of(1), 5 * S, 20), "{}", w.time_of(1));
    // Those with caps run at the same time, when their budgets come; the share of the weight is what is promised.
    assert!(w.time_of(2) > 5 * S, "{}", w.time_of(2));
    // It goes away, and comes to who runs alone.
    w.weigh(0, 256, 0);
    w.weigh(2, 256, 10);
    w.look_at_all();
    let before = [0, 1, 2].map(|domain| w.time_of(domain));
    w.run(10 * S);
    let got = [0, 1, 2].map(|domain| w.time_of(domain) - before[domain as usize]);
    assert!(got[0] > 5 * S && is_near(got[1], 5 * S, 30) && is_near(got[2], S, 30), "{got:?}");
}

#[test]
fn affinity_is_kept_and_weights_count_within_it() {
    let mut w = World::new(2, &busy(5));
    // On CPU 0 three, on CPU 1 two: time there costs differently.
    for (vcpu, cpu) in (0..).zip([0, 0, 0, 1, 1]) {
        w.bind(vcpu, &[cpu], &[0, 1]);
    }
    w.weigh(0, 512, 0);
    w.weigh(4, 1024, 0);
    w.look_at_all();
    w.run(10 * S);
    for (domain, wanted) in (0..).zip([5 * S, 5 * S / 2, 5 * S / 2, 2 * S, 8 * S]) {
        assert!(is_near(w.time_of(domain), wanted, 20), "{domain}: {} of {wanted}", w.time_of(domain));
    }
    // One moves over: it neither starves nor takes all.
    w.bind(0, &[1], &[0, 1]);
    w.look_at_all();
    let before = [0, 3, 4].map(|domain| w.time_of(domain));
    w.run(S);
    let got: Vec<u64> = [0, 3, 4].iter().zip(before).map(|(domain, had)| w.time_of(*domain) - had).collect();
    let shares = [2 * S / 7, S / 7, 4 * S / 7];
    assert!(got.iter().zip(shares).all(|(got, wanted)| is_near(*got, wanted, 150)), "{got:?}");
}

#[test]
fn soft_affinity_is_kept_while_there_is_a_choice() {
    let mut w = World::new(2, &busy(2));
    w.bind(0, &[0, 1], &[1]);
    w.bind(1, &[0, 1], &[0]);
    w.look_at_all();
    w.run(S);
    assert!(w.time_of(0) + w.time_of(1) >= 2 * S - 30 * MS, "nobody waits for the better CPU");
    // A sleeper finds its CPU when that is idle.
    let mut w = World::new(2, &[(0, Life::Bursts(MS, MS))]);
    w.bind(0, &[0, 1], &[1]);
    w.look_at_all();
    w.run(100 * MS);
    assert_eq!((w.running[0], w.time_of(0) > 49 * MS), (None, true));
}

#[test]
fn pools_have_their_own_cpus() {
    let mut w = World::new(3, &busy(4));
    assert_eq!(w.change(|region, tx| region.create_pool(tx, None)), Ok(1));
    w.change(|region, tx| region.remove_cpu(tx, 0, CpuId(2), |_| true)).unwrap();
    w.look_at_all();
    w.run(S);
    assert_eq!((w.running[2], w.region.loose_cpus()), (None, CpuSet::from_iter([CpuId(2)])));
    w.change(|region, tx| region.add_cpu(tx, 1, Some(2))).unwrap();
    w.change(|region, tx| region.move_domain(tx, DomainSlot(3), 1)).unwrap();
    w.look_at_all();
    let before = w.time_of(3);
    w.run(6 * S);
    assert_eq!(w.time_of(3) - before, 6 * S);
    for domain in 0..3 {
        assert!(is_near(w.time_of(domain), S / 2 + 4 * S, 30), "{domain}: {}", w.time_of(domain));
    }
    // Its CPU is lost: it runs where others do.
    w.queues.set_online(CpuSet::first(2));
    assert!(w.may_run(3, 0) && !w.may_run(3, 2) && w.may_run(0, 1));
    // One is left: it is everybody's.
    w.queues.set_online(CpuSet::first(1));
    assert!(w.may_run(3, 0) && w.may_run(0, 0) && !w.may_run(0, 1));
    w.queues.set_online(CpuSet::first(3));
    assert!(w.may_run(3, 2) && !w.may_run(3, 0));
}

#[test]
fn who_wakes_runs_at_once_on_an_idle_cpu_and_soon_on_a_busy_one() {
    let mut lives = busy(1);
    lives.push((1, Life::Bursts(100_000, 3 * MS)));
    let mut w = World::new(2, &lives);
    w.look_at_all();
    w.run(S);
    assert_eq!(w.had[1].latency, 0, "CPU 1 is idle");
    let mut w = World::new(1, &lives);
    w.look_at_all();
    w.run(S);
    assert!(w.had[1].latency <= MS, "{:?}", w.had[1]);
    // Among many.
    let mut lives = busy(8);
    lives.push((8, Life::Bursts(100_000, 7 * MS)));
    let mut w = World::new(2, &lives);
    w.look_at_all();
    w.run(S);
    assert!(w.had[8].latency <= 2 * MS, "{:?}", w.had[8]);
}

#[test]
fn nobody_starves_beside_much_heavier_ones() {
    let mut w = World::new(1, &busy(3));
    w.weigh(0, 1, 0);
    w.weigh(1, 1000, 0);
    w.weigh(2, 1000, 0);
    w.look_at_all();
    w.run(10 * S);
    assert!(w.time_of(0) > 2 * MS, "{}", w.time_of(0));
    // After hours alone it owes no more than a few turns.
    let mut w = World::new(1, &[(0, Life::Busy), (1, Life::Bursts(S, 100 * S))]);
    w.weigh(0, 1, 0);
    w.look_at_all();
    w.run(10_000 * S);
    assert!(w.time_of(0) > 9_800 * S, "{}", w.time_of(0));
}

#[test]
fn an_idle_machine_does_nothing_and_one_alone_is_not_disturbed() {
    let mut w = World::new(4, &[(0, Life::Busy), (0, Life::Down), (1, Life::Busy)]);
    w.look_at_all();
    // The end of a turn that began while others waited.
    w.run(S);
    let looks = w.looks;
    w.run(99 * S);
    assert_eq!(w.looks, looks);
    assert_eq!((w.time_of(0), w.time_of(1)), (100 * S, 100 * S));
    let idle = |cpu| w.region.idle_time(CpuId(cpu), w.now);
    assert_eq!((0..4).map(idle).filter(|ns| *ns == 100 * S).count(), 2);
    assert_eq!(w.region.idle_time(CpuId(0), w.now), 0);
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        3 => Just(Life::Busy),
        3 => (10_000..20 * MS, 10_000..20 * MS).prop_map(|(run, sleep)| Life::Bursts(run, sleep)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No CPU is idle while somebody who may run there waits; all who are busy get their share of time at least in part.
    #[test]
    fn no_cpu_is_wasted_and_nobody_starves(
        cpus in 1_u32..5,
        vcpus in prop::collection::vec((0_u16..6, life(), 0_u32..16), 1..24),
        weights in prop::collection::vec(64_u16..2048, 6),
    ) {
        let lives: Vec<(u16, Life)> = vcpus.iter().map(|(domain, life, _)| (*domain, *life)).collect();
        let mut w = World::new(cpus, &lives);
        weights.iter().zip(0..).for_each(|(weight, domain)| w.weigh(domain, *weight, 0));
        for ((_, _, hard), vcpu) in vcpus.iter().zip(0..) {
            let set: Vec<u32> = (0..cpus).filter(|cpu| hard >> cpu & 1 != 0).collect();
            if !set.is_empty() {
                w.bind(vcpu, &set, &(0..cpus).collect::<Vec<_>>());
            }
        }
        w.look_at_all();
        for _ in 0..40 {
            w.run(50 * MS);
            let idle = (0..cpus).filter(|cpu| w.running[*cpu as usize].is_none());
            for cpu in idle.collect::<Vec<_>>() {
                for vcpu in w.waiting() {
                    prop_assert!(!w.may_run(vcpu, cpu), "{vcpu} waits and CPU {cpu} is idle");
                }
            }
        }
        let total: u64 = vcpus.iter().map(|(domain, _, _)| u64::from(weights[usize::from(*domain)])).sum();
        for ((domain, life, _), had) in vcpus.iter().zip(&w.had) {
            let least = 2 * S * u64::from(weights[usize::from(*domain)]) / total;
            if matches!(life, Life::Busy) {
                prop_assert!(had.time >= least / 4, "{had:?}, a share of one CPU is {least}");
            }
        }
    }
}
