//! A bounded sample of campaigns, and mistakes that must be noticed.

use simulator::{Crashes, Mistake, Plan, Size, campaign};
use std::time::Duration;

const ONE: Size = Size { cpus: 1, vcpus: 1 };

fn plan(seed: u64, size: Size, most: u64) -> Plan {
    let time = Duration::from_secs(600);
    Plan { seed, size, crashes: Crashes::Every, most, time, mistake: None, verbose: false }
}

fn passes(plan: &Plan) {
    let report = campaign(plan).unwrap_or_else(|e| panic!("{e}"));
    assert!(report.crashes >= plan.most && report.second > 0);
}

#[test]
fn one_vcpu_survives_crashes_everywhere() {
    (1..4).for_each(|seed| passes(&plan(seed, ONE, 2500)));
}

#[test]
fn two_vcpus_on_one_processor_survive_crashes_everywhere() {
    passes(&plan(5, Size { cpus: 1, vcpus: 2 }, 2500));
}

#[test]
fn two_processors_survive_crashes_everywhere() {
    passes(&plan(6, Size { cpus: 2, vcpus: 2 }, 2500));
}

#[test]
fn crashes_here_and_there_in_many_entries() {
    passes(&Plan { crashes: Crashes::Random(2), ..plan(7, ONE, 1500) });
}

/// Entries within which each mistake shows.
#[test]
fn mistakes_are_noticed() {
    for (mistake, within) in [(Mistake::Undo, 500), (Mistake::Effect, 500), (Mistake::Consequence, 4000)] {
        let noticed = campaign(&Plan { mistake: Some(mistake), ..plan(8, ONE, within) }).is_err();
        assert!(noticed, "{mistake:?} is not noticed within {within} crashes");
    }
}
