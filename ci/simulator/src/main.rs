//! Runs campaigns: `simulator --seed N --steps N --crash every|random|meeting --cpus N --vcpus N --minutes M`.
#![forbid(unsafe_code)]

use anyhow::{Context as _, anyhow, bail, ensure};
use simulator::{Crashes, Mistake, Plan, Report, Size, campaign, meetings};
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

struct Options {
    plan: Plan,
    seeds: u64,
    /// Entries of several processors at the same time, rather than one after the other.
    meetings: bool,
}

fn options() -> anyhow::Result<Options> {
    let plan = Plan {
        seed: 1,
        size: Size { cpus: 1, vcpus: 1 },
        crashes: Crashes::Every,
        most: 20_000,
        time: Duration::from_secs(60),
        mistake: None,
        verbose: false,
    };
    let mut options = Options { plan, seeds: 1, meetings: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--verbose" {
            options.plan.verbose = true;
            continue;
        }
        let value = words.next().with_context(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{word} {value}: no number"));
        match word.as_str() {
            "--seed" => options.plan.seed = number()?,
            "--seeds" => options.seeds = number()?,
            "--steps" => options.plan.most = number()?,
            "--minutes" => options.plan.time = Duration::from_secs(60 * number()?),
            "--mistake" => {
                options.plan.mistake = Some(match value.as_str() {
                    "undo" => Mistake::Undo,
                    "effect" => Mistake::Effect,
                    "consequence" => Mistake::Consequence,
                    "twice" => Mistake::Twice,
                    "part" => Mistake::Part,
                    "again" => Mistake::Again,
                    "flush" => Mistake::Flush,
                    "order" => Mistake::Order,
                    other => bail!(
                        "--mistake {other}: undo, effect, consequence, twice, part, again, flush or order"
                    ),
                });
            }
            "--cpus" => options.plan.size.cpus = number()? as u32,
            "--vcpus" => options.plan.size.vcpus = number()? as u32,
            "--crash" => {
                options.plan.crashes = match value.as_str() {
                    "every" => Crashes::Every,
                    "random" => Crashes::Random(8),
                    "meeting" => {
                        options.meetings = true;
                        continue;
                    }
                    other => bail!("--crash {other}: every, random or meeting"),
                }
            }
            other => {
                bail!("{other}: --seed --seeds --steps --minutes --crash --cpus --vcpus --mistake --verbose")
            }
        }
    }
    Ok(options)
}

fn show(seed: u64, report: &Report, seconds: f64) {
    for (family, f) in &report.families {
        println!("  {family:<24} {:>7} entries {:>9} steps {:>9} crashes", f.entries, f.steps, f.crashes);
    }
    println!(
        "seed {seed}: {} crashes, {} in recovery, {} steps in {seconds:.1} s: {:.2} million steps a minute; {} ends, \
         {} unfinished, {} rescheduled",
        report.crashes,
        report.second,
        report.steps,
        report.steps as f64 / seconds * 60e-6,
        report.ends,
        report.unfinished,
        report.rescheduled
    );
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Without the backtrace that is of no use here.
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let options = options()?;
    match options.seeds {
        1 => one(&options.plan, options.meetings),
        seeds => each(options.plan.seed..options.plan.seed + seeds),
    }
}

/// Runs each seed in a process of its own: a campaign keeps the memory of every machine that it boots.
fn each(seeds: Range<u64>) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this program's own path")?;
    for seed in seeds {
        let seed = seed.to_string();
        let mut one = Command::new(&program);
        // The last of each option counts.
        one.args(std::env::args_os().skip(1)).args(["--seed", &seed, "--seeds", "1"]);
        let ended = one.status().context("a process for a seed")?;
        ensure!(ended.success(), "seed {seed}: {ended}");
    }
    Ok(())
}

fn one(plan: &Plan, with_others: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    let again = || command(plan, with_others);
    if with_others {
        let report = meetings(plan).map_err(|e| anyhow!("{e}\n{}", again()))?;
        println!("seed {}: {report:?} in {:.1} s", plan.seed, start.elapsed().as_secs_f64());
    } else {
        let report = campaign(plan).map_err(|e| anyhow!("{e}\n{}", again()))?;
        show(plan.seed, &report, start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// What runs this campaign again.
fn command(plan: &Plan, meetings: bool) -> String {
    let crash = match plan.crashes {
        _ if meetings => "meeting",
        Crashes::Every => "every",
        Crashes::Random(_) => "random",
    };
    let Size { cpus, vcpus } = plan.size;
    let mistake = plan.mistake.map_or(String::new(), |m| format!(" --mistake {m:?}").to_lowercase());
    format!(
        "again: cargo run -q -p simulator --release -- --seed {} --cpus {cpus} --vcpus {vcpus} --crash {crash} \
         --steps {} --minutes {}{mistake}",
        plan.seed,
        plan.most,
        plan.time.as_secs() / 60,
    )
}
