//! Entries of several processors at the same time: they meet at their steps, and one crashes while the others are
//! anywhere in theirs, whatever locks they hold.
//!
//! What must come of it: every invariant holds; no processor remembers what it must not; and where each entry is
//! one transaction, the state is what one after the other would have left, in some order: what was committed
//! happened once, what was not happened not at all, and then once when it was dispatched again. Sets in which one
//! entry overwrites the arguments of another are not compared.

use crate::baton::{Schedule, Together, together};
use crate::campaign::{MOST_ENDS, Mistake, Plan};
use crate::compare::Outcome;
use crate::entry::Entry;
use crate::guest::Guest;
use crate::random::Random;
use crate::steps::Cut;
use crate::world::{Saved, World};
use ids::VcpuSlot;
use std::time::Instant;
use system::own_vector;

/// Meetings of each set of entries, and crashes in them.
const MEETINGS: u64 = 3;
const CRASHES: u64 = 8;
/// Rounds of kicks after which the processors must be at rest.
const ROUNDS: u32 = 12;

/// How entries ended, by processor; `None`: it had none.
type Ends = Vec<Option<Result<VcpuSlot, Cut>>>;

/// What came of one order of entries without a crash.
struct Serial {
    ends: Ends,
    outcome: Outcome,
    steps: u64,
}

/// What a campaign of meetings came to.
#[derive(Debug, Default)]
pub struct Meetings {
    /// Sets of entries.
    pub sets: u64,
    /// Meetings without a crash.
    pub meetings: u64,
    /// Crashes.
    pub crashes: u64,
    /// Crashes that found several logs open.
    pub open: u64,
    /// Crashes that found one log to roll back and another to finish.
    pub mixed: u64,
    /// Crashes in the recovery.
    pub second: u64,
    /// Results that were compared with one entry after the other.
    pub compared: u64,
    /// Sets that ended the machine, or it had to be started anew.
    pub ends: u64,
}

struct Campaign {
    plan: Plan,
    world: World,
    guest: Guest,
    asleep: Vec<bool>,
    r: Random,
    report: Meetings,
    futile: u32,
}

/// Runs a campaign of meetings.
///
/// # Errors
/// The first violation, with how to get there again.
pub fn meetings(plan: &Plan) -> Result<Meetings, String> {
    if plan.size.cpus < 2 || plan.size.vcpus < 2 {
        return Err("a meeting takes two processors and two vCPUs".into());
    }
    let (world, guest, asleep) = crate::campaign::boot(plan.size, plan.seed)?;
    let r = Random::new(plan.seed.wrapping_mul(77));
    let mut campaign =
        Campaign { plan: *plan, world, guest, asleep, r, report: Meetings::default(), futile: 0 };
    let end = Instant::now() + plan.time;
    while campaign.report.crashes < plan.most && Instant::now() < end {
        campaign.report.sets += 1;
        campaign.set()?;
    }
    Ok(campaign.report)
}

impl Campaign {
    /// An entry for every processor that has one.
    fn entries(&mut self) -> Vec<Option<Entry>> {
        let cpus = 0..self.plan.size.cpus;
        cpus.map(|cpu| match self.world.vcpu_on(cpu) {
            Some(vcpu) if !self.asleep[cpu as usize] => Some(self.guest.next(&self.world, cpu, vcpu)),
            _ => self.guest.wake(&self.world, cpu),
        })
        .collect()
    }

    fn set(&mut self) -> Result<(), String> {
        let entries = self.entries();
        if entries.iter().all(Option::is_none) || self.futile >= MOST_ENDS {
            self.report.ends += 1;
            self.futile = 0;
            (self.world, self.guest, self.asleep) = crate::campaign::boot(self.plan.size, self.r.next())?;
            return Ok(());
        }
        self.world.machine.devices.borrow_mut().console.clear();
        let before = self.asleep.clone();
        for entry in entries.iter().flatten() {
            self.world.present(entry);
        }
        let saved = self.world.save();
        let cpus: Vec<u32> = entries.iter().flatten().map(|entry| entry.cpu).collect();
        let orders = [cpus.clone(), cpus.iter().rev().copied().collect()];
        let mut serials = Vec::new();
        for order in &orders {
            self.start_anew(&saved, &entries);
            serials.push(self.serial(&entries, order));
        }
        let off = |serial: &Serial| serial.ends.iter().flatten().any(|end| !is_regular(end));
        if serials.iter().any(off) {
            self.report.ends += 1;
            self.futile += 1;
            self.world.restore(&saved, true);
            entries.iter().flatten().for_each(|entry| self.world.withdraw(entry));
            self.asleep = before;
            return Ok(());
        }
        // A guest whose other vCPUs wait for what never comes is of no use here.
        self.futile += 1;
        if cpus.len() > 1 {
            self.futile = 0;
            self.explore(&entries, &saved, &serials)?;
        }
        self.start_anew(&saved, &entries);
        let Serial { ends, .. } = self.serial(&entries, &orders[0]);
        for (asleep, end) in self.asleep.iter_mut().zip(&ends) {
            *asleep = end.map_or(*asleep, |end| end.is_err());
        }
        Ok(())
    }

    /// Everything is as it was saved, the composition new: processors without an entry look around, as all do then.
    fn start_anew(&mut self, saved: &Saved, entries: &[Option<Entry>]) {
        self.world.restore(saved, true);
        let mut devices = self.world.machine.devices.borrow_mut();
        for (kicked, entry) in devices.kicked.iter_mut().zip(entries) {
            *kicked |= entry.is_none();
        }
    }

    /// One entry after the other, then kicks until there are none.
    fn serial(&mut self, entries: &[Option<Entry>], order: &[u32]) -> Serial {
        let mut ends = vec![None; entries.len()];
        let (mut steps, mut again) = (0, false);
        let arguments = |entry: &Entry| entry.arguments(&self.world);
        let before: Vec<_> = entries.iter().map(|entry| entry.as_ref().map(arguments)).collect();
        for entry in order.iter().filter_map(|cpu| entries[*cpu as usize].as_ref()) {
            // Arguments are read before the transaction: an entry whose arguments another one overwrites may read them before
            // it, and come after it otherwise.
            again |= before[entry.cpu as usize] != Some(entry.arguments(&self.world));
            let (ran, commits) = self.world.enter_counted(entry);
            steps += ran.steps;
            let (result, more) = self.world.settle(entry, ran.result);
            again |= more || commits > 1;
            ends[entry.cpu as usize] = Some(result);
        }
        self.rest(&mut ends);
        let mut outcome = self.world.outcome(first(&ends), again, 0);
        (outcome.lived, outcome.met) = (true, true);
        Serial { ends, outcome, steps }
    }

    /// Takes the kicks that are on their way, until there are none.
    fn rest(&mut self, ends: &mut Ends) {
        for _ in 0..ROUNDS {
            let kicked = self.world.machine.devices.borrow().kicked.clone();
            let mut quiet = true;
            for cpu in (0..).zip(kicked).filter(|(_, kicked)| *kicked).map(|(cpu, _)| cpu) {
                let asleep = match ends[cpu as usize] {
                    Some(end) => end.is_err(),
                    None => self.asleep[cpu as usize],
                };
                if ends[cpu as usize].is_some_and(|end| !is_regular(&end)) {
                    return;
                }
                let kick = self.kick(cpu, asleep || self.world.vcpu_on(cpu).is_none());
                self.world.arrive(&kick);
                ends[cpu as usize] = Some(self.world.enter(&kick, 0).result);
                quiet = false;
            }
            if quiet {
                break;
            }
        }
        // Between two entries it means nothing.
        let contexts = &self.world.system.state.contexts;
        (0..self.plan.size.vcpus).for_each(|vcpu| contexts.context(VcpuSlot(vcpu)).copy_fault.set(0));
        // Who had nothing to do is asleep, kicked or not.
        ends.iter_mut().for_each(|end| *end = end.or(Some(Err(Cut::Asleep))));
    }

    fn kick(&self, cpu: u32, asleep: bool) -> Entry {
        let fpu = self.world.machine.cpus.borrow()[cpu as usize].fpu;
        let idle = asleep.then_some(own_vector::KICK);
        let contexts = &self.world.system.state.contexts;
        let error =
            self.world.vcpu_on(cpu).map_or(0, |vcpu| contexts.context(vcpu).registers.error_code.get());
        Entry { cpu, idle, family: "kick", vector: own_vector::KICK.into(), error, fpu, ..Entry::default() }
    }

    fn explore(
        &mut self,
        entries: &[Option<Entry>],
        saved: &Saved,
        serials: &[Serial],
    ) -> Result<(), String> {
        let steps = serials[0].steps.max(1);
        for number in 0..MEETINGS + CRASHES {
            let crash = if number < MEETINGS { 0 } else { 1 + self.r.below(steps) };
            let schedule = self.schedule(steps, crash);
            let second = if self.r.chance(30) { 1 + self.r.below(80) } else { 0 };
            self.start_anew(saved, entries);
            let said = format!("{schedule:?}, in recovery at {second}");
            self.meet(entries, schedule, second, (saved, serials)).map_err(|e| {
                let plan = &self.plan;
                let names: Vec<_> =
                    entries.iter().map(|entry| entry.as_ref().map_or("nothing", |e| e.family)).collect();
                format!(
                    "seed {} set {} ({}), {said}: {e}\n{entries:x?}",
                    plan.seed,
                    self.report.sets,
                    names.join(" beside "),
                )
            })?;
        }
        Ok(())
    }

    /// Some switches, few as a rule: then each processor is stopped at one place.
    fn schedule(&mut self, steps: u64, crash: u64) -> Schedule {
        let count = self.r.pick(&[1, 1, 1, 2, 2, 3, 5, 9]);
        let most = if crash == 0 { steps } else { crash };
        let mut switches: Vec<u64> = (0..count).map(|_| 1 + self.r.below(most)).collect();
        switches.sort_unstable();
        switches.dedup();
        Schedule { first: self.r.below(self.plan.size.cpus.into()) as u32, switches, crash }
    }

    fn meet(
        &mut self,
        entries: &[Option<Entry>],
        schedule: Schedule,
        second: u64,
        (saved, serials): (&Saved, &[Serial]),
    ) -> Result<(), String> {
        let world = &self.world;
        world.learn();
        let machine = world.machine;
        machine.forgetful.set(self.plan.mistake == Some(Mistake::Flush));
        let ran: Together<Option<VcpuSlot>> = together(
            self.plan.size.cpus,
            schedule,
            world.watcher(),
            move |busy| machine.set_busy(busy),
            |cpu| entries[cpu as usize].as_ref().map(|entry| world.handle(entry)),
        );
        machine.forgetful.set(false);
        if let Some(what) = machine.stale.borrow_mut().take() {
            return Err(format!("translations: {what}"));
        }
        let ends = match ran.crashed {
            None => {
                self.report.meetings += 1;
                ran.results.into_iter().map(Result::transpose).collect()
            }
            Some(cpu) => {
                self.note_logs();
                self.report.crashes += 1;
                self.recover(entries, cpu, second)?
            }
        };
        self.judge(entries, ends, saved, serials)
    }

    /// Counts what a crash has left.
    fn note_logs(&mut self) {
        let phases = self.world.system.state.logs.iter().map(|log| log.head().phase());
        let open: Vec<_> = phases.filter(|phase| *phase != vault::Phase::Idle).collect();
        self.report.open += u64::from(open.len() > 1);
        self.report.mixed +=
            u64::from(open.contains(&vault::Phase::Undo) && open.contains(&vault::Phase::Outbox));
    }

    /// The life after the crash of a processor: repairs all, and all go on with what they were about.
    fn recover(&mut self, entries: &[Option<Entry>], cpu: u32, second: u64) -> Result<Ends, String> {
        if let Some(mistake) = self.plan.mistake {
            (0..self.plan.size.cpus).for_each(|cpu| self.world.forget(cpu, mistake));
        }
        self.world.charge(cpu);
        let backwards = self.plan.mistake == Some(Mistake::Order);
        let running: Vec<bool> = entries.iter().map(Option::is_some).collect();
        let mut ends = self.world.recover_all(&running, cpu, second, backwards);
        if ends.is_none() {
            self.report.second += 1;
            ends = self.world.recover_all(&running, cpu, 0, backwards);
        }
        let state = self.world.system.state;
        state.domains.domains.iter().for_each(|domain| domain.charged.set(0));
        ends.ok_or_else(|| "the second recovery crashed".into())
    }

    /// Lets everybody come to rest, then looks at everything.
    fn judge(
        &mut self,
        entries: &[Option<Entry>],
        mut ends: Ends,
        saved: &Saved,
        serials: &[Serial],
    ) -> Result<(), String> {
        let mut again = false;
        for entry in entries.iter().flatten() {
            let Some(end) = ends[entry.cpu as usize] else { continue };
            let (end, more) = self.world.settle(entry, end);
            // Another entry may have taken its vCPU down before its rest.
            again |= more || self.world.has_rest(entry);
            ends[entry.cpu as usize] = Some(end);
        }
        if ends.iter().flatten().any(|end| !is_regular(end)) {
            return Err(format!("ended {ends:?}, one after the other {:?}", serials[0].ends));
        }
        self.rest(&mut ends);
        self.world.audit()?;
        let exact = |serial: &Serial| !serial.outcome.restarted;
        if again || self.plan.size.vcpus > self.plan.size.cpus || !serials.iter().all(exact) {
            return Ok(());
        }
        self.report.compared += 1;
        let mut differences = Vec::new();
        for serial in serials {
            match self.world.compare(first(&ends), &serial.outcome) {
                Ok(()) if ends == serial.ends => return Ok(()),
                Ok(()) => {
                    differences.push(format!("ended {ends:?}, one after the other {:?}\n", serial.ends))
                }
                Err(e) => differences.push(e),
            }
        }
        if self.some_order_is(entries, &ends, saved) {
            return Ok(());
        }
        Err(differences.join("the other way round:\n"))
    }

    /// Whether more than two entries came to what is there one after the other in yet another order.
    fn some_order_is(&mut self, entries: &[Option<Entry>], ends: &Ends, saved: &Saved) -> bool {
        let cpus: Vec<u32> = entries.iter().flatten().map(|entry| entry.cpu).collect();
        let here = self.world.outcome(first(ends), false, 0);
        cpus.len() > 2
            && orders(&cpus).iter().any(|order| {
                self.start_anew(saved, entries);
                let there = self.serial(entries, order);
                self.world.restore(saved, true);
                self.world.machine.memory.apply(&here.memory);
                self.world.put_back(&here.picture, true);
                *ends == there.ends && self.world.compare(first(ends), &there.outcome).is_ok()
            })
    }
}

/// All orders of some processors.
fn orders(cpus: &[u32]) -> Vec<Vec<u32>> {
    let Some((first, rest)) = cpus.split_first() else { return vec![Vec::new()] };
    let with = |order: Vec<u32>| {
        (0..=order.len()).map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, *first);
            longer
        })
    };
    orders(rest).into_iter().flat_map(with).collect()
}

/// How the first entry ended.
fn first(ends: &Ends) -> Result<VcpuSlot, Cut> {
    ends.iter().flatten().next().copied().unwrap_or(Err(Cut::Asleep))
}

fn is_regular(end: &Result<VcpuSlot, Cut>) -> bool {
    matches!(end, Ok(_) | Err(Cut::Asleep))
}
