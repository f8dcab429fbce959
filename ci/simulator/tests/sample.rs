//! A bounded sample of campaigns, and mistakes that must be noticed.

use simulator::{Crashes, Mistake, Plan, Size, campaign, meetings};
use std::time::Duration;

const ONE: Size = Size { cpus: 1, vcpus: 1 };
const TWO: Size = Size { cpus: 2, vcpus: 2 };

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
    passes(&plan(6, TWO, 2500));
}

#[test]
fn crashes_here_and_there_in_many_entries() {
    passes(&Plan { crashes: Crashes::Random(2), ..plan(7, ONE, 1500) });
}

#[test]
fn processors_meet_and_one_crashes() {
    let report = meetings(&plan(9, TWO, 1200)).unwrap_or_else(|e| panic!("{e}"));
    assert!(report.crashes >= 1200 && report.second > 0 && report.compared > 0, "{report:?}");
    assert!(report.open > 100 && report.mixed > 50, "two logs are open seldom: {report:?}");
}

/// A seed by which two processors soon end the same domain.
#[test]
fn processors_meet_at_a_domains_end() {
    let report = meetings(&plan(22, TWO, 300)).unwrap_or_else(|e| panic!("{e}"));
    assert!(report.ends > 0, "{report:?}");
}

/// What a campaign says; an assertion of the code under test may be the first to notice.
fn noticed<R>(run: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    let said = |payload: Box<dyn std::any::Any + Send>| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(said(payload)))
}

/// Crashes within which each mistake shows in a guest of one processor.
#[test]
fn mistakes_are_noticed() {
    let mistakes = [
        (Mistake::Undo, 500),
        (Mistake::Effect, 500),
        (Mistake::Consequence, 4000),
        (Mistake::Twice, 4000),
        (Mistake::Part, 16000),
        (Mistake::Again, 16000),
        (Mistake::Flush, 8000),
    ];
    for (mistake, within) in mistakes {
        let noticed = noticed(|| campaign(&Plan { mistake: Some(mistake), ..plan(8, ONE, within) }));
        let said = noticed.expect_err(&format!("{mistake:?} is not noticed within {within} crashes"));
        assert_eq!(said.contains("translations"), mistake == Mistake::Flush, "{said}");
    }
}

/// The same where two processors meet; there a wrong order of recovery shows too.
#[test]
fn mistakes_are_noticed_where_processors_meet() {
    let mistakes = [
        (Mistake::Undo, 500),
        (Mistake::Effect, 500),
        (Mistake::Consequence, 1000),
        (Mistake::Twice, 1000),
        (Mistake::Part, 8000),
        (Mistake::Again, 8000),
        (Mistake::Flush, 2000),
        (Mistake::Order, 8000),
    ];
    for (mistake, within) in mistakes {
        let noticed = noticed(|| meetings(&Plan { mistake: Some(mistake), ..plan(14, TWO, within) }));
        assert!(noticed.is_err(), "{mistake:?} is not noticed within {within} crashes");
    }
}
