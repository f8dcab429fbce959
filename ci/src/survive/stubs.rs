//! Failures and stop NMIs at every instruction of the entry and exit code, one after another on a running machine.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::command::progress;
use crate::inspect;
use crate::survive::agent::{Agent, Order, Said};
use crate::survive::stage::Stage;
use crate::survive::tail::Tail;
use crate::symbols::Symbols;

/// The ranges of that code, by the symbols at their ends.
const RANGES: [(&str, &str); 2] =
    [("revenant_stubs_start", "revenant_stubs_end"), ("revenant_swift_start", "revenant_swift_end")];
/// The handler of NMIs, which the watchdog makes the load execute: its stub, and its functions by parts of their names.
const HANDLER_STUB: (&str, &str) = ("revenant_own_stack", "revenant_moved");
const HANDLER: [&str; 2] = ["host::own_stack_entry", "stop::place::find"];
/// Where the entry point of vector 2 lies, from the first on.
const NMI_ENTRY: Range<u64> = 64..96;
/// Wall time until an instruction comes, and for a recovery.
const COME: Duration = Duration::from_secs(20);
const RECOVERY: Duration = Duration::from_secs(60);
/// Wall time between two strikes: failures with no entry in progress that follow each other within 20 ms are taken for
/// one that repeats itself.
const PAUSE: Duration = Duration::from_millis(40);
/// Between two walks of the machine, each of which takes a second.
const WALK_EVERY: usize = 10;

/// What happens at an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// The CPU that is about to execute it fails.
    Failure,
    /// Another CPU fails, and its NMI comes here.
    Nmi,
}

/// A sweep over the instructions that the load executes.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// The code.
    ranges: Vec<Range<u64>>,
    /// What of it no NMI comes to.
    deaf: Vec<Range<u64>>,
    /// Take one of so many.
    step: usize,
    /// Failures and NMIs that came.
    came: [usize; 2],
    /// Instructions that the load executed before and that did not come in time.
    missed: usize,
}

impl Sweep {
    /// Over one of `step` instructions of the image with these symbols.
    pub(crate) fn new(symbols: &Symbols, step: usize) -> Result<Sweep> {
        let range = |(start, end)| Ok(symbols.address(start)?..symbols.address(end)?);
        let mut deaf: Vec<Range<u64>> = symbols.ranges(&HANDLER).collect();
        let first = symbols.address("revenant_vectors")?;
        deaf.extend([range(HANDLER_STUB)?, first + NMI_ENTRY.start..first + NMI_ENTRY.end]);
        let mut ranges = RANGES.into_iter().map(range).collect::<Result<Vec<_>>>()?;
        ranges.extend(deaf.iter().cloned());
        Ok(Sweep { ranges, deaf, step: step.max(1), came: [0; 2], missed: 0 })
    }

    /// The last line.
    pub(crate) fn line(&self, lost: bool) -> String {
        let ([failures, nmis], missed) = (self.came, self.missed);
        format!("failures={failures} nmis={nmis} missed={missed} lost={}", u32::from(lost))
    }

    /// Strikes at every instruction that the load executes, in both ways; says what was lost, if anything was.
    pub(crate) fn visit(&mut self, stage: &mut Stage) -> Result<Option<String>> {
        let Stage { inspector, agent, tail } = stage;
        let ran = agent.ran()?.into_iter().filter(|(_, times)| *times > 1).map(|(address, _)| address);
        let executed: Vec<u64> =
            ran.filter(|at| self.ranges.iter().any(|range| range.contains(at))).collect();
        progress(&format!("the load executes {} instructions of the entry and exit code", executed.len()));
        let chosen: Vec<u64> = executed.into_iter().step_by(self.step).collect();
        for (number, address) in chosen.iter().enumerate() {
            let is_deaf = self.deaf.iter().any(|range| range.contains(address));
            let blows = [Blow::Failure, Blow::Nmi].into_iter().take(if is_deaf { 1 } else { 2 });
            for (way, blow) in blows.enumerate() {
                match strike(agent, tail, *address, blow) {
                    Ok(true) => self.came[way] += 1,
                    Ok(false) => self.missed += 1,
                    Err(error) => return Ok(Some(format!("{blow:?} at {address:#x}: {error:#}"))),
                }
            }
            if number % WALK_EVERY == 0 || number + 1 == chosen.len() {
                let report = inspector.walk()?;
                if !report.violations.is_empty() {
                    return Ok(Some(format!("after {address:#x}: {}", inspect::broken(&report))));
                }
                progress(&format!("[{:4}/{}] up to {address:x}", number + 1, chosen.len()));
            }
        }
        Ok(None)
    }
}

/// Strikes once. False: the instruction did not come in time.
fn strike(agent: &mut Agent, tail: &mut Tail, address: u64, blow: Blow) -> Result<bool> {
    thread::sleep(PAUSE);
    agent.order(match blow {
        Blow::Failure => Order::At(address, 1),
        Blow::Nmi => Order::Nmi(address),
    })?;
    let (mut failed, mut met) = (false, blow == Blow::Failure);
    loop {
        let limit = if failed { RECOVERY } else { COME };
        match agent.hear(limit)? {
            Some(Said::Hit { .. }) => failed = true,
            Some(Said::Met) => met = true,
            Some(Said::Back(_)) => break,
            Some(Said::Ran(..)) => {}
            None if failed => anyhow::bail!("the CPU that failed did not come back"),
            None => {
                agent.order(Order::Off)?;
                return Ok(false);
            }
        }
    }
    tail.recovery(RECOVERY)?.context("no recovery is reported")?;
    ensure!(tail.losses.is_empty(), "{}", tail.losses.join("; "));
    Ok(met)
}
