//! Campaigns: a guest lives on, and each of its entries is run again with crashes in it.

use crate::compare::Outcome;
use crate::entry::Entry;
use crate::guest::Guest;
use crate::random::Random;
use crate::steps::Cut;
use crate::world::{Saved, Size, World};
use ids::VcpuSlot;
use pv_cpu::Reg;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Transactions that no entry needs.
const PLENTY: u32 = 2048;
/// Entries one after the other that end the machine, after which it is started anew.
pub(crate) const MOST_ENDS: u32 = 16;

/// Which steps crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crashes {
    /// Every one.
    Every,
    /// This many of each entry, at random.
    Random(u64),
}

/// A mistake that recovery makes each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// The newest undo entry is forgotten.
    Undo,
    /// The last effect of an outbox is forgotten.
    Effect,
    /// The consequences of an exactly-once effect are forgotten.
    Consequence,
    /// An effect that is applied exactly once is applied again.
    Twice,
    /// Of an effect in parts, of which some are done, the others are forgotten.
    Part,
    /// Of such an effect, the last part that was done is done again.
    Again,
    /// Flushes are forgotten while entries run.
    Flush,
    /// Outboxes are emptied before open transactions are rolled back.
    Order,
}

/// What a campaign does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Seed of everything.
    pub seed: u64,
    /// Size of the machine.
    pub size: Size,
    /// Which steps crash.
    pub crashes: Crashes,
    /// Crashes after which it is over.
    pub most: u64,
    /// Time after which it is over.
    pub time: Duration,
    /// A mistake of recovery, to see that it is noticed.
    pub mistake: Option<Mistake>,
    /// Shows each entry.
    pub verbose: bool,
}

/// Figures of one kind of entry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Entries.
    pub entries: u64,
    /// Steps of them.
    pub steps: u64,
    /// Crashes in them.
    pub crashes: u64,
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Figures by kind of entry.
    pub families: BTreeMap<&'static str, Figures>,
    /// Entries that ended the machine, after which the guest went on as if they had not been.
    pub ends: u64,
    /// Crashes.
    pub crashes: u64,
    /// Crashes inside recovery.
    pub second: u64,
    /// Crashes after which another vCPU was chosen to run than without: a choice that is not promised.
    pub rescheduled: u64,
    /// Crashes that left a page table in work which has none without: the next user of the frame ends it.
    pub unfinished: u64,
    /// Steps run in all, with those of recoveries.
    pub steps: u64,
}

/// The campaign under way.
struct Campaign {
    plan: Plan,
    world: World,
    guest: Guest,
    r: Random,
    asleep: Vec<bool>,
    report: Report,
    number: u64,
    futile: u32,
}

/// Runs a campaign.
///
/// # Errors
/// The first violation, with how to get there again.
pub fn campaign(plan: &Plan) -> Result<Report, String> {
    let (world, guest, asleep) = boot(plan.size, plan.seed)?;
    let r = Random::new(plan.seed.wrapping_mul(31));
    let mut campaign =
        Campaign { plan: *plan, world, guest, r, asleep, report: Report::default(), number: 0, futile: 0 };
    let end = Instant::now() + plan.time;
    while campaign.report.crashes < plan.most && Instant::now() < end {
        campaign.number += 1;
        campaign.turn()?;
    }
    Ok(campaign.report)
}

/// A started machine, its guest, and which CPUs sleep.
pub(crate) fn boot(size: Size, seed: u64) -> Result<(World, Guest, Vec<bool>), String> {
    let world = World::boot(size).map_err(|e| format!("{e:#}"))?;
    let guest = Guest::new(&world, seed);
    let asleep = (0..size.cpus).map(|cpu| world.start_cpu(cpu).is_err()).collect();
    Ok((world, guest, asleep))
}

impl Campaign {
    /// The next entry, on some CPU that has one.
    fn next(&mut self) -> Option<Entry> {
        let cpus = self.plan.size.cpus;
        let first = self.r.below(cpus.into()) as u32;
        for cpu in (0..cpus).map(|step| (first + step) % cpus) {
            let entry = match self.world.vcpu_on(cpu) {
                Some(vcpu) if !self.asleep[cpu as usize] => Some(self.guest.next(&self.world, cpu, vcpu)),
                _ => self.guest.wake(&self.world, cpu),
            };
            if entry.is_some() {
                return entry;
            }
        }
        None
    }

    fn turn(&mut self) -> Result<(), String> {
        let next = if self.futile < MOST_ENDS { self.next() } else { None };
        let Some(entry) = next else {
            // The guest waits for what never comes, on all its vCPUs, or whatever it does is its end.
            self.report.ends += 1;
            self.futile = 0;
            (self.world, self.guest, self.asleep) = boot(self.plan.size, self.r.next())?;
            return Ok(());
        };
        let before = self.asleep.clone();
        let polled = self.world.polls();
        self.world.machine.devices.borrow_mut().console.clear();
        let budget = if self.r.chance(20) { 1 + self.r.below(7) as u32 } else { PLENTY };
        self.world.machine.budget.set(budget);
        self.world.present(&entry);
        let saved = self.world.save();
        let fail = |what: &str, e: String| {
            format!(
                "seed {} entry {} ({}): {what}: {e}\n{entry:x?}",
                self.plan.seed, self.number, entry.family
            )
        };
        if self.plan.verbose {
            println!(
                "{:6} CPU {} {} {:?}",
                self.number,
                entry.cpu,
                entry.family,
                self.world.vcpu_on(entry.cpu)
            );
        }
        self.world.machine.verbose.set(self.plan.verbose);
        // On the composition that has lived through all entries up to here...
        let live = self.world.system;
        let armed = self.world.armed();
        self.world.machine.forgetful.set(self.plan.mistake == Some(Mistake::Flush));
        let result = self.world.enter_watched(&entry).result;
        self.world.machine.forgetful.set(false);
        if let Some(what) = self.world.machine.stale.borrow_mut().take() {
            return Err(fail("translations", what));
        }
        let (result, restarted) = self.world.settle(&entry, result);
        self.world.machine.verbose.set(false);
        let complete_at = entry.register(Reg::Rip).unwrap_or(0);
        // One whose vCPU gave way to another before its rest is not complete either.
        let in_pieces = restarted || budget != PLENTY || self.world.has_rest(&entry);
        let mut lived = self.world.outcome(result, in_pieces, complete_at);
        lived.lived = true;
        let polls = polled || self.world.polls();
        let lived_audit =
            if matches!(result, Err(Cut::Off(_) | Cut::Endless)) { Ok(()) } else { self.world.audit() };
        lived_audit.map_err(|e| fail("on a used composition", e))?;
        // ... and on one that knows nothing but what is durable: that is what crashes are compared with.
        self.world.restore(&saved, true);
        let mut ran = self.world.enter(&entry, 0);
        let first = ran.result;
        let restarted;
        (ran.result, restarted) = self.world.settle(&entry, first);
        if ran.result == Err(Cut::Endless) {
            return Err(fail("without a crash", "it does not end".into()));
        }
        let ended = matches!(ran.result, Err(Cut::Off(_)));
        if !ended {
            self.world.audit().map_err(|e| fail("without a crash", e))?;
        }
        let in_pieces = restarted || budget != PLENTY || self.world.has_rest(&entry);
        let outcome = self.world.outcome(ran.result, in_pieces, complete_at);
        if !ended && !restarted {
            self.world.audit_area().map_err(|e| fail("after a start", e))?;
        }
        if let Err(e) = self.world.compare(ran.result, &lived)
            && !self.world.schedule_differs(ran.result, &lived)
            && !self.world.moved(&armed, live)
            && !polls
        {
            return Err(fail("the derived state matters", e));
        }
        let crashes = self.explore(&entry, &saved, &outcome, ran.steps)?;
        let figures = self.report.families.entry(entry.family).or_default();
        figures.entries += 1;
        figures.steps += ran.steps;
        figures.crashes += crashes;
        self.report.steps += ran.steps;
        self.world.restore(&saved, true);
        if ended {
            self.report.ends += 1;
            self.futile += 1;
            self.asleep = before;
            self.world.withdraw(&entry);
            return Ok(());
        }
        self.futile = 0;
        // The guest goes on with the used composition.
        self.world.system = live;
        self.world.machine.memory.apply(&lived.memory);
        self.world.put_back(&lived.picture, false);
        self.asleep[entry.cpu as usize] = lived.result.is_err();
        let stuck = (0..self.plan.size.cpus)
            .all(|cpu| self.asleep[cpu as usize] && self.guest.wake(&self.world, cpu).is_none());
        if stuck {
            self.report.ends += 1;
            self.world.restore(&saved, true);
            self.world.withdraw(&entry);
            self.asleep = before;
        }
        Ok(())
    }

    /// Runs the entry with crashes in it.
    fn explore(
        &mut self,
        entry: &Entry,
        saved: &Saved,
        outcome: &Outcome,
        steps: u64,
    ) -> Result<u64, String> {
        let chosen: Vec<u64> = match self.plan.crashes {
            Crashes::Every => (1..=steps).collect(),
            Crashes::Random(count) => (0..count.min(steps)).map(|_| 1 + self.r.below(steps)).collect(),
        };
        for step in &chosen {
            let second = if self.r.chance(40) { 1 + self.r.below(40) } else { 0 };
            self.world.restore(saved, true);
            self.crash(entry, saved, (*step, second), outcome).map_err(|e| {
                let at = format!("crash at step {step} of {steps}, in recovery at {second}");
                format!(
                    "seed {} entry {} ({}), {at}: {e}\n{entry:x?}",
                    self.plan.seed, self.number, entry.family
                )
            })?;
        }
        self.report.crashes += chosen.len() as u64;
        Ok(chosen.len() as u64)
    }

    fn crash(
        &mut self,
        entry: &Entry,
        saved: &Saved,
        (step, second): (u64, u64),
        outcome: &Outcome,
    ) -> Result<(), String> {
        let ran = self.world.enter(entry, step);
        self.report.steps += ran.steps;
        if ran.result != Err(Cut::Crash) {
            return Err(format!("the run is another one: {:?}", ran.result));
        }
        if let Some(mistake) = self.plan.mistake {
            self.world.forget(entry.cpu, mistake);
        }
        if self.world.charge(entry.cpu).is_some() {
            // That it failed is the one thing that may be known afterwards.
            self.world.system.state.domains.domains.iter().for_each(|domain| domain.charged.set(0));
        }
        let (mut ran, mut repaired) = self.world.recover(entry.cpu, second);
        self.report.steps += ran.steps;
        if ran.result == Err(Cut::Crash) {
            self.report.second += 1;
            (ran, repaired) = self.world.recover(entry.cpu, 0);
            self.report.steps += ran.steps;
        }
        let again;
        (ran.result, again) = self.world.settle(entry, ran.result);
        if !matches!(ran.result, Err(Cut::Off(_))) {
            if !again {
                self.world.audit_area().map_err(|e| format!("{repaired:?}: {e}"))?;
            }
            self.world.audit().map_err(|e| format!("{repaired:?}: {e}"))?;
        }
        let Err(first) = self.world.compare(ran.result, outcome) else { return Ok(()) };
        if self.world.schedule_differs(ran.result, outcome) {
            self.report.rescheduled += 1;
            return Ok(());
        }
        if !outcome.restarted && self.world.has_rest(entry) {
            return self.world.compare_results(ran.result, outcome);
        }
        if outcome.restarted {
            let ended = self.world.ended_poll(ran.result, outcome);
            return if ended { Ok(()) } else { Err(format!("{repaired:?}\n{first}")) };
        }
        self.compare_swept(ran.result, saved, outcome)
            .map_err(|e| format!("{repaired:?}\n{first}swept:\n{e}"))
    }

    /// Compares again after both states have been brought to rest.
    fn compare_swept(
        &mut self,
        result: Result<VcpuSlot, Cut>,
        saved: &Saved,
        outcome: &Outcome,
    ) -> Result<(), String> {
        self.world.sweep();
        let here = self.world.outcome(result, false, 0);
        self.world.restore(saved, true);
        self.world.machine.memory.apply(&outcome.memory);
        self.world.put_back(&outcome.picture, true);
        self.world.sweep();
        let there = self.world.outcome(outcome.result, false, 0);
        self.world.restore(saved, true);
        self.world.machine.memory.apply(&here.memory);
        self.world.put_back(&here.picture, true);
        match self.world.compare(result, &there) {
            // Validation that a crash cut and nobody went on with keeps its tables until somebody wants them.
            Err(_) if self.world.has_work() => {
                self.report.unfinished += 1;
                Ok(())
            }
            compared => compared,
        }
    }
}
