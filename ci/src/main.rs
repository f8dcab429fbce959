//! The lab: the project's one door. It builds the bare-metal image, makes stock guests and boot media from Debian's
//! packages, runs them in QEMU, and checks the house laws. `make` and `.ci/run` call it through `ci/lab`.

#![forbid(unsafe_code)]

mod bad_inputs;
mod bench;
mod branches;
mod check;
mod command;
mod cpio;
mod expect;
mod image;
mod initramfs;
mod inspect;
mod iso;
mod kernel;
mod lanes;
mod laws;
mod machine;
mod modules;
mod options;
mod packages;
mod plugin;
mod pygrub;
mod qemu;
mod qmp;
mod scratch;
mod space;
mod stand;
mod suite;
mod survive;
mod symbols;
mod table;
mod tally;
mod toolchain;
mod toolstack;
mod vmlinux;
mod workspace;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::{progress, seconds};
use crate::options::Options;
use crate::qemu::End;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

const USAGE: &str = "usage: ci/lab VERB [options]
  build                 dist/revenant and dist/revenant.debug (FEATURES=a,b)
  artefacts             download and make what runs need
  run                   boot to a shell on this terminal
  boot                  boot under a script: --expect TEXT, --send TEXT, --screen TEXT, --key NAME, --ends REASON,
                        --refuse TEXT (in order, any number)
  survive               failures at any instruction of the image, under load: PANICS=100 SEED=1, and what boot takes
                        (GUESTS=3: with PV guests; PIECE=50: so many on one machine; RESUME=1: goes on)
  stubs                 failures and NMIs at every instruction of the entry and exit code, under load
  chaos [FILTER]        the QEMU tests on an image that fails all the time
  test [FILTER]         all tests, or those whose name contains FILTER
  table [all] [again]   what the stock tools answer, beside Debian's Xen (--peer: measures that): the usual rows or
                        all; again: compares what the last run said
  check                 format, lints, host tests, house laws
  laws                  the house laws alone
  bench [WORD...]       instructions of operations on bare Linux, Debian's Xen and the image; words name columns
                        (bare, xen, revenant) and processor models to measure, the others are as measured before;
                        PROFILE=ROW shows where the image spends a row (names: ci/guest/bench.c), or all
run and boot take  --peer --bare KERNEL=bookworm|trixie CPUS= MEM= DOM0_MEM= CPU=model TOOLSTACK=1 UEFI=1 ICOUNT=1
  XEN='hypervisor options' APPEND='kernel options' --image FILE --gdb SOCKET --qmp SOCKET --frozen
  --qemu 'more arguments' --guest-test NAME --timeout SECONDS --name LOGNAME --quiet --survives --com2
  --graphics MODE --kernel FILE|none --initrd FILE|none --walk --damage";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    match Options::parse(arguments).and_then(|options| act(&verb, options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does what the verb says; `false` when it was done and found something wrong.
fn act(verb: &str, options: Options) -> Result<bool> {
    let workspace = Workspace::find();
    let toolchain = Toolchain::read(&workspace)?;
    match verb {
        "build" => image::build(&workspace, &toolchain, &options.features).map(|_| true),
        "artefacts" => stand::artefacts(&workspace).map(|()| true),
        "run" => stand::interactive(&workspace, &toolchain, &options).map(|()| true),
        "boot" => boot(&workspace, &toolchain, &options),
        "test" => suite::run(&workspace, &toolchain, &options.words),
        "chaos" => suite::chaos::run(&workspace, &toolchain, &options.words),
        "stubs" => survive::sweep(&workspace, &toolchain, &options, 1),
        "survive" => survive::run(&workspace, &toolchain, &options),
        "table" => table::run(&workspace, &toolchain, &options),
        "check" => check(&workspace, &toolchain),
        "bench" => match &options.profile {
            Some(row) => bench::profile(&workspace, &toolchain, row, &options.words).map(|()| true),
            None => bench::run(&workspace, &toolchain, &options.words).map(|()| true),
        },
        "laws" => laws::judge(&workspace).map(|tally| tally.failed == 0),
        _ => bail!("{USAGE}"),
    }
}

fn boot(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<bool> {
    let outcome = stand::boot(workspace, toolchain, options)?;
    println!();
    if let Some(seen) = &outcome.walked {
        progress(&format!("walked the stopped machine: {seen}"));
    }
    progress(&format!("{} ({}); console log: {}", outcome.end, seconds(outcome.took), outcome.log.display()));
    Ok(outcome.end == End::Done)
}

fn check(workspace: &Workspace, toolchain: &Toolchain) -> Result<bool> {
    Ok(check::check(workspace, toolchain)?.close(""))
}
