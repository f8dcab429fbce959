//! The failures of a campaign, one after another on a running machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{output, progress};
use crate::inspect;
use crate::options::Options;
use crate::space;
use crate::survive::agent::{Agent, Order, Said, When};
use crate::survive::figures::Panic;
use crate::survive::record::Record;
use crate::survive::stage::Stage;
use crate::survive::tail::Repair;
use crate::symbols::Symbols;
use crate::workspace::Workspace;

/// How many of 20 failures come at which instructions, and their longest distance. Uniform over all is the honest base;
/// the others make sure that rare states and many functions are hit. A distance in a fresh function is how often it runs
/// until then.
const SHARES: [(usize, When, u64); 5] = [
    (4, When::Any, 300_000),
    (3, When::Undo, 20_000),
    (2, When::Outbox, 8_000),
    (3, When::Both, 60_000),
    (8, When::Fresh, 20),
];

/// Wall time until a failure comes; then its distance is chosen anew.
const HIT: Duration = Duration::from_secs(30);
/// The same in a function that has run before, and will again.
const FRESH: Duration = Duration::from_secs(5);
/// Wall time for a recovery: it takes milliseconds.
const RECOVERY: Duration = Duration::from_secs(60);
/// Distances tried for one failure.
const TRIES: u32 = 20;
/// How many of these wait for a function that was not hit yet.
const FRESH_TRIES: u32 = 2;

/// All of a campaign, over any number of machines.
#[derive(Debug)]
pub(crate) struct Campaign<'w> {
    workspace: &'w Workspace,
    wanted: usize,
    /// After so many a machine has had enough.
    piece: usize,
    random: u64,
    panics: Vec<Panic>,
    folder: PathBuf,
    record: Record,
    debug: PathBuf,
    symbols: Symbols,
}

impl<'w> Campaign<'w> {
    /// The campaign that the options ask for; results go to `.build/survive`.
    pub(crate) fn new(workspace: &'w Workspace, image: &Path, options: &Options) -> Result<Campaign<'w>> {
        space::check(workspace)?;
        let Options { panics: wanted, seed, busy_guests: guests, .. } = *options;
        let beside = if guests == 0 { String::new() } else { format!("-{guests}") };
        let folder = workspace.build(&format!("survive/{wanted}-{seed}{beside}"));
        fs::create_dir_all(&folder)?;
        let (record, panics) = Record::open(&folder.join("panics.tsv"), options.resume)?;
        // A later build must not change what the addresses mean.
        let debug = folder.join("revenant.debug");
        let symbols = image.with_extension("debug");
        if !panics.is_empty() && fs::read(&debug).ok() != fs::read(&symbols).ok() {
            bail!("the image is another one than that of the first {} panics", panics.len());
        }
        fs::copy(symbols, &debug).context("copying the image's symbols")?;
        let cpus = options.machine.cpus;
        progress(&format!("{wanted} panics, seed {seed}, on {cpus} CPUs; results in {}", folder.display()));
        Ok(Campaign {
            workspace,
            wanted: wanted as usize,
            piece: options.piece as usize,
            // What comes later in a run that goes on is another part of the seed's numbers.
            random: (u64::from(seed) + ((panics.len() as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            panics,
            folder,
            record,
            symbols: Symbols::read(&debug)?,
            debug,
        })
    }

    /// What became of each failure so far.
    pub(crate) fn panics(&self) -> &[Panic] {
        &self.panics
    }

    /// Where the results are kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Failures still to come.
    pub(crate) fn left(&self) -> u32 {
        u32::try_from(self.wanted.saturating_sub(self.panics.len())).unwrap_or(u32::MAX)
    }

    /// Whether there were enough.
    pub(crate) fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// The machine that had the failures from number `first` on ended badly: the last of them lost something, if it
    /// is not known to already.
    pub(crate) fn ended_badly(&mut self, first: usize, why: &str) -> Result<()> {
        space::check(self.workspace)?;
        ensure!(self.panics.len() > first, "the machine ended before its first panic: {why}");
        match self.panics.last_mut() {
            Some(last) if last.lost.is_none() => {
                last.lost = Some(why.to_string());
                self.record.lost(why)
            }
            _ => Ok(()),
        }
    }

    /// A pseudo-random number (splitmix64).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Lets the machine fail until there are enough failures or one loses something; then says what.
    pub(crate) fn visit(&mut self, stage: &mut Stage) -> Result<Option<String>> {
        let enough = self.panics.len().saturating_add(self.piece);
        while !self.is_over() && self.panics.len() < enough {
            let when = self.choose();
            let mut panic = self.strike(&mut stage.agent, when)?;
            survive(&mut panic, stage);
            // Without room a report does not reach the log: nothing is known of this one then.
            space::check(self.workspace)?;
            self.note(&panic)?;
            let lost = panic.lost.clone();
            self.panics.push(panic);
            if lost.is_some() {
                return Ok(lost);
            }
        }
        Ok(None)
    }

    /// In which state the next failure comes.
    fn choose(&mut self) -> When {
        let total: usize = SHARES.iter().map(|(share, ..)| share).sum();
        let mut place = self.panics.len() * 7 % total;
        for (share, when, _) in SHARES {
            if place < share {
                return when;
            }
            place -= share;
        }
        When::Any
    }

    /// Makes a CPU fail.
    fn strike(&mut self, agent: &mut Agent, when: When) -> Result<Panic> {
        for attempt in 0..TRIES {
            // Functions that hardly run are not waited for for ever.
            let when = if when == When::Fresh && attempt >= FRESH_TRIES { When::Any } else { when };
            let longest =
                SHARES.iter().find(|(_, other, _)| *other == when).map_or(1, |(_, _, longest)| *longest);
            let distance = 1 + self.next() % longest;
            let order = match when {
                When::Fresh => self.fresh(agent, distance)?,
                _ => Order::After(distance, when),
            };
            agent.order(order)?;
            let mut said = agent.hear(if when == When::Fresh { FRESH } else { HIT })?;
            if said.is_none() {
                agent.order(Order::Off)?;
                // It may have come in between.
                said = agent.hear(Duration::from_millis(200))?;
            }
            if let Some(Said::Hit { cpu, address, head, others }) = said {
                let (symbol, function) = self.function(address)?;
                let (repair, outage, lost) = (None, 0, None);
                return Ok(Panic {
                    when,
                    cpu,
                    address,
                    symbol,
                    function,
                    head,
                    others,
                    repair,
                    outage,
                    lost,
                });
            }
        }
        bail!("no panic came in {TRIES} tries ({when})")
    }

    /// An instruction of a function that was not hit yet and runs now and then.
    fn fresh(&mut self, agent: &mut Agent, times: u64) -> Result<Order> {
        let hit: BTreeSet<&str> = self.panics.iter().map(|panic| panic.symbol.as_str()).collect();
        let mut functions: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for (address, ran) in agent.ran()?.into_iter().filter(|(_, ran)| *ran > 2) {
            let name = self.symbols.name(address);
            if !hit.contains(name) {
                functions.entry(name).or_default().push((address, ran));
            }
        }
        let functions: Vec<Vec<(u64, u64)>> = functions.into_values().collect();
        let Some(code) = pick(&functions, self.next()) else {
            return Ok(Order::After(times, When::Any));
        };
        let (address, ran) = *pick(code, self.next()).context("a function without code")?;
        Ok(Order::At(address, 1 + times % ran))
    }

    /// The symbol that an address is in, and the innermost function of the source, if that is another: one that was
    /// inlined there.
    fn function(&mut self, address: u64) -> Result<(String, String)> {
        let mut command = Command::new("addr2line");
        command.args(["--functions", "--inlines", "--demangle", "--exe"]).arg(&self.debug);
        let said = output(command.arg(format!("{address:#x}")))?;
        let symbol = self.symbols.name(address).to_string();
        let inlined = innermost(&said).filter(|name| !symbol.contains(name)).unwrap_or(&symbol).to_string();
        Ok((symbol, inlined))
    }

    /// Shows a failure and adds it to the file.
    fn note(&mut self, panic: &Panic) -> Result<()> {
        let (number, wanted) = (self.panics.len() + 1, self.wanted);
        let repair = panic.repair.map_or_else(
            || "no recovery".to_string(),
            |repair| {
                let Repair { entries, undone, finished } = repair;
                format!("{entries} entries, {undone} writes back, {finished} outboxes forward")
            },
        );
        let what = format!(
            "{:6} on CPU {} at {:x} in {} ({}), log {:x}, {} others inside: {repair}, {} instructions{}",
            panic.when,
            panic.cpu,
            panic.address,
            panic.function,
            panic.symbol,
            panic.head,
            panic.others,
            panic.outage,
            panic.lost.as_ref().map_or(String::new(), |lost| format!("; LOST: {lost}")),
        );
        progress(&format!("[{number:4}/{wanted}] {what}"));
        self.record.add(panic)
    }
}

fn pick<T>(from: &[T], random: u64) -> Option<&T> {
    from.get(usize::try_from(random.checked_rem(from.len() as u64)?).ok()?)
}

/// The first function that is not of Rust's library, in what `addr2line` says: lines of names and places in turn, the
/// innermost first. Its generic arguments are left out.
fn innermost(said: &str) -> Option<&str> {
    let lines: Vec<&str> = said.lines().collect();
    let own =
        lines.chunks_exact(2).find(|pair| !pair[1].contains("/rustlib/") && !pair[1].starts_with("??"))?;
    Some(own[0].split("<").next().filter(|name| !name.is_empty()).unwrap_or(own[0]))
}

/// Waits for the recovery and walks the machine; notes in `panic` how it went.
fn survive(panic: &mut Panic, stage: &mut Stage) {
    if let Err(error) = recover(panic, stage) {
        panic.lost = Some(format!("{error:#}"));
    }
    if let Some(loss) = stage.tail.losses.first() {
        panic.lost.get_or_insert_with(|| loss.clone());
    }
}

fn recover(panic: &mut Panic, stage: &mut Stage) -> Result<()> {
    loop {
        match stage.agent.hear(RECOVERY)?.context("the CPU that failed did not come back")? {
            Said::Back(outage) => {
                panic.outage = outage;
                break;
            }
            Said::Hit { .. } | Said::Met | Said::Ran(..) => {}
        }
    }
    let recovered = stage.tail.recovery(RECOVERY)?.context("no recovery is reported")?;
    panic.repair = Some(recovered.repair);
    let report = stage.inspector.walk()?;
    ensure!(report.violations.is_empty(), "{}", inspect::broken(&report));
    stage.tail.lines()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_of_the_sources_is_named() {
        let said = "load\n/usr/lib/rustlib/src/rust/library/core/src/sync/atomic.rs:741\nserve<a, b>\n\
                    /w/crates/hypervisor/src/guest/shootdown.rs:30\nwait_for_others\n/w/x.rs:76\n";
        assert_eq!(innermost(said), Some("serve"));
        assert_eq!(innermost("revenant_swift\n??:?\n"), None);
    }
}
