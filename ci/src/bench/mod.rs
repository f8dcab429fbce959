//! `bench`: the same Dom0 on bare Linux, on Debian's Xen and on the image, in instructions of one CPU.
//!
//! QEMU's `-icount shift=0` makes the TSC count instructions, so the figures repeat, and the machine's own speed is no
//! part of them. docs/performance.md says what they mean and what they do not see.

mod counts;
mod figures;
mod gdb;
mod profile;
mod protocol;
mod rows;
mod stamps;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::bench::counts::{Batches, Counts};
use crate::bench::figures::Figures;
use crate::bench::profile::Block;
use crate::bench::protocol::Share;
use crate::bench::rows::{ROWS, Stand};
use crate::bench::stamps::Places;
use crate::command::{progress, seconds};
use crate::expect::Step;
use crate::image;
use crate::kernel::Kernel;
use crate::options::{Below, Options};
use crate::packages::Suite;
use crate::plugin;
use crate::qemu::{End, Outcome};
use crate::stand;
use crate::symbols::Symbols;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The processors that are measured, with the mitigations that each has by default.
const MODELS: [Model; 2] = [
    Model { name: "EPYC-Milan", qemu: "EPYC-Milan" },
    // With x2APIC, QEMU ends with "Bad icount read".
    Model { name: "Skylake-Server", qemu: "Skylake-Server,-x2apic" },
];

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Model {
    /// Its name here.
    name: &'static str,
    /// QEMU's.
    qemu: &'static str,
}

/// The columns, and the words that choose them.
const COLUMNS: [(Below, &str); 3] =
    [(Below::Bare, "bare"), (Below::Peer, "xen"), (Below::Revenant, "revenant")];

/// Wall-time limit of one boot with its measurements; it takes half a minute to a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(1200);

/// Memory in MiB of Dom0 (and of Linux alone), and of a hypervisor's machine.
const MEMORY: u32 = 512;
const MACHINE_MEMORY: u32 = 1024;

/// What the machine has besides for guests.
const MORE_MEMORY: u32 = 512;

/// Nothing random: QEMU's seed is the processor's RDRAND, and no address is randomised.
const KERNEL: &str = "rdinit=/bin/stamp nokaslr norandmaps quiet";

/// The tests that measure: what a machine does alone, and what guests cost.
const ALONE: &str = "bench";
const GUESTS: &str = "bench-guests";

/// The clock of the machine, not the user's, and a disk that answers at once with zeros.
const MACHINE: &str = "-seed 1 -rtc base=2026-01-01,clock=vm \
    -blockdev driver=null-co,node-name=zeros,size=16777216,read-zeroes=on -device virtio-blk-pci,drive=zeros";

/// Measures the columns and models that `words` name (all, if none), and prints the tables.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, words: &[String]) -> Result<()> {
    let named = |name: &str| words.iter().any(|word| *word == name);
    if let Some(word) = words.iter().find(|word| !known(word)) {
        bail!("bench: no column or model {word}");
    }
    let any_column = COLUMNS.iter().any(|(_, name)| named(name));
    let any_model = MODELS.iter().any(|model| named(model.name));
    let columns: Vec<Below> =
        COLUMNS.iter().filter(|(_, name)| !any_column || named(name)).map(|(below, _)| *below).collect();
    for model in MODELS.iter().filter(|model| !any_model || named(model.name)) {
        for below in &columns {
            column(workspace, toolchain, *below, model)?;
        }
        print_tables(workspace, model);
    }
    Ok(())
}

fn known(word: &str) -> bool {
    MODELS.iter().any(|model| model.name == word) || COLUMNS.iter().any(|(_, name)| *name == word)
}

fn name_of(below: Below) -> &'static str {
    COLUMNS.iter().find(|(column, _)| *column == below).map_or("", |(_, name)| name)
}

/// Where the figures of a column are kept: with the code, so that a change shows what it moves.
fn kept(workspace: &Workspace, below: Below, model: &Model) -> PathBuf {
    workspace.path(&format!("ci/bench/{}/{}.txt", model.name, name_of(below)))
}

/// Measures one column, says which rows moved since the last time, and keeps it.
fn column(workspace: &Workspace, toolchain: &Toolchain, below: Below, model: &Model) -> Result<()> {
    let title = format!("bench {}, {}", model.name, name_of(below));
    let start = Instant::now();
    progress(&format!("{title} (three minutes) ..."));
    let figures = measure(workspace, toolchain, below, model)?;
    progress(&format!("{title} done ({})", seconds(start.elapsed())));
    let file = kept(workspace, below, model);
    let before = Figures::read(&file).unwrap_or_default();
    figures.write(&file)?;
    for change in figures.changes(&before) {
        let (old, new) = change.figures;
        let verdict = if change.is_worse() { "WORSE" } else { "better" };
        let percent = (new / old - 1.0).abs() * 100.0;
        println!(
            "{title}: {}: {verdict} by {percent:.1} % ({} -> {})",
            change.row.title,
            change.row.unit.show(old),
            change.row.unit.show(new)
        );
    }
    Ok(())
}

/// Boots a column's machine and takes its figures.
fn measure(workspace: &Workspace, toolchain: &Toolchain, below: Below, model: &Model) -> Result<Figures> {
    let hypervisor = match below {
        Below::Bare => None,
        Below::Peer => Some(stand::peer(workspace, Suite::Bookworm)?),
        Below::Revenant => Some(image::build(workspace, toolchain, &[])?),
    };
    let kernel = Kernel::get(workspace, Suite::Bookworm)?.image;
    let socket = std::env::temp_dir().join(format!("lab-{}.gdb", std::process::id()));
    let _ = fs::remove_file(&socket);
    let places = Places::find(hypervisor.as_deref(), &kernel, MACHINE_MEMORY)?;
    let plain = options(below, model, hypervisor);
    let [two, guests] = [pair(plain.clone()), with_guests(plain.clone())];
    let mut one = plain;
    one.machine.frozen = true;
    one.machine.gdb = Some(socket.clone());
    let watcher = places.watcher(&socket, LIMIT);
    let figures = counted(workspace, toolchain, one);
    let _ = fs::remove_file(&socket);
    let mut figures = figures?;
    let stamps = watcher.join().map_err(|_| anyhow!("the watcher of the boot failed"))?;
    figures.add_boot(stamps?)?;
    let counts = figures.get("instructions").unwrap_or_default();
    ensure!((0.99..1.01).contains(&counts), "the TSC counts {counts} for an instruction");
    figures.join(counted(workspace, toolchain, two)?);
    if below != Below::Bare {
        figures.join(counted(workspace, toolchain, guests)?);
    }
    Ok(figures)
}

/// Boots a machine with the plugin that counts, and takes the figures of its rows.
fn counted(workspace: &Workspace, toolchain: &Toolchain, mut options: Options) -> Result<Figures> {
    let file = counts_file(workspace, &options.name)?;
    let plugin = format!("{},out={}", plugin::compile(workspace, "count")?.display(), file.display());
    options.machine.more.extend(["-plugin".into(), plugin]);
    let outcome = stand::boot(workspace, toolchain, &options)?;
    ensure!(outcome.end == End::Done, "{} (console log: {})", outcome.end, outcome.log.display());
    let log = log(&outcome)?;
    let mut figures = Figures::of_log(&log);
    figures.add_counts(&log, &Counts::parse(&fs::read_to_string(&file)?)?)?;
    Ok(figures)
}

/// Where the plugin writes what it counts.
fn counts_file(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.build("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(name).with_extension("counts"))
}

/// The same machine with a second CPU, for the rows that need it. Each vCPU stays on its CPU, under both hypervisors.
fn pair(mut options: Options) -> Options {
    let rows: Vec<&str> = ROWS.iter().filter(|row| row.stand == Stand::Two).map(|row| row.name).collect();
    options.machine.cpus = 2;
    options.append += &format!(" lab.bench={}", rows.join(","));
    options.xen += " dom0_vcpus_pin";
    options.name += "-2";
    options
}

/// The same machine with the stock toolstack in Dom0, which makes guests.
fn with_guests(mut options: Options) -> Options {
    options.toolstack = true;
    options.machine.memory += MORE_MEMORY;
    options.name += "-guests";
    measured_by(options, GUESTS)
}

/// The machine runs a test and is done when that has passed.
fn measured_by(mut options: Options, test: &str) -> Options {
    // The guest takes the last.
    options.append += &format!(" lab.test={test}");
    options.steps = vec![Step::See(format!("LAB-RESULT {test} pass"))];
    options.refuse = vec![format!("LAB-RESULT {test} fail")];
    options
}

/// The word for all rows of one CPU.
const ALL: &str = "all";

/// Prints where the instructions of one row (or of [`ALL`]) go on the image, on the first model that `words` name.
pub(crate) fn profile(
    workspace: &Workspace,
    toolchain: &Toolchain,
    row: &str,
    words: &[String],
) -> Result<()> {
    let known = ROWS.iter().find(|known| known.name == row && known.counted());
    ensure!(known.is_some() || row == ALL, "bench: no row {row}");
    let named = |model: &&Model| words.iter().any(|word| word == model.name);
    let model = MODELS.iter().find(named).unwrap_or(&MODELS[0]);
    let image = image::build(workspace, toolchain, &[])?;
    let elf = image.with_extension("debug");
    let mut options = options(Below::Revenant, model, Some(image));
    match known.map_or(Stand::One, |known| known.stand) {
        Stand::One => {}
        Stand::Two => options = pair(options),
        Stand::Guests => options = with_guests(options),
    }
    if row != ALL {
        // The guest takes the last.
        options.append += &format!(" lab.bench={row}");
    }
    options.name = format!("bench-{}-profile", model.name);
    let counted = counts_file(workspace, &options.name)?;
    let profile = counted.with_extension("profile");
    let plugin = plugin::compile(workspace, "count")?;
    let plugin = format!("{},out={},profile={}", plugin.display(), counted.display(), profile.display());
    options.machine.more.extend(["-plugin".into(), plugin]);
    progress(&format!("profile of {row} on {} (half a minute) ...", model.name));
    let outcome = stand::boot(workspace, toolchain, &options)?;
    ensure!(outcome.end == End::Done, "{} (console log: {})", outcome.end, outcome.log.display());
    let log = log(&outcome)?;
    let batches = log.lines().find_map(Batches::of_line).context("the guest measured nothing")?;
    let operations = if row == ALL { 1.0 } else { f64::from(batches.operations) * batches.count as f64 };
    let blocks = Block::parse(&fs::read_to_string(&profile)?)?;
    let symbols = Symbols::read(&elf)?;
    println!("\n{row} on {}, instructions of one operation (mean of all batches):\n", model.name);
    println!("{}", profile::list(&blocks, &symbols, operations));
    let share = Share::of(&blocks, &symbols, &elf, &workspace.build("bench"))?;
    println!("{}", share.show(operations));
    Ok(())
}

fn log(outcome: &Outcome) -> Result<String> {
    let bytes = fs::read(&outcome.log).with_context(|| format!("reading {}", outcome.log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn options(below: Below, model: &Model, hypervisor: Option<PathBuf>) -> Options {
    let mut options = Options {
        below,
        image: hypervisor,
        name: format!("bench-{}-{}", model.name, name_of(below)),
        dom0_memory: MEMORY,
        // What both say by default; the lab's other runs ask for more.
        xen: "loglvl=warning guest_loglvl=warning".into(),
        append: KERNEL.into(),
        timeout: LIMIT,
        quiet: true,
        ..Options::default()
    };
    options.machine.model = model.qemu.into();
    options.machine.icount = true;
    options.machine.more = MACHINE.split_whitespace().map(String::from).collect();
    options.machine.memory = if below == Below::Bare { MEMORY } else { MACHINE_MEMORY };
    measured_by(options, ALONE)
}

/// Prints the tables of what is known of a model.
fn print_tables(workspace: &Workspace, model: &Model) {
    let [bare, peer, ours] =
        COLUMNS.map(|(below, _)| Figures::read(&kept(workspace, below, model)).unwrap_or_default());
    println!("\n{}, instructions of one operation:\n", model.name);
    println!("{}", table::costs(&bare, &peer, &ours));
    println!("What instructions do not show, of one operation, Xen / Revenant:\n");
    println!("{}", table::counts(&peer, &ours));
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
        let bare = options(Below::Bare, &MODELS[0], None);
        let peer = options(Below::Peer, &MODELS[0], None);
        assert_eq!(bare.machine.memory, peer.dom0_memory);
        assert!(bare.machine.icount);
        let two = pair(bare);
        assert_eq!((two.machine.cpus, two.name.as_str()), (2, "bench-EPYC-Milan-bare-2"));
        assert!(two.append.ends_with("lab.bench=ipi,shootdown,wake"));
        let guests = with_guests(peer);
        assert!(guests.toolstack && guests.append.ends_with("lab.test=bench lab.test=bench-guests"));
        assert_eq!(guests.steps, [Step::See("LAB-RESULT bench-guests pass".into())]);
    }
}
