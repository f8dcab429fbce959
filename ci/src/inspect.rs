//! A running machine, stopped and walked: QEMU holds its RAM in a memory file that the lab reads, and damages to see
//! that the walker notices.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use walker::{FRAME, Machine as Stopped, Memory, Report};

use crate::machine::Machine;
use crate::qmp::Client;

/// What to do with the machine at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inspection {
    /// Nothing.
    None,
    /// Stop it and walk it, several times.
    Walk,
    /// The same, and damage it word by word: each must be noticed.
    Damage,
}

/// Stops under load, each a state of its own.
const STOPS: usize = 5;
/// Attempts to find all CPUs outside of transactions.
const ATTEMPTS: usize = 500;

/// The machine's RAM as QEMU's memory file holds it.
struct Ram {
    file: File,
    /// Bytes below the hole.
    low: u64,
    bytes: u64,
}

/// Where RAM above the hole goes on.
const HIGH: u64 = 4 << 30;

impl Ram {
    /// Opens the memory file among the files of QEMU.
    fn open(process: u32, machine: &Machine) -> Result<Ram> {
        for entry in fs::read_dir(format!("/proc/{process}/fd")).context("QEMU's files")? {
            let path = entry?.path();
            if fs::read_link(&path)
                .is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:memory-backend"))
            {
                let file = OpenOptions::new().read(true).write(true).open(&path)?;
                let bytes = u64::from(machine.memory) << 20;
                return Ok(Ram { file, low: low_memory(bytes), bytes });
            }
        }
        bail!("QEMU has no memory file")
    }

    /// Where a machine address lies in the file.
    fn place(&self, maddr: u64) -> Option<u64> {
        let at = if maddr < self.low { maddr } else { maddr.checked_sub(HIGH)? + self.low };
        (at < self.bytes).then_some(at)
    }

    fn write(&self, maddr: u64, value: u64) -> Result<()> {
        let place = self.place(maddr).context("no RAM there")?;
        Ok(self.file.write_all_at(&value.to_le_bytes(), place)?)
    }
}

/// RAM of a q35 machine below its hole: all of it, or 2 GiB where it would reach 0xb0000000.
fn low_memory(bytes: u64) -> u64 {
    if bytes >= 0xb000_0000 { 0x8000_0000 } else { bytes }
}

impl Memory for Ram {
    fn frame(&self, mfn: u64) -> Option<[u64; 512]> {
        let mut bytes = [0; FRAME as usize];
        self.file.read_exact_at(&mut bytes, self.place(mfn.checked_mul(FRAME)?)?).ok()?;
        let mut words = [0; 512];
        for (word, eight) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*eight);
        }
        Some(words)
    }
}

/// Somebody who can stop a running machine and look into its memory.
pub(crate) struct Inspector {
    ram: Ram,
    qmp: Client,
}

impl Inspector {
    /// For the machine of a QEMU process, by a control socket that nobody else uses.
    pub(crate) fn new(process: u32, control: &Path, machine: &Machine) -> Result<Inspector> {
        Ok(Inspector { ram: Ram::open(process, machine)?, qmp: Client::connect(control)? })
    }

    /// Stops the machine and walks it, then lets it go on.
    pub(crate) fn walk(&mut self) -> Result<Report> {
        let cr3s = stop_quiet(&mut self.qmp, &self.ram)?;
        let report = walk(&self.ram, &cr3s)?;
        self.qmp.execute("cont")?;
        Ok(report)
    }

    /// Where in the file of the machine's RAM lie each CPU's log head and the word that says who leads a recovery.
    pub(crate) fn places(&mut self) -> Result<(Vec<u64>, u64)> {
        let cr3s = stop_quiet(&mut self.qmp, &self.ram)?;
        let cr3 = *cr3s.first().context("no CPU has page tables")?;
        let stopped = Stopped::find(&self.ram, cr3).map_err(anyhow::Error::msg)?;
        let heads = stopped.places("vault::Log", "head").map_err(anyhow::Error::msg)?;
        let leader = stopped.word("leader").map_err(anyhow::Error::msg)?;
        self.qmp.execute("cont")?;
        let place = |maddr| self.ram.place(maddr).context("no RAM there");
        Ok((heads.into_iter().map(place).collect::<Result<_>>()?, place(leader)?))
    }
}

/// Inspects the machine of a QEMU process; what is broken, or what was seen.
pub(crate) fn inspect(
    process: u32,
    control: &Path,
    machine: &Machine,
    inspection: Inspection,
) -> Result<Result<String, String>> {
    let mut inspector = Inspector::new(process, control, machine)?;
    let mut last = Report::default();
    let mut damages = String::new();
    for stop in 0..STOPS {
        last = inspector.walk()?;
        if !last.violations.is_empty() {
            return Ok(Err(broken(&last)));
        }
        if inspection == Inspection::Damage && stop == 0 {
            let Inspector { ram, qmp } = &mut inspector;
            let cr3s = stop_quiet(qmp, ram)?;
            match damage(ram, &cr3s)? {
                Ok(count) => damages = format!("; {count} sorts of damage noticed"),
                Err(missed) => return Ok(Err(missed)),
            }
            qmp.execute("cont")?;
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(Ok(format!("{last}{damages}")))
}

/// What a walk found that must not be.
pub(crate) fn broken(report: &Report) -> String {
    format!("the walk found {report}:\n    {}", report.violations.join("\n    "))
}

/// Stops the machine where no CPU has a transaction open; returns what the CPUs' CR3 hold.
fn stop_quiet(qmp: &mut Client, ram: &Ram) -> Result<Vec<u64>> {
    for _ in 0..ATTEMPTS {
        qmp.execute("stop")?;
        let registers = qmp.monitor("info registers -a")?;
        let cr3s = numbers(&registers, "CR3=");
        let cr3 = *cr3s.first().context("QEMU names no CR3")?;
        let stopped = Stopped::find(ram, cr3).map_err(anyhow::Error::msg)?;
        let mut between = false;
        for rip in numbers(&registers, "RIP=") {
            between |= stopped.is_between(rip).map_err(anyhow::Error::msg)?;
        }
        if !between && stopped.is_quiet().map_err(anyhow::Error::msg)? {
            return Ok(cr3s);
        }
        qmp.execute("cont")?;
        thread::sleep(Duration::from_millis(3));
    }
    bail!("in {ATTEMPTS} stops a transaction was open")
}

fn walk(ram: &Ram, cr3s: &[u64]) -> Result<Report> {
    let first = cr3s.first().context("no CPU has page tables")?;
    let stopped = Stopped::find(ram, *first).map_err(anyhow::Error::msg)?;
    walker::walk(&stopped, cr3s).map_err(anyhow::Error::msg)
}

/// Damages the stopped machine one word at a time; each must be noticed, and gone when it is mended. Returns how many.
fn damage(ram: &Ram, cr3s: &[u64]) -> Result<Result<usize, String>> {
    let first = cr3s.first().context("no CPU has page tables")?;
    let stopped = Stopped::find(ram, *first).map_err(anyhow::Error::msg)?;
    let mutations = walker::mutations(&stopped).map_err(anyhow::Error::msg)?;
    ensure!(mutations.len() > 20, "only {} sorts of damage are possible", mutations.len());
    let mut missed = Vec::new();
    for mutation in &mutations {
        let old = walker::word(ram, mutation.maddr).context("no RAM there")?;
        ram.write(mutation.maddr, mutation.value)?;
        let report = walk(ram, cr3s);
        ram.write(mutation.maddr, old)?;
        if report?.violations.is_empty() {
            missed.push(format!("{} ({:#x})", mutation.name, mutation.maddr));
        }
    }
    if !walk(ram, cr3s)?.violations.is_empty() {
        missed.push("its mending".into());
    }
    Ok(if missed.is_empty() {
        Ok(mutations.len())
    } else {
        Err(format!("the walk missed: {}", missed.join(", ")))
    })
}

/// What every CPU has in a register, if it is not 0, from the monitor's words.
fn numbers(registers: &str, name: &str) -> Vec<u64> {
    let numbers = registers.split(name).skip(1);
    let hex = numbers.map(|rest| rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default());
    hex.filter_map(|text| u64::from_str_radix(text, 16).ok()).filter(|number| *number != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_in_what_the_monitor_says() {
        let text = r"CPU#0\r\nCR0=80050033 CR2=00 CR3=000000001ff3a000 CR4=00\r\nCPU#1\r\nCR3=00000000 CR4=0";
        assert_eq!(numbers(text, "CR3="), [0x1ff3_a000]);
    }

    #[test]
    fn ram_has_a_hole() {
        assert_eq!((low_memory(1 << 30), low_memory(3 << 30)), (1 << 30, 2 << 30));
        let file = File::open("/dev/null").unwrap();
        let ram = Ram { file, low: 2 << 30, bytes: 3 << 30 };
        assert_eq!(ram.place(HIGH + 0x1000), Some((2 << 30) + 0x1000));
        assert_eq!((ram.place(3 << 30), ram.place(5 << 30)), (None, None));
    }
}
