//! The QEMU tests: one table, run beside each other as far as the host has processors for their machines.

pub(crate) mod chaos;
mod failures;
mod machines;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::bad_inputs;
use crate::check;
use crate::command::{progress, seconds};
use crate::expect::Step;
use crate::image;
use crate::initramfs::Guests;
use crate::inspect::Inspection;
use crate::lanes;
use crate::options::{Below, Options};
use crate::packages::Suite;
use crate::qemu::{End, Outcome};
use crate::scratch;
use crate::space;
use crate::stand;
use crate::survive;
use crate::table;
use crate::tally::{Tally, report};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// One test: a machine, what it boots, and what its console must say.
#[derive(Debug, Clone, Copy)]
struct Test {
    /// What is tested, as a sentence without its full stop.
    name: &'static str,
    /// What runs below the kernel.
    below: Below,
    /// The kernel.
    kernel: Suite,
    /// Processors.
    cpus: u32,
    /// MiB of memory; 0: as usual.
    memory: u32,
    /// Scripts of `ci/guest/tests` to run in Dom0, one after another, and see pass.
    guest_tests: &'static [&'static str],
    /// The Xen toolstack of the kernel's suite is in the initramfs.
    toolstack: bool,
    /// What guests boot beside Dom0's own kernel.
    guests: Guests,
    /// The kernel reaches the lab's init.
    init: bool,
    /// Texts that the console must show, in this order (after `LAB-INIT`, before the guest tests' results).
    expect: &'static [&'static str],
    /// The hypervisor panics and goes on.
    survives: bool,
    /// NMIs a second injected into every CPU once the init runs.
    nmis: u32,
    /// Machine checks that QEMU raises once the init runs, on one CPU after another; each is survived.
    machine_checks: u32,
    /// More kernel options.
    append: &'static str,
    /// The walker is shown that it can fail: the machine is damaged word by word.
    damage: bool,
    /// More hypervisor options.
    xen: &'static str,
    /// Features of the image's build.
    features: &'static [&'static str],
    /// UEFI instead of a BIOS.
    uefi: bool,
    /// QEMU's processor model; the lab's usual one if empty.
    model: &'static str,
    /// The mode of the screen, in GRUB's words.
    graphics: &'static str,
    /// What the hypervisor may keep of the machine's memory in KiB; 0: not judged.
    keeps: u64,
    /// What comes after the texts.
    last: Last,
    /// More QEMU arguments.
    qemu: &'static str,
    /// The console is the second serial port.
    second_port: bool,
    /// Wall-time limit in seconds, generous: a shared machine may be three times as slow.
    limit: u64,
}

/// The end of a test.
#[derive(Debug, Clone, Copy)]
enum Last {
    /// Nothing more.
    Nothing,
    /// This key is pressed twice, before the guest tests' results.
    Key(&'static str),
    /// The text screen shows this.
    Screen(&'static str),
    /// This is typed at the shell, and the machine ends for this reason.
    End(&'static str, &'static str),
}

/// A test names what differs from this.
const USUAL: Test = Test {
    name: "",
    below: Below::Revenant,
    kernel: Suite::Bookworm,
    cpus: 1,
    memory: 0,
    guest_tests: &[],
    toolstack: false,
    guests: Guests { kernel: None, disk: false },
    init: true,
    expect: &[],
    survives: false,
    nmis: 0,
    machine_checks: 0,
    append: "",
    damage: false,
    xen: "",
    features: &[],
    uefi: false,
    model: "",
    graphics: "",
    keeps: 0,
    last: Last::Nothing,
    qemu: "",
    second_port: false,
    limit: 120,
};

/// All tests, those of failures last.
fn all() -> impl Iterator<Item = &'static Test> {
    machines::TESTS.iter().chain(&failures::TESTS)
}

impl Test {
    /// The log's name: the test's, in letters a file name likes.
    fn log(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let words: String = self.name.chars().map(plain).collect();
        words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }

    /// The console's conversation.
    fn steps(&self) -> Vec<Step> {
        let mut texts = Vec::new();
        if self.init {
            texts.push("LAB-INIT".to_string());
        }
        let mut steps: Vec<Step> = texts.drain(..).map(Step::See).collect();
        if self.nmis > 0 {
            steps.push(Step::Nmis(self.nmis));
        }
        for check in 0..self.machine_checks {
            let cpu = check % self.cpus;
            // Uncorrected, enabled; the registers are intact.
            steps.push(Step::Monitor(format!("mce {cpu} 0 0xb000000000000000 5 0 0")));
            steps.push(Step::See(format!("Machine check on CPU {cpu}: status 0x5, bank 0")));
        }
        texts.extend(self.expect.iter().map(ToString::to_string));
        steps.extend(texts.into_iter().map(Step::See));
        match self.last {
            Last::Nothing => {}
            Last::Key(key) => steps.extend([Step::Key(key.into()), Step::Key(key.into())]),
            Last::Screen(text) => steps.push(Step::Screen(text.into())),
            Last::End(command, reason) => {
                steps.extend([Step::Send(command.into()), Step::End(reason.into())]);
            }
        }
        steps.extend(self.guest_tests.iter().map(|name| Step::See(format!("LAB-RESULT {name} pass"))));
        steps
    }

    /// Every machine whose Dom0 passed its tests is walked.
    fn inspection(&self) -> Inspection {
        match (self.below, self.guest_tests, self.damage) {
            (Below::Revenant, [_, ..], true) => Inspection::Damage,
            (Below::Revenant, [_, ..], false) => Inspection::Walk,
            _ => Inspection::None,
        }
    }

    fn options(&self) -> Options {
        let mut options = Options {
            below: self.below,
            kernel: self.kernel,
            toolstack: self.toolstack,
            guests: self.guests,
            name: self.log(),
            steps: self.steps(),
            xen: self.xen.into(),
            append: self.append.into(),
            features: self.features.iter().map(ToString::to_string).collect(),
            timeout: Duration::from_secs(self.limit),
            survives: self.survives,
            inspection: self.inspection(),
            quiet: true,
            ..Options::default()
        };
        options.machine.cpus = self.cpus;
        if self.memory != 0 {
            options.machine.memory = self.memory;
        }
        options.machine.second_port = self.second_port;
        options.machine.uefi = self.uefi;
        options.machine.graphics = self.graphics.into();
        if !self.model.is_empty() {
            options.machine.model = self.model.into();
        }
        options.machine.more = self.qemu.split_whitespace().map(String::from).collect();
        if !self.guest_tests.is_empty() {
            options.append = format!("lab.test={} {}", self.guest_tests.join(","), self.append);
            options.refuse = self.guest_tests.iter().map(|name| format!("LAB-RESULT {name} fail")).collect();
        }
        options
    }
}

/// Runs everything, or the QEMU tests whose name contains one of the words. The last line printed is the count.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, filter: &[String]) -> Result<bool> {
    let mut tally = Tally::default();
    if filter.is_empty() {
        tally.add(check::check(workspace, toolchain)?);
    }
    let chosen: Vec<&Test> = all().filter(|test| matches(test.name, filter)).collect();
    // Built once for all tests without features of their own.
    let plain = chosen.iter().any(|test| test.below == Below::Revenant && test.features.is_empty())
        || bad_inputs::any(|name| matches(name, filter))
        || matches(survive::SAMPLE, filter);
    let image = if plain { build(workspace, toolchain, &mut tally) } else { None };
    progress(&format!("{} QEMU tests on {} processors", chosen.len(), lanes::room()));
    tally.add(lanes::run(
        lanes::room(),
        chosen,
        |test| test.cpus,
        |test| {
            let mut options = test.options();
            options.image = image.clone().filter(|_| test.features.is_empty());
            run_one(workspace, toolchain, test, &options)
        },
        Tally::add,
    ));
    if let Some(image) = &image {
        tally.add(bad_inputs::run(workspace, toolchain, image, |name| matches(name, filter))?);
    }
    if let Some(image) = image.filter(|_| matches(survive::SAMPLE, filter)) {
        let lost =
            survive::sample(workspace, toolchain, &image).unwrap_or_else(|error| Some(format!("{error:#}")));
        tally.add(report(survive::SAMPLE, lost));
    }
    Ok(tally.close(""))
}

/// The plain image; one that does not build is a failure of its own, beside those of the tests that need it.
fn build(workspace: &Workspace, toolchain: &Toolchain, tally: &mut Tally) -> Option<PathBuf> {
    match image::build(workspace, toolchain, &[]) {
        Ok(image) => {
            println!("check the image builds ... ok");
            tally.add(Tally::held());
            Some(image)
        }
        Err(error) => {
            println!("check the image builds ... FAILED: {error:#}");
            tally.add(Tally::broken(format!("the image builds: {error:#}")));
            None
        }
    }
}

fn matches(name: &str, filter: &[String]) -> bool {
    filter.is_empty() || filter.iter().any(|word| name.contains(word.as_str()))
}

/// Runs one test and prints its line; a test that cannot be run has failed.
fn run_one(workspace: &Workspace, toolchain: &Toolchain, test: &Test, options: &Options) -> Tally {
    match stand::boot(workspace, toolchain, options).and_then(|outcome| judge(workspace, test, outcome)) {
        Ok(outcome) if outcome.end == End::Done => {
            // One print: others go on beside.
            let walked = outcome.walked.map(|seen| format!("\n    walked: {seen}")).unwrap_or_default();
            println!("test {} ... ok ({}){walked}", test.name, seconds(outcome.took));
            // A medium is some 30 MB; a failed test's stays for looking into.
            let _ = fs::remove_dir_all(workspace.build(&format!("iso/{}", options.name)));
            let _ = fs::remove_dir_all(scratch::folder(workspace, &options.name));
            Tally::held()
        }
        Ok(outcome) => {
            let (took, log) = (seconds(outcome.took), outcome.log.display());
            println!("test {} ... FAILED ({took}): {}\n    console log: {log}", test.name, outcome.end);
            if let Err(full) = space::check(workspace) {
                println!("    {full:#}");
            }
            Tally::broken_with_log(&format!("{}: {}", test.name, outcome.end), &outcome.log)
        }
        Err(error) => report(test.name, Some(format!("{error:#}"))),
    }
}

/// What the console's texts do not decide. A test that prints what the stock tools answer has passed if that is what Xen's
/// answer; one that says how much memory the hypervisor may keep, if it keeps no more.
fn judge(workspace: &Workspace, test: &Test, mut outcome: Outcome) -> Result<Outcome> {
    if outcome.end == End::Done && test.guest_tests.contains(&table::TEST) {
        outcome.end = table::judge(workspace, &outcome.log)?.map_or(End::Done, End::Unsound);
    }
    if outcome.end == End::Done && test.keeps != 0 {
        let kept = kept(&String::from_utf8_lossy(&fs::read(&outcome.log)?));
        if kept.is_none_or(|kept| kept > test.keeps) {
            let said = kept.map_or("does not say what it keeps".into(), |kept| format!("keeps {kept} KiB"));
            outcome.end = End::Unsound(format!("the hypervisor {said}; {} KiB are allowed", test.keeps));
        }
    }
    Ok(outcome)
}

/// What a console's log says the hypervisor keeps, in KiB.
fn kept(log: &str) -> Option<u64> {
    log.split_once("The hypervisor keeps ")?.1.split_once(" KiB")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_test_has_a_log_of_its_own() {
        let logs: HashSet<String> = all().map(Test::log).collect();
        assert_eq!(logs.len(), all().count());
        assert_eq!(Test { name: "A b, c!", ..USUAL }.log(), "a-b-c");
    }

    #[test]
    fn nmis_begin_when_the_init_runs() {
        let options = Test { name: "x", nmis: 5, guest_tests: &["g"], ..USUAL }.options();
        let see = |text: &str| Step::See(text.into());
        assert_eq!(options.steps, [see("LAB-INIT"), Step::Nmis(5), see("LAB-RESULT g pass")]);
    }

    #[test]
    fn guest_tests_are_asked_for_and_waited_for() {
        let options = Test { name: "x", guest_tests: &["g", "h"], expect: &["e"], ..USUAL }.options();
        let see = |text: &str| Step::See(text.into());
        assert_eq!(
            options.steps,
            [see("LAB-INIT"), see("e"), see("LAB-RESULT g pass"), see("LAB-RESULT h pass")]
        );
        assert_eq!(options.append.trim(), "lab.test=g,h");
        assert_eq!(options.refuse, ["LAB-RESULT g fail", "LAB-RESULT h fail"]);
    }

    #[test]
    fn the_log_says_what_is_kept() {
        assert_eq!(kept("(XEN) The hypervisor keeps 13500 KiB: frame table 5\n"), Some(13500));
        assert_eq!(kept("(XEN) Boot complete\n"), None);
    }

    #[test]
    fn filters_are_any_of() {
        assert!(matches("the peer boots", &[]));
        assert!(matches("the peer boots", &["x".into(), "peer".into()]));
        assert!(!matches("the peer boots", &["x".into()]));
    }
}
