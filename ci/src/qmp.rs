//! QEMU's control sockets: the reason of a shutdown, NMIs, the text screen, keys, and commands to a machine that is
//! looked into.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

/// Listens to a QEMU's events in a thread of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listener {
    reason: Arc<Mutex<Option<String>>>,
    stream: Arc<Mutex<Option<UnixStream>>>,
}

impl Listener {
    /// Connects to the socket as soon as QEMU has made it.
    pub(crate) fn start(socket: PathBuf) -> Listener {
        let listener = Listener::default();
        let (reason, place) = (Arc::clone(&listener.reason), Arc::clone(&listener.stream));
        thread::spawn(move || {
            for _ in 0..100 {
                if let Ok(stream) = UnixStream::connect(&socket) {
                    if let (Ok(mut place), Ok(copy)) = (place.lock(), stream.try_clone()) {
                        *place = Some(copy);
                    }
                    // An error here is QEMU's end; what was learnt until then stays.
                    let _ = listen(&stream, &reason, &place);
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        listener
    }

    /// Injects so many NMIs a second into every CPU from now on, until QEMU ends.
    ///
    /// # Errors
    /// QEMU's socket is not there.
    pub(crate) fn inject_nmis(&self, rate: u32) -> Result<()> {
        let place = self.stream.lock().map_err(|_| anyhow!("the listener is gone"))?;
        let mut stream = place.as_ref().context("no control socket")?.try_clone()?;
        let pause = Duration::from_secs(1) / rate.max(1);
        thread::spawn(move || {
            while stream.write_all(b"{\"execute\":\"inject-nmi\"}\n").is_ok() {
                thread::sleep(pause);
            }
        });
        Ok(())
    }

    /// Gives QEMU a command; its answer goes unread.
    fn command(&self, line: &str) {
        if let Ok(mut stream) = self.stream.lock()
            && let Some(stream) = stream.as_mut()
        {
            // A QEMU that has ended is noticed elsewhere.
            let _ = stream.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Presses a key for a moment.
    pub(crate) fn press(&self, key: &str) {
        self.command(&format!(
            "{{\"execute\":\"send-key\",\"arguments\":{{\"keys\":[{{\"type\":\"qcode\",\"data\":\"{key}\"}}]}}}}"
        ));
    }

    /// Gives a line to the human monitor.
    pub(crate) fn monitor(&self, line: &str) {
        self.command(&monitor(line));
    }

    /// The text screen's lines of 80 characters, as they were a moment ago; QEMU writes them to `file`.
    pub(crate) fn text_screen(&self, file: &Path) -> String {
        const COLUMNS: usize = 80;
        let before = fs::read(file).unwrap_or_default();
        self.command(&format!(
            "{{\"execute\":\"pmemsave\",\"arguments\":{{\"val\":{},\"size\":4000,\"filename\":\"{}\"}}}}",
            0xb_8000,
            file.display()
        ));
        let characters: Vec<u8> = before.iter().step_by(2).copied().collect();
        let lines =
            characters.chunks(COLUMNS).map(|line| String::from_utf8_lossy(line).trim_end().to_string());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Why the machine shut down, in QEMU's words (`guest-shutdown`, `guest-reset`, `guest-panic`, ...).
    pub(crate) fn reason(&self) -> Option<String> {
        // The listener sees the event before the socket closes, which may be a moment after QEMU's end.
        for _ in 0..20 {
            if let Some(reason) = self.reason.lock().ok()?.clone() {
                return Some(reason);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

fn listen(
    mut stream: &UnixStream,
    reason: &Mutex<Option<String>>,
    place: &Mutex<Option<UnixStream>>,
) -> std::io::Result<()> {
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
    if let Ok(mut place) = place.lock() {
        *place = Some(stream.try_clone()?);
    }
    for line in BufReader::new(stream).lines() {
        if let Some(said) = shutdown_reason(&line?)
            && let Ok(mut place) = reason.lock()
        {
            *place = Some(said.to_string());
        }
    }
    Ok(())
}

/// Gives commands, one after another.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

/// Longer than QEMU takes to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// Connects to a running QEMU.
    pub(crate) fn connect(socket: &Path) -> Result<Client> {
        let stream = UnixStream::connect(socket).context("QEMU's control socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client { stream: BufReader::new(stream) };
        client.execute("qmp_capabilities")?;
        Ok(client)
    }

    /// Gives a command without arguments; its answer, as it stands.
    pub(crate) fn execute(&mut self, command: &str) -> Result<String> {
        self.exchange(&format!("{{\"execute\":\"{command}\"}}"))
    }

    /// Gives a line to the human monitor; its answer as a JSON string.
    pub(crate) fn monitor(&mut self, line: &str) -> Result<String> {
        self.exchange(&monitor(line))
    }

    fn exchange(&mut self, request: &str) -> Result<String> {
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("QEMU closed its control socket at {request}");
            }
            if line.starts_with("{\"error\"") {
                bail!("QEMU refused {request}: {line}");
            }
            // The greeting and events come in between.
            if line.starts_with("{\"return\"") {
                return Ok(line);
            }
        }
    }
}

/// The command that gives a line to the human monitor.
fn monitor(line: &str) -> String {
    format!("{{\"execute\":\"human-monitor-command\",\"arguments\":{{\"command-line\":\"{line}\"}}}}")
}

/// The reason in a SHUTDOWN event, a line such as
/// `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}`.
fn shutdown_reason(line: &str) -> Option<&str> {
    if !line.contains("\"SHUTDOWN\"") {
        return None;
    }
    line.split("\"reason\": \"").nth(1)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_event_has_a_reason() {
        let line = r#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(shutdown_reason(line), Some("guest-reset"));
        assert_eq!(shutdown_reason(r#"{"event": "RESUME", "reason": "x"}"#), None);
        assert_eq!(shutdown_reason(r#"{"event": "SHUTDOWN"}"#), None);
    }
}
