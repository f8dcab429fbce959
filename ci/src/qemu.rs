//! Running QEMU: under a conversation with a time limit, or on the user's terminal.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::expect::{Act, Conversation};
use crate::inspect::{self, Inspection};
use crate::machine::{Machine, Serial};
use crate::qmp::Listener;
use crate::workspace::Workspace;

/// Time between two looks at the text screen.
const GLANCE: Duration = Duration::from_millis(300);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// All steps of the conversation were done.
    Done,
    /// The console showed a text that means failure (the line).
    Refused(String),
    /// The time limit passed while this text was waited for.
    TimedOut(String),
    /// The guest ended the machine, in QEMU's words, while this text was waited for.
    Shutdown(String, String),
    /// The guest wrote this value to the debug-exit port, while this text was waited for.
    DebugExit(i32, String),
    /// All steps were done, but the stopped machine is not sound.
    Unsound(String),
    /// QEMU itself failed: its status and what it said.
    Broken(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Done => write!(f, "done"),
            End::Refused(line) => write!(f, "the console said: {line}"),
            End::TimedOut(text) => write!(f, "time limit passed, waiting for \"{text}\""),
            End::Shutdown(why, text) => write!(f, "machine ended ({why}), waiting for \"{text}\""),
            End::DebugExit(code, text) => write!(f, "debug exit {code:#x}, waiting for \"{text}\""),
            End::Unsound(what) => write!(f, "{what}"),
            End::Broken(said) => write!(f, "QEMU failed: {said}"),
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) end: End,
    /// Wall time.
    pub(crate) took: Duration,
    /// The serial log.
    pub(crate) log: PathBuf,
    /// What was seen in the stopped machine.
    pub(crate) walked: Option<String>,
}

/// A machine, what it boots, and how long it may take.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The log's name.
    pub(crate) name: &'a str,
    /// The machine's shape.
    pub(crate) machine: &'a Machine,
    /// The boot medium.
    pub(crate) iso: &'a Path,
    /// Wall-time limit.
    pub(crate) limit: Duration,
    /// Show the serial port on standard output too.
    pub(crate) echo: bool,
    /// What to do with the machine when the conversation is over.
    pub(crate) inspection: Inspection,
}

/// A running machine, for whoever booted it.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// QEMU's process.
    pub(crate) process: u32,
    /// A control socket of QEMU's that nobody else uses.
    pub(crate) control: &'a Path,
    /// The machine's shape.
    pub(crate) machine: &'a Machine,
    /// The serial log so far.
    pub(crate) log: &'a Path,
}

/// What is done at [`Step::Visit`](crate::expect::Step::Visit); the answer is what is wrong, if anything is.
pub(crate) type Visitor<'v> = dyn FnMut(&Scene<'_>) -> Result<Option<String>> + 'v;

/// Runs of this process so far: several may go on at once.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// Files of one run; the control sockets have short paths, which unix sockets need.
struct Place {
    log: PathBuf,
    control: PathBuf,
    second: PathBuf,
}

impl Place {
    fn new(workspace: &Workspace, name: &str) -> Result<Place> {
        let logs = workspace.build("logs");
        fs::create_dir_all(&logs)?;
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let socket = |which| format!("lab-{}-{run}{which}.qmp", std::process::id());
        let [control, second] = ["", "-2"].map(|which| std::env::temp_dir().join(socket(which)));
        let _ = (fs::remove_file(&control), fs::remove_file(&second));
        let log = logs.join(format!("{name}.log"));
        // An earlier run's screen must not be taken for this one's.
        let _ = fs::remove_file(log.with_extension("screen"));
        Ok(Place { log, control, second })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = (fs::remove_file(&self.control), fs::remove_file(&self.second));
    }
}

/// QEMU as a command that dies with the lab.
fn qemu() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
    command
}

/// Runs QEMU and holds the conversation on its serial port.
pub(crate) fn converse(
    workspace: &Workspace,
    run: &Run<'_>,
    mut talk: Conversation,
    visitor: &mut Visitor<'_>,
) -> Result<Outcome> {
    let place = Place::new(workspace, run.name)?;
    let errors = place.log.with_extension("qemu");
    let start = Instant::now();
    let mut child = qemu()
        .args(run.machine.arguments(run.iso, &place.log, &place.control, Serial::Lab))
        .args(["-qmp", &format!("unix:{},server=on,wait=off", place.second.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors)?)
        .spawn()
        .context("cannot start qemu-system-x86_64 (ci/setup.sh installs it)")?;
    let listener = Listener::start(place.control.clone());
    let mut result = follow(&mut child, run, &mut talk, start, (&listener, &place), visitor);
    let mut walked = None;
    if run.inspection != Inspection::None && matches!(result, Ok(Some(End::Done))) {
        // setpriv has become QEMU: the child's number is QEMU's.
        match inspect::inspect(child.id(), &place.second, run.machine, run.inspection) {
            Ok(Ok(seen)) => walked = Some(seen),
            Ok(Err(broken)) => result = Ok(Some(End::Unsound(broken))),
            Err(error) => result = Err(error.context("looking into the machine")),
        }
    }
    if !matches!(result, Ok(None)) {
        // Still running, whether the conversation is over or failed.
        let _ = child.kill();
    }
    let status = child.wait()?;
    let end = match result? {
        Some(end) => end,
        None => ended(status, &listener, &talk, &errors),
    };
    Ok(Outcome { end, took: start.elapsed(), log: place.log.clone(), walked })
}

/// Feeds the serial stream to the conversation; `None` when QEMU closed it.
fn follow(
    child: &mut Child,
    run: &Run<'_>,
    talk: &mut Conversation,
    start: Instant,
    (listener, place): (&Listener, &Place),
    visitor: &mut Visitor<'_>,
) -> Result<Option<End>> {
    let mut input = child.stdin.take().context("QEMU has no input")?;
    let stream = read_serial(child)?;
    loop {
        let left = run.limit.saturating_sub(start.elapsed());
        let watches = talk.watches_screen();
        let bytes = match stream.recv_timeout(if watches { left.min(GLANCE) } else { left }) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) if !left.is_zero() && watches => Vec::new(),
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Some(End::TimedOut(waited(talk))));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        };
        if run.echo {
            let mut out = std::io::stdout();
            out.write_all(&bytes)?;
            out.flush()?;
        }
        let mut acts = talk.feed(&bytes);
        if talk.watches_screen() {
            acts.extend(talk.look(&listener.text_screen(&place.log.with_extension("screen"))));
        }
        for act in acts {
            match act {
                Act::Send(text) => {
                    input.write_all(text.as_bytes())?;
                    input.flush()?;
                }
                Act::Nmis(rate) => listener.inject_nmis(rate)?,
                Act::Key(key) => listener.press(&key),
                Act::Visit => {
                    let (machine, log) = (run.machine, place.log.as_path());
                    let scene = Scene { process: child.id(), control: &place.second, machine, log };
                    if let Some(wrong) = visitor(&scene)? {
                        return Ok(Some(End::Unsound(wrong)));
                    }
                }
                Act::Monitor(line) => listener.monitor(&line),
                Act::Refused(line) => {
                    // What follows says why.
                    hear_out(&stream, run.echo, Duration::from_secs(3), |_| false);
                    return Ok(Some(End::Refused(line)));
                }
                Act::Done => {
                    // To the end of the line that ended the conversation.
                    hear_out(&stream, run.echo, Duration::from_millis(300), |bytes| bytes.contains(&b'\n'));
                    return Ok(Some(End::Done));
                }
            }
        }
    }
}

/// Lets what is still being said come, for the log's sake: for `limit` at most, until nothing comes for half a second or
/// what came is `enough`.
fn hear_out(stream: &Receiver<Vec<u8>>, echo: bool, limit: Duration, enough: impl Fn(&[u8]) -> bool) {
    let until = Instant::now() + limit;
    let pause = || until.saturating_duration_since(Instant::now()).min(Duration::from_millis(500));
    while let Ok(bytes) = stream.recv_timeout(pause()) {
        if echo {
            let _ = std::io::stdout().write_all(&bytes);
        }
        if enough(&bytes) || Instant::now() >= until {
            return;
        }
    }
}

/// Reads QEMU's output in a thread, so that waiting can have a limit.
fn read_serial(child: &mut Child) -> Result<Receiver<Vec<u8>>> {
    let mut output = child.stdout.take().context("QEMU has no output")?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = output.read(&mut buffer) {
            if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn waited(talk: &Conversation) -> String {
    talk.waiting_for().unwrap_or("the end").to_string()
}

/// Why QEMU went away by itself.
fn ended(status: ExitStatus, listener: &Listener, talk: &Conversation, errors: &Path) -> End {
    let said = fs::read_to_string(errors).unwrap_or_default();
    match (status.code(), listener.reason()) {
        (Some(0), Some(reason)) if talk.ends_with(&reason) => End::Done,
        (Some(0), Some(reason)) => End::Shutdown(reason, waited(talk)),
        // isa-debug-exit ends QEMU with (value << 1) | 1; a failing QEMU ends with 1 too, but says why.
        (Some(code), _) if code & 1 == 1 && (code > 1 || said.trim().is_empty()) => {
            End::DebugExit(code >> 1, waited(talk))
        }
        _ => End::Broken(format!("{status}: {}", said.trim())),
    }
}

/// Gives the machine to the user's terminal until it ends; returns QEMU's reason.
pub(crate) fn interactive(workspace: &Workspace, run: &Run<'_>) -> Result<String> {
    let place = Place::new(workspace, run.name)?;
    let errors = place.log.with_extension("qemu");
    let mut child = qemu()
        .args(run.machine.arguments(run.iso, &place.log, &place.control, Serial::Terminal))
        .stderr(File::create(&errors)?)
        .spawn()
        .context("cannot start qemu-system-x86_64 (ci/setup.sh installs it)")?;
    let listener = Listener::start(place.control.clone());
    let status = child.wait()?;
    match listener.reason() {
        Some(reason) => Ok(reason),
        None => bail!("QEMU failed ({status}): {}", fs::read_to_string(&errors).unwrap_or_default().trim()),
    }
}
