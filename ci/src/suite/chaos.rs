//! The QEMU tests on an image that fails all the time, over derived memory full of nonsense.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::{Test, all, matches, run_one};
use crate::command::progress;
use crate::image;
use crate::lanes;
use crate::options::Below;
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The image's feature.
const FEATURE: &str = "chaos";
/// How much longer a test may take.
const SLOWER: u32 = 4;

/// Whether a test can run on that image: one of the plain image's that gets as far as Dom0's programs.
fn is_for_chaos(test: &Test) -> bool {
    test.below == Below::Revenant && test.features.is_empty() && test.init
}

/// Runs the tests whose name contains one of the words, or all; a microreboot must have come in each.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, filter: &[String]) -> Result<bool> {
    let image = image::build(workspace, toolchain, &[FEATURE.to_string()])?;
    let chosen: Vec<&Test> = all().filter(|test| is_for_chaos(test) && matches(test.name, filter)).collect();
    progress(&format!("{} QEMU tests on an image that fails all the time", chosen.len()));
    let failures = AtomicUsize::new(0);
    let tally = lanes::run(
        lanes::room(),
        chosen,
        |test| test.cpus,
        |test| {
            let (one, times) = fail_always(workspace, toolchain, &image, test);
            failures.fetch_add(times, Ordering::Relaxed);
            one
        },
        Tally::add,
    );
    let failures = failures.into_inner();
    Ok(tally.close(&format!(", {failures} microreboots")))
}

/// Runs one test on that image; also returns how many microreboots came.
fn fail_always(workspace: &Workspace, toolchain: &Toolchain, image: &Path, test: &Test) -> (Tally, usize) {
    // This image is larger than the one whose memory is judged.
    let test = &Test { keeps: 0, ..*test };
    let mut options = test.options();
    options.image = Some(image.to_path_buf());
    options.survives = true;
    options.timeout = Duration::from_secs(test.limit) * SLOWER;
    options.name = format!("chaos-{}", test.log());
    let passed = run_one(workspace, toolchain, test, &options);
    let log = fs::read(workspace.build(&format!("logs/{}.log", options.name))).unwrap_or_default();
    let times = String::from_utf8_lossy(&log).matches("Recovered from failure ").count();
    println!("    {times} microreboots in: {}", test.name);
    let none = || Tally::broken(format!("{}: no microreboot came", test.name));
    (if times == 0 && passed.failed == 0 { none() } else { passed }, times)
}
