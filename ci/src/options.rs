//! The command line: `VERB [KEY=VALUE | --flag [value] | word] ...`.
//!
//! Keys are what `make` takes (`KERNEL=trixie CPUS=2`), flags are for direct use; both end in one place.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::expect::{Step, unescape};
use crate::initramfs::Guests;
use crate::inspect::Inspection;
use crate::machine::Machine;
use crate::packages::Suite;

/// What is booted below the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Below {
    /// The image of this checkout.
    Revenant,
    /// The Xen of the kernel's suite.
    Peer,
    /// Nothing: Linux alone.
    Bare,
}

/// A file to boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Given {
    /// The lab's.
    #[default]
    Usual,
    /// This one, whatever it holds.
    File(PathBuf),
    /// None at all.
    Nothing,
}

impl Given {
    fn parse(value: &str) -> Given {
        if value == "none" { Given::Nothing } else { Given::File(value.into()) }
    }

    /// The file, if any; `usual` makes the lab's.
    pub(crate) fn or_usual(&self, usual: impl FnOnce() -> Result<PathBuf>) -> Result<Option<PathBuf>> {
        match self {
            Given::Usual => usual().map(Some),
            Given::File(file) => Ok(Some(file.clone())),
            Given::Nothing => Ok(None),
        }
    }
}

/// What a run is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// What runs below the kernel.
    pub(crate) below: Below,
    /// The kernel's suite.
    pub(crate) kernel: Suite,
    /// The kernel's file, if it is not the suite's.
    pub(crate) kernel_file: Given,
    /// The initramfs, if it is not the lab's.
    pub(crate) initrd: Given,
    /// The machine.
    pub(crate) machine: Machine,
    /// The Xen toolstack of the kernel's suite is in the initramfs.
    pub(crate) toolstack: bool,
    /// What guests may boot beside Dom0's own kernel (with the toolstack).
    pub(crate) guests: Guests,
    /// Dom0's memory in MiB (under a hypervisor).
    pub(crate) dom0_memory: u32,
    /// More hypervisor options.
    pub(crate) xen: String,
    /// More kernel options.
    pub(crate) append: String,
    /// The image to boot instead of building one.
    pub(crate) image: Option<PathBuf>,
    /// Features of the image's build.
    pub(crate) features: Vec<String>,
    /// The name of the log.
    pub(crate) name: String,
    /// Texts to see and to type, in order.
    pub(crate) steps: Vec<Step>,
    /// Texts that end the run as failed.
    pub(crate) refuse: Vec<String>,
    /// A panic of the hypervisor does not end the run: it is to go on by itself.
    pub(crate) survives: bool,
    /// What to do with the machine when all steps are done.
    pub(crate) inspection: Inspection,
    /// Wall-time limit.
    pub(crate) timeout: Duration,
    /// The user's terminal is the console.
    pub(crate) interactive: bool,
    /// Do not copy the console to standard output.
    pub(crate) quiet: bool,
    /// Panics of a campaign.
    pub(crate) panics: u32,
    /// Its seed.
    pub(crate) seed: u32,
    /// PV guests at work meanwhile.
    pub(crate) busy_guests: u32,
    /// After so many of its panics a machine checks its load and ends, and another one goes on.
    pub(crate) piece: u32,
    /// It goes on where an earlier run of it stopped.
    pub(crate) resume: bool,
    /// The row of the bench to profile.
    pub(crate) profile: Option<String>,
    /// Other words: a test filter.
    pub(crate) words: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            below: Below::Revenant,
            kernel: Suite::Bookworm,
            kernel_file: Given::Usual,
            initrd: Given::Usual,
            machine: Machine::default(),
            toolstack: false,
            guests: Guests::default(),
            dom0_memory: 512,
            xen: String::new(),
            append: String::new(),
            image: None,
            features: Vec::new(),
            name: "run".into(),
            steps: Vec::new(),
            refuse: Vec::new(),
            survives: false,
            inspection: Inspection::None,
            timeout: Duration::from_secs(180),
            interactive: false,
            quiet: false,
            panics: 100,
            seed: 1,
            busy_guests: 0,
            piece: u32::MAX,
            resume: false,
            profile: None,
            words: Vec::new(),
        }
    }
}

impl Options {
    /// Reads the arguments after the verb.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options> {
        let mut options = Options::default();
        let mut rest = arguments.into_iter();
        while let Some(word) = rest.next() {
            if let Some(flag) = word.strip_prefix("--") {
                options.flag(flag, &mut rest)?;
            } else if let Some((key, value)) = word.split_once('=') {
                options.key(key, value)?;
            } else {
                options.words.push(word);
            }
        }
        Ok(options)
    }

    fn flag(&mut self, flag: &str, rest: &mut impl Iterator<Item = String>) -> Result<()> {
        let mut value = || rest.next().with_context(|| format!("--{flag} needs a value"));
        match flag {
            "peer" => self.below = Below::Peer,
            "bare" => self.below = Below::Bare,
            "interactive" => self.interactive = true,
            "survives" => self.survives = true,
            "quiet" => self.quiet = true,
            "walk" => self.inspection = Inspection::Walk,
            "damage" => self.inspection = Inspection::Damage,
            "toolstack" => self.toolstack = true,
            "uefi" => self.machine.uefi = true,
            "icount" => self.machine.icount = true,
            "com2" => self.machine.second_port = true,
            "graphics" => self.machine.graphics = value()?,
            "kernel" => self.kernel_file = Given::parse(&value()?),
            "initrd" => self.initrd = Given::parse(&value()?),
            "frozen" => self.machine.frozen = true,
            "gdb" => self.machine.gdb = Some(value()?.into()),
            "qmp" => self.machine.qmp = Some(value()?.into()),
            "qemu" => self.machine.more.extend(value()?.split_whitespace().map(str::to_string)),
            "expect" => self.steps.push(Step::See(unescape(&value()?))),
            "send" => self.steps.push(Step::Send(unescape(&value()?))),
            "nmis" => self.steps.push(Step::Nmis(number("nmis", &value()?)?)),
            "screen" => self.steps.push(Step::Screen(unescape(&value()?))),
            "ends" => self.steps.push(Step::End(value()?)),
            "monitor" => self.steps.push(Step::Monitor(value()?)),
            "key" => self.steps.push(Step::Key(value()?)),
            "refuse" => self.refuse.push(unescape(&value()?)),
            "timeout" => self.timeout = Duration::from_secs(number("timeout", &value()?)?.into()),
            "name" => self.name = value()?,
            "image" => self.image = Some(value()?.into()),
            "guest-test" => self.append.push_str(&format!(" lab.test={}", value()?)),
            other => bail!("unknown flag --{other}"),
        }
        Ok(())
    }

    fn key(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            // make passes every variable; an empty one is as good as none.
            _ if value.is_empty() => {}
            "KERNEL" => self.kernel = Suite::parse(value)?,
            "GUEST_KERNEL" => self.guests.kernel = Some(Suite::parse(value)?),
            "CPUS" => self.machine.cpus = number(key, value)?,
            "MEM" => self.machine.memory = number(key, value)?,
            "DOM0_MEM" => self.dom0_memory = number(key, value)?,
            "CPU" => self.machine.model = value.into(),
            "PEER" if value == "1" => self.below = Below::Peer,
            "BARE" if value == "1" => self.below = Below::Bare,
            "PANICS" => self.panics = number(key, value)?,
            "SEED" => self.seed = number(key, value)?,
            "GUESTS" => self.busy_guests = number(key, value)?,
            "PIECE" => self.piece = number(key, value)?,
            "RESUME" if value == "1" => self.resume = true,
            "TOOLSTACK" if value == "1" => self.toolstack = true,
            "PYGRUB" if value == "1" => self.guests.disk = true,
            "UEFI" if value == "1" => self.machine.uefi = true,
            "ICOUNT" if value == "1" => self.machine.icount = true,
            "PEER" | "BARE" | "UEFI" | "ICOUNT" | "TOOLSTACK" | "RESUME" if value == "0" => {}
            "XEN" => self.xen = value.into(),
            "APPEND" => self.append = format!("{} {value}", self.append),
            "FEATURES" => self.features = value.split(',').map(str::to_string).collect(),
            "FILTER" => self.words.push(value.into()),
            "PROFILE" => self.profile = Some(value.into()),
            "ONLY" => self.words.extend(value.split_whitespace().map(str::to_string)),
            _ => bail!("cannot understand {key}={value}"),
        }
        Ok(())
    }
}

fn number(what: &str, text: &str) -> Result<u32> {
    match text.parse() {
        Ok(value) if value > 0 => Ok(value),
        _ => bail!("{what}: {text} is no positive number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn keys_as_make_passes_them() {
        let options = parse("KERNEL=trixie CPUS=4 MEM= PEER=1 BARE= UEFI=0").unwrap();
        assert_eq!((options.kernel, options.below), (Suite::Trixie, Below::Peer));
        assert_eq!((options.machine.cpus, options.machine.memory), (4, 1024));
        assert!(!options.machine.uefi);
    }

    #[test]
    fn the_conversation_keeps_its_order() {
        let options = parse(r"--expect # --send ls\n --expect done --timeout 9 boots").unwrap();
        let see = |text: &str| Step::See(text.into());
        assert_eq!(options.steps, [see("#"), Step::Send("ls\n".into()), see("done")]);
        assert_eq!((options.timeout.as_secs(), options.words), (9, vec!["boots".to_string()]));
    }

    #[test]
    fn modules_can_be_chosen() {
        let options = parse("--kernel /bad --initrd none --com2").unwrap();
        assert_eq!((options.kernel_file, options.initrd), (Given::File("/bad".into()), Given::Nothing));
        assert!(options.machine.second_port);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["CPUS=none", "CPUS=0", "COLOUR=red", "--expect", "--what", "KERNEL=sid", "PEER=maybe"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
