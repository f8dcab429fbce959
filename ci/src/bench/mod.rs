//! `bench`: the same Dom0 on bare Linux, on Debian's Xen and on the image, in instructions of one CPU.
//!
//! QEMU's `-icount shift=0` makes the TSC count instructions, so the figures repeat, and the machine's own speed is no
//! part of them. docs/performance.md says what they mean and what they do not see.

mod figures;
mod gdb;
mod rows;
mod stamps;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::bench::figures::Figures;
use crate::bench::stamps::Places;
use crate::bench::table::thousands;
use crate::command::{progress, seconds};
use crate::expect::Step;
use crate::image;
use crate::kernel::Kernel;
use crate::options::{Below, Options};
use crate::packages::Suite;
use crate::qemu::{End, Outcome};
use crate::stand;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The processors that are measured.
const MODELS: [&str; 1] = ["EPYC-Milan"];

/// The columns, and the words that choose them.
const COLUMNS: [(Below, &str); 3] =
    [(Below::Bare, "bare"), (Below::Peer, "xen"), (Below::Revenant, "revenant")];

/// Wall-time limit of one boot with its measurements; it takes half a minute to a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(400);

/// Memory in MiB of Dom0 (and of Linux alone), and of a hypervisor's machine.
const MEMORY: u32 = 512;
const MACHINE_MEMORY: u32 = 1024;

/// Nothing random: QEMU's seed is the processor's RDRAND, and no address is randomised.
const KERNEL: &str = "rdinit=/bin/stamp lab.test=bench nokaslr norandmaps quiet";

/// The clock of the machine, not the user's, and a disk that answers at once with zeros.
const MACHINE: &str = "-seed 1 -rtc base=2026-01-01,clock=vm \
    -blockdev driver=null-co,node-name=zeros,size=16777216,read-zeroes=on -device virtio-blk-pci,drive=zeros";

/// Measures the columns and models that `words` name (all, if none), and prints the tables.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, words: &[String]) -> Result<bool> {
    let named = |name: &str| words.iter().any(|word| *word == name);
    if let Some(word) = words.iter().find(|word| !known(word)) {
        bail!("bench: no column or model {word}");
    }
    let any_column = COLUMNS.iter().any(|(_, name)| named(name));
    let any_model = MODELS.iter().any(|model| named(model));
    let columns: Vec<Below> =
        COLUMNS.iter().filter(|(_, name)| !any_column || named(name)).map(|(below, _)| *below).collect();
    let mut better = true;
    for model in MODELS.iter().filter(|model| !any_model || named(model)) {
        for below in &columns {
            better &= column(workspace, toolchain, *below, model)?;
        }
        print_table(workspace, model);
    }
    Ok(better)
}

fn known(word: &str) -> bool {
    MODELS.contains(&word) || COLUMNS.iter().any(|(_, name)| *name == word)
}

fn name_of(below: Below) -> &'static str {
    COLUMNS.iter().find(|(column, _)| *column == below).map_or("", |(_, name)| name)
}

/// Where the figures of a column are kept.
fn kept(workspace: &Workspace, below: Below, model: &str) -> PathBuf {
    workspace.build(&format!("bench/{model}/{}.txt", name_of(below)))
}

/// Measures one column and keeps it; `false` if a row got worse since the last time.
fn column(workspace: &Workspace, toolchain: &Toolchain, below: Below, model: &str) -> Result<bool> {
    let name = name_of(below);
    let start = Instant::now();
    progress(&format!("bench {model}, {name} (a minute) ..."));
    let figures = measure(workspace, toolchain, below, model)?;
    progress(&format!("bench {model}, {name} done ({})", seconds(start.elapsed())));
    let file = kept(workspace, below, model);
    let before = Figures::read(&file).unwrap_or_default();
    figures.write(&file)?;
    let mut better = true;
    for change in figures.changes(&before) {
        let (old, new) = change.figures;
        let verdict = if change.is_worse() { "WORSE" } else { "better" };
        better &= !change.is_worse();
        println!(
            "bench {model}, {name}: {}: {verdict} by {:.1} % ({} -> {})",
            change.title,
            (new / old - 1.0).abs() * 100.0,
            thousands(old),
            thousands(new)
        );
    }
    Ok(better)
}

/// Boots a column's machine and takes its figures.
fn measure(workspace: &Workspace, toolchain: &Toolchain, below: Below, model: &str) -> Result<Figures> {
    let hypervisor = match below {
        Below::Bare => None,
        Below::Peer => Some(stand::peer(workspace)?),
        Below::Revenant => Some(image::build(workspace, toolchain, &[])?),
    };
    let kernel = Kernel::get(workspace, Suite::Bookworm)?.image;
    let socket = std::env::temp_dir().join(format!("lab-{}.gdb", std::process::id()));
    let _ = fs::remove_file(&socket);
    let places = Places::find(hypervisor.as_deref(), &kernel, MACHINE_MEMORY)?;
    let watcher = places.watcher(&socket, LIMIT);
    let outcome = stand::boot(workspace, toolchain, &options(below, model, hypervisor, &socket));
    let _ = fs::remove_file(&socket);
    let outcome = outcome?;
    let stamps = watcher.join().map_err(|_| anyhow!("the watcher of the boot failed"))?;
    ensure!(outcome.end == End::Done, "{} (console log: {})", outcome.end, outcome.log.display());
    let mut figures = Figures::of_log(&log(&outcome)?);
    figures.add_boot(stamps?)?;
    let counted = figures.get("instructions").unwrap_or_default();
    ensure!((0.99..1.01).contains(&counted), "the TSC counts {counted} for an instruction");
    Ok(figures)
}

fn log(outcome: &Outcome) -> Result<String> {
    let bytes = fs::read(&outcome.log).with_context(|| format!("reading {}", outcome.log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn options(below: Below, model: &str, hypervisor: Option<PathBuf>, socket: &Path) -> Options {
    let mut options = Options {
        below,
        image: hypervisor,
        name: format!("bench-{model}-{}", name_of(below)),
        steps: vec![Step::See("LAB-RESULT bench pass".into())],
        refuse: vec!["LAB-RESULT bench fail".into()],
        dom0_memory: MEMORY,
        // What both say by default; the lab's other runs ask for more.
        xen: "loglvl=warning guest_loglvl=warning".into(),
        append: KERNEL.into(),
        timeout: LIMIT,
        quiet: true,
        ..Options::default()
    };
    options.machine.model = model.into();
    options.machine.icount = true;
    options.machine.frozen = true;
    options.machine.gdb = Some(socket.into());
    options.machine.more = MACHINE.split_whitespace().map(String::from).collect();
    options.machine.memory = if below == Below::Bare { MEMORY } else { MACHINE_MEMORY };
    options
}

/// Prints the table of what is known of a model.
fn print_table(workspace: &Workspace, model: &str) {
    let [bare, peer, ours] =
        COLUMNS.map(|(below, _)| Figures::read(&kept(workspace, below, model)).unwrap_or_default());
    println!("\n{model}, one CPU, instructions of one operation:\n");
    println!("{}", table::table(&bare, &peer, &ours));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose_columns_and_models() {
        assert!(known("xen") && known("EPYC-Milan") && !known("faster"));
    }

    #[test]
    fn bare_linux_has_what_dom0_has() {
        let bare = options(Below::Bare, "EPYC-Milan", None, Path::new("/g"));
        let peer = options(Below::Peer, "EPYC-Milan", None, Path::new("/g"));
        assert_eq!(bare.machine.memory, peer.dom0_memory);
        assert!(bare.machine.icount && bare.machine.frozen);
    }
}
