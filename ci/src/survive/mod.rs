//! A campaign of failures: the release image runs a Dom0 under load, and a QEMU plugin makes it fail, again and again,
//! at the very instruction where a CPU stands. docs/recovery.md says what the figures mean.

mod agent;
mod campaign;
mod figures;
mod record;
mod stage;
mod stubs;
mod tail;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::progress;
use crate::expect::Step;
use crate::image;
use crate::inspect::Inspection;
use crate::options::Options;
use crate::plugin;
use crate::qemu::{End, Outcome};
use crate::scratch;
use crate::stand;
use crate::survive::agent::Door;
use crate::survive::campaign::Campaign;
use crate::survive::figures::{Figures, JUDGED};
use crate::survive::stage::Stage;
use crate::survive::stubs::Sweep;
use crate::symbols::Symbols;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The load in Dom0, `ci/guest/tests`; and that with guests.
const LOAD: &str = "under-load";
const LOAD_WITH_GUESTS: &str = "under-guests";
/// MiB of memory of a machine without guests, and for each of them and for two that come and go.
const MEMORY: u32 = 560;
const GUEST_MEMORY: u32 = 176;
/// Wall time for booting, for one failure, and for the load's own checks at the end.
const BOOT: Duration = Duration::from_secs(300);
const PANIC: Duration = Duration::from_secs(60);
/// And for a sweep over all of the entry and exit code.
const SWEEP: Duration = Duration::from_secs(7200);
/// After a loss the machine is started anew, so often at most.
const MOST_BOOTS: u32 = 10;

/// Boots and makes the image fail `options.panics` times with `options.seed`. The last line printed is the figures;
/// true if nothing was lost and the run is valid.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<bool> {
    let image = image::build(workspace, toolchain, &options.features)?;
    let mut campaign = Campaign::new(workspace, &image, options)?;
    let (mut boot, mut bad) = (0, 0);
    while !campaign.is_over() && bad < MOST_BOOTS {
        bad += u32::from(!one_boot(workspace, toolchain, options, &image, &mut campaign, boot)?);
        boot += 1;
    }
    let figures = Figures(campaign.panics());
    print!("{}", figures.table());
    if figures.0.len() < JUDGED {
        println!("a sample: fewer than {JUDGED} panics are not judged");
    }
    let invalid = figures.invalid();
    if let Some(why) = &invalid {
        println!("{why}");
    }
    println!("{}", figures.line());
    Ok(figures.lost() == 0 && invalid.is_none() && campaign.is_over())
}

/// Strikes at one of `step` instructions of the entry and exit code, in both ways; true if nothing was lost. The last
/// line printed is the count.
pub(crate) fn sweep(
    workspace: &Workspace,
    toolchain: &Toolchain,
    options: &Options,
    step: usize,
) -> Result<bool> {
    let image = image::build(workspace, toolchain, &options.features)?;
    let mut sweep = Sweep::new(&Symbols::read(&image.with_extension("debug"))?, step)?;
    let mut options = options.clone();
    options.name = "stubs".into();
    options.timeout = BOOT + SWEEP / u32::try_from(step).unwrap_or(1);
    let outcome = under_load(workspace, toolchain, options, &image, &mut |stage| sweep.visit(stage))?;
    let lost = outcome.end != End::Done;
    if lost {
        println!("{}; console log: {}", outcome.end, outcome.log.display());
    }
    println!("{}", sweep.line(lost));
    Ok(!lost)
}

/// The name of the sample that is a test.
pub(crate) const SAMPLE: &str =
    "failures at any instruction, those of the entry and exit code too, lose nothing on 2 CPUs";
/// Its failures, and one of how many instructions of the entry and exit code it takes.
const SAMPLE_PANICS: u32 = 10;
const SAMPLE_STEP: usize = 24;
const SAMPLE_LIMIT: Duration = Duration::from_secs(600);

/// Both on one machine, a few of each: a test. The answer is what was lost, if anything was.
pub(crate) fn sample(workspace: &Workspace, toolchain: &Toolchain, image: &Path) -> Result<Option<String>> {
    let mut options = Options { panics: SAMPLE_PANICS, timeout: SAMPLE_LIMIT, ..Options::default() };
    options.name = "survive-sample".into();
    options.machine.cpus = 2;
    let mut campaign = Campaign::new(workspace, image, &options)?;
    let mut sweep = Sweep::new(&Symbols::read(&image.with_extension("debug"))?, SAMPLE_STEP)?;
    let outcome = under_load(workspace, toolchain, options, image, &mut |stage| {
        Ok(match campaign.visit(stage)? {
            None => sweep.visit(stage)?,
            lost => lost,
        })
    })?;
    println!("    {}", Figures(campaign.panics()).line());
    println!("    {}", sweep.line(outcome.end != End::Done));
    Ok((outcome.end != End::Done).then(|| format!("{}; console log: {}", outcome.end, outcome.log.display())))
}

/// One machine: until all failures, or those of a piece, are survived or something is lost. True: nothing is.
fn one_boot(
    workspace: &Workspace,
    toolchain: &Toolchain,
    options: &Options,
    image: &Path,
    campaign: &mut Campaign<'_>,
    boot: u32,
) -> Result<bool> {
    let mut options = options.clone();
    options.name = if boot == 0 { "survive".into() } else { format!("survive-{}", boot + 1) };
    options.timeout = BOOT + PANIC * campaign.left().min(options.piece);
    let before = campaign.panics().len();
    let outcome = under_load(workspace, toolchain, options, image, &mut |stage| campaign.visit(stage))?;
    fs::copy(&outcome.log, campaign.folder().join(format!("console-{}.log", before + 1)))
        .with_context(|| format!("copying {}", outcome.log.display()))?;
    if outcome.end != End::Done {
        progress(&format!("{}; console log: {}", outcome.end, outcome.log.display()));
        campaign.ended_badly(before, &outcome.end.to_string())?;
    }
    Ok(outcome.end == End::Done)
}

/// Boots with the plugin to the load in Dom0, hands the machine to `visitor`, and lets the load check itself.
fn under_load(
    workspace: &Workspace,
    toolchain: &Toolchain,
    mut options: Options,
    image: &Path,
    visitor: &mut dyn FnMut(&mut Stage) -> Result<Option<String>>,
) -> Result<Outcome> {
    let door = Door::open()?;
    let symbols = Symbols::read(&image.with_extension("debug"))?;
    options.machine.more.extend(door.arguments(&plugin::compile(workspace, "fail")?, &symbols)?);
    options.machine.more.extend(scratch::DEVICES.split_whitespace().map(String::from));
    options.machine.inspected = true;
    options.image = Some(image.to_path_buf());
    let load = if options.busy_guests == 0 { LOAD } else { LOAD_WITH_GUESTS };
    options.append = format!("{} lab.test={load}", options.append);
    if options.busy_guests > 0 {
        options.append = format!("{} lab.set=GUESTS={}", options.append, options.busy_guests);
        options.toolstack = true;
        options.machine.memory =
            options.machine.memory.max(MEMORY + (options.busy_guests + 2) * GUEST_MEMORY);
        options.timeout += 3 * BOOT;
        // After all failures, and the guest that is made then.
        options.inspection = Inspection::Walk;
    }
    options.steps = vec![
        Step::See("LAB-LOAD runs".into()),
        Step::Visit,
        Step::Send("end\n".into()),
        Step::See(format!("LAB-RESULT {load} pass")),
    ];
    options.refuse.push(format!("LAB-RESULT {load} fail"));
    options.survives = true;
    options.quiet = true;
    stand::boot_for(workspace, toolchain, &options, &mut |scene| visitor(&mut Stage::set(scene, &door)?))
}
