//! The plugin `ci/plugin/fail.c`, which makes a CPU fail where it stands; its lines over a socket.

use std::fmt;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use anyhow::{Context as _, Result, bail};

use crate::symbols::Symbols;

/// Which instructions of the hypervisor count towards a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum When {
    /// All.
    Any,
    /// Those of a CPU whose log holds writes to undo.
    Undo,
    /// Those of a CPU whose log holds what is to be finished.
    Outbox,
    /// Those while every other CPU is in the hypervisor too.
    Both,
    /// Those of a function that was not hit before, some time that it runs.
    Fresh,
}

impl When {
    /// Each.
    pub(crate) const ALL: [When; 5] = [When::Any, When::Undo, When::Outbox, When::Both, When::Fresh];
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            When::Any => "any",
            When::Undo => "undo",
            When::Outbox => "outbox",
            When::Both => "both",
            When::Fresh => "fresh",
        })
    }
}

/// What the plugin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// A failure after so many instructions of the hypervisor that count.
    After(u64, When),
    /// A failure when this instruction is about to run for the given time.
    At(u64, u64),
    /// A list of the code that ran.
    Ran,
    /// When this instruction is about to run, another CPU fails and its NMI comes here.
    Nmi(u64),
    /// None.
    Off,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::After(distance, when) => write!(f, "arm {distance:x} {when}"),
            Order::At(address, times) => write!(f, "at {address:x} {times:x}"),
            Order::Ran => write!(f, "ran"),
            Order::Nmi(address) => write!(f, "nmi {address:x}"),
            Order::Off => write!(f, "off"),
        }
    }
}

/// What the plugin says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// A CPU failed before the instruction at this address, with this log head, and so many others in the hypervisor.
    Hit {
        /// Which.
        cpu: u64,
        /// Where.
        address: u64,
        /// Its log's head.
        head: u64,
        /// Other CPUs in the hypervisor.
        others: u64,
    },
    /// An instruction ran so often; address 0 ends the list.
    Ran(u64, u64),
    /// The NMI came there.
    Met,
    /// The CPU that failed runs a guest again; instructions of the hypervisor since the failure.
    Back(u64),
}

impl Said {
    fn parse(line: &str) -> Option<Said> {
        let mut words = line.split_whitespace();
        let kind = words.next()?;
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let (cpu, a, b, c) = (number()?, number()?, number()?, number()?);
        match kind {
            "hit" => Some(Said::Hit { cpu, address: a, head: b, others: c }),
            "ran" => Some(Said::Ran(a, b)),
            "met" => Some(Said::Met),
            "back" => Some(Said::Back(a)),
            _ => None,
        }
    }
}

/// Functions that only wait for other CPUs.
const WAITS: [&str; 3] = ["wait_for_others", "wait_for_end_of", "::wait_until"];

/// The socket on which the plugin of a machine to be started is waited for.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens it.
    pub(crate) fn open() -> Result<Door> {
        let path = env::temp_dir().join(format!("lab-{}.fail", process::id()));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("binding {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Door { listener, path })
    }

    /// QEMU's arguments: the plugin, which comes here, and where the hypervisor's code lies, with the functions that
    /// only wait.
    pub(crate) fn arguments(&self, plugin: &Path, symbols: &Symbols) -> Result<[String; 2]> {
        let (plugin, socket) = (plugin.display(), self.path.display());
        let (start, end) = (symbols.address("text_start")?, symbols.address("text_end")?);
        let waits = symbols.ranges(&WAITS).map(|range| format!(",wait={:x}-{:x}", range.start, range.end));
        let waits: String = waits.collect();
        Ok(["-plugin".into(), format!("{plugin},socket={socket},text={start:x}-{end:x}{waits}")])
    }

    /// The plugin, which connected when QEMU started.
    pub(crate) fn agent(&self) -> Result<Agent> {
        let (stream, _) = self.listener.accept().context("the plugin did not connect")?;
        stream.set_nonblocking(false)?;
        Ok(Agent { stream: BufReader::new(stream), line: String::new() })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Longer than the plugin takes for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The plugin in a running machine.
#[derive(Debug)]
pub(crate) struct Agent {
    stream: BufReader<UnixStream>,
    /// What has come of a line.
    line: String,
}

impl Agent {
    /// Tells it where in the file of the machine's RAM the CPUs' log heads and the leader's word lie.
    pub(crate) fn introduce(&mut self, heads: &[u64], leader: u64) -> Result<()> {
        let heads: String = heads.iter().map(|place| format!(" {place:x}")).collect();
        self.send(&format!("leader {leader:x}\nheads{heads}\n"))
    }

    /// Gives an order.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        self.send(&format!("{order}\n"))
    }

    /// The code that ran since the introduction, but in recoveries: addresses of instructions, and how often.
    pub(crate) fn ran(&mut self) -> Result<Vec<(u64, u64)>> {
        self.order(Order::Ran)?;
        let mut code = Vec::new();
        loop {
            match self.hear(PATIENCE)?.context("the plugin does not say what ran")? {
                Said::Ran(0, _) => return Ok(code),
                Said::Ran(address, times) => code.push((address, times)),
                Said::Hit { .. } | Said::Met | Said::Back(_) => {}
            }
        }
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.stream.get_mut().write_all(text.as_bytes()).context("the plugin is gone")
    }

    /// What it says next; `None` after `limit`.
    pub(crate) fn hear(&mut self, limit: Duration) -> Result<Option<Said>> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.read_line(&mut self.line) {
                Ok(0) => bail!("the machine ended"),
                Ok(_) => {
                    let line = std::mem::take(&mut self.line);
                    return Said::parse(&line).map(Some).with_context(|| format!("the plugin said {line}"));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("listening to the plugin"),
            }
            thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_are_lines() {
        assert_eq!(Order::After(255, When::Outbox).to_string(), "arm ff outbox");
        assert_eq!(Order::At(0x10, 3).to_string(), "at 10 3");
        let hit = Said::Hit { cpu: 1, address: 0xffff_82d0_4000_1000, head: 9, others: 1 };
        assert_eq!(Said::parse("hit 1 ffff82d040001000 9 1\n"), Some(hit));
        assert_eq!(Said::parse("back 0 10 0 0"), Some(Said::Back(16)));
        assert_eq!((Said::parse("hit 1"), Said::parse("x 1 2 3 4")), (None, None));
    }

    #[test]
    fn the_plugin_knows_these_words() {
        let text = include_str!("../../plugin/fail.c");
        let list =
            [When::Any, When::Undo, When::Outbox, When::Both].map(|when| format!("\"{when}\"")).join(", ");
        assert!(text.contains(&list), "{list}");
    }
}
