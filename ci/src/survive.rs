//! A campaign of panics: Dom0 under load asks for them one after another; at the end stands what became of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{output, progress};
use crate::expect::Step;
use crate::image;
use crate::options::Options;
use crate::qemu::End;
use crate::scratch;
use crate::stand;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The feature of the image that panics on demand.
const FEATURE: &str = "inject";
/// Wall time for booting and for one panic, both generous.
const BOOT: Duration = Duration::from_secs(300);
const PANIC: Duration = Duration::from_secs(2);

/// Boots and asks for `options.panics` panics with `options.seed`. The last line printed is the figures; true if
/// nothing was lost.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<bool> {
    let mut options = options.clone();
    let (panics, seed) = (options.panics, options.seed);
    options.image = Some(image::build(workspace, toolchain, &[FEATURE.to_string()])?);
    let test = if options.devices { "survive-devices" } else { "survive-panics" };
    if options.devices {
        scratch::make(workspace)?;
        options.machine.more.extend(scratch::DEVICES.split_whitespace().map(String::from));
    }
    options.append = format!("{} lab.test={test} lab.set=PANICS={panics},SEED={seed}", options.append);
    options.steps.push(Step::See(format!("LAB-RESULT {test} pass")));
    options.refuse.push(format!("LAB-RESULT {test} fail"));
    options.survives = true;
    options.quiet = true;
    options.name = "survive".into();
    options.timeout = BOOT + PANIC * panics;
    progress(&format!("{panics} panics, seed {seed}, on {} CPUs", options.machine.cpus));
    let outcome = stand::boot(workspace, toolchain, &options)?;
    let log = fs::read(&outcome.log).with_context(|| format!("reading {}", outcome.log.display()))?;
    let log = Recoveries::read(&String::from_utf8_lossy(&log));
    let debug = workspace.path(&format!("dist/revenant+{FEATURE}.debug"));
    for (place, times) in log.places(&debug)? {
        println!("{times:6} in {place}");
    }
    for (what, times) in &log.kinds {
        println!("{times:6} {what}");
    }
    let passed = outcome.end == End::Done;
    if !passed {
        println!("{}; console log: {}", outcome.end, outcome.log.display());
    }
    println!("{}", log.figures(options.machine.icount, !passed));
    Ok(passed && log.recovered > 0)
}

/// What the console says of recoveries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Recoveries {
    /// The highest number of a failure.
    panics: u32,
    /// Recoveries; one may end several failures, those that came while it was under way.
    recovered: u32,
    /// The longest, in TSC ticks.
    longest: u64,
    /// TSC ticks in a millisecond.
    khz: u64,
    /// How many found nothing in progress, rolled back, rolled forward.
    kinds: BTreeMap<String, u32>,
    /// Return addresses of each.
    traces: Vec<Vec<u64>>,
}

impl Recoveries {
    fn read(log: &str) -> Recoveries {
        let mut found = Recoveries::default();
        let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
        if let Some((_, after)) = log.split_once("(XEN) TSC ").or_else(|| log.split_once("invariant TSC ")) {
            found.khz = number(after).unwrap_or(0);
        }
        for part in log.split("Recovered from failure ").skip(1) {
            found.recovered += 1;
            let failure = number(part).unwrap_or(0);
            found.panics = found.panics.max(u32::try_from(failure).unwrap_or(0));
            let line = part.lines().next().unwrap_or_default();
            if let Some((before, _)) = line.split_once(" TSC ticks") {
                let ticks = before.rsplit(' ').next().and_then(|word| word.parse().ok());
                found.longest = found.longest.max(ticks.unwrap_or(0));
            }
            let kinds = ["nothing was in progress", "rolled back", "rolled forward"];
            if let Some(kind) = kinds.into_iter().find(|kind| line.contains(kind)) {
                *found.kinds.entry(kind.to_string()).or_default() += 1;
            }
            let address = |line: &str| u64::from_str_radix(line.trim().rsplit(' ').next()?, 16).ok();
            let trace = part.lines().filter(|line| line.contains("   ffff82d0")).filter_map(address);
            found.traces.push(trace.collect());
        }
        found
    }

    /// The functions that panicked, by how often: the innermost of each trace that is not part of panicking.
    fn places(&self, debug: &Path) -> Result<Vec<(String, u32)>> {
        let mut addresses: Vec<u64> = self.traces.iter().flatten().copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Command::new("addr2line");
        command.args(["--functions", "--demangle", "--exe"]).arg(debug);
        command.args(addresses.iter().map(|address| format!("{address:#x}")));
        let said = output(&mut command)?;
        let names: BTreeMap<u64, &str> = addresses.iter().copied().zip(said.lines().step_by(2)).collect();
        let mut places: BTreeMap<&str, u32> = BTreeMap::new();
        for trace in &self.traces {
            let of_panicking =
                |name: &&str| ["panic", "inject", "::fail", "unwind"].iter().any(|word| name.contains(word));
            let name = trace.iter().filter_map(|address| names.get(address)).find(|name| !of_panicking(name));
            *places.entry(name.copied().unwrap_or("an unknown place")).or_default() += 1;
        }
        let mut places: Vec<_> = places.into_iter().map(|(name, times)| (name.to_string(), times)).collect();
        places.sort_by_key(|(_, times)| u32::MAX - times);
        Ok(places)
    }

    /// The last line. Only with one instruction a nanosecond is the outage known in instructions: of all CPUs
    /// together, those included that wait.
    fn figures(&self, icount: bool, lost: bool) -> String {
        let nanoseconds = self.longest.saturating_mul(1_000_000) / self.khz.max(1);
        let unit = if icount { "instructions" } else { "ns" };
        format!(
            "panics={} recovered={} lost={} max_outage_{unit}={nanoseconds}",
            self.panics,
            self.recovered,
            u32::from(lost)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "(XEN) TSC 2000000 kHz, APIC timer 1 kHz\n\
        (XEN) Recovered from failure 1 on CPU 0: rolled back Undone(0), 6000 TSC ticks, 3 us\n\
        (XEN) panic: asked\n(XEN)   ffff82d040001000\n(XEN)   ffff82d040002000\n\
        ((XEN) Recovered from failure 3 on CPU 1: nothing was in progress Nothing, 400 TSC ticks, 0 us\n";

    #[test]
    fn the_console_tells_what_became_of_each() {
        let log = Recoveries::read(LOG);
        assert_eq!((log.panics, log.recovered, log.longest, log.khz), (3, 2, 6000, 2_000_000));
        assert_eq!(log.kinds["rolled back"], 1);
        assert_eq!(log.traces, [vec![0xffff_82d0_4000_1000, 0xffff_82d0_4000_2000], vec![]]);
        assert_eq!(log.figures(true, false), "panics=3 recovered=2 lost=0 max_outage_instructions=3000");
    }
}
