//! A client of QEMU's gdb stub: stops the processor at an address and reads its TSC there.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// `rdtsc`.
const RDTSC: [u8; 2] = [0x0f, 0x31];

/// A register by the stub's number (QEMU's `gdb-xml/i386-64bit.xml`), 64 bits wide in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// RAX.
    Rax = 0,
    /// RDX.
    Rdx = 3,
    /// RIP.
    Rip = 16,
}

/// A processor under the stub, stopped between the calls.
#[derive(Debug)]
pub(crate) struct Stub {
    stream: UnixStream,
}

impl Stub {
    /// Connects as soon as QEMU has made the socket; the machine must have been started frozen.
    pub(crate) fn connect(socket: &Path) -> Result<Stub> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(Stub { stream }),
                Err(error) if Instant::now() > until => {
                    return Err(error).with_context(|| format!("no gdb stub at {}", socket.display()));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Runs until the instruction at one of `addresses` is next, within `limit`.
    pub(crate) fn run_to(&mut self, addresses: &[u64], limit: Duration) -> Result<()> {
        for address in addresses {
            self.expect_ok(&format!("Z1,{address:x},1"))?;
        }
        self.stream.set_read_timeout(Some(limit))?;
        let stopped = self.ask("c").with_context(|| {
            format!("the processor did not come to {:#x}", addresses.first().unwrap_or(&0))
        })?;
        self.stream.set_read_timeout(None)?;
        ensure!(stopped.starts_with('T'), "stopped with {stopped}");
        for address in addresses {
            self.expect_ok(&format!("z1,{address:x},1"))?;
        }
        let at = self.register(Register::Rip)?;
        ensure!(addresses.contains(&at), "stopped at {at:#x}");
        Ok(())
    }

    /// Executes one instruction.
    pub(crate) fn step(&mut self) -> Result<()> {
        let stopped = self.ask("s")?;
        ensure!(stopped.starts_with('T'), "a step ended with {stopped}");
        Ok(())
    }

    /// The TSC, by an `rdtsc` in the place of the next instruction; costs one instruction of time.
    pub(crate) fn time_stamp(&mut self) -> Result<u64> {
        let place = self.register(Register::Rip)?;
        let (rax, rdx) = (self.register(Register::Rax)?, self.register(Register::Rdx)?);
        let code = self.ask(&format!("m{place:x},{:x}", RDTSC.len()))?;
        ensure!(code.len() == 2 * RDTSC.len(), "cannot read at {place:#x}: {code}");
        self.write_memory(place, &hex(&RDTSC))?;
        self.step()?;
        let low = self.register(Register::Rax)? & 0xffff_ffff;
        let high = self.register(Register::Rdx)? & 0xffff_ffff;
        self.write_memory(place, &code)?;
        self.set(Register::Rax, rax)?;
        self.set(Register::Rdx, rdx)?;
        self.set(Register::Rip, place)?;
        Ok(high << 32 | low)
    }

    /// A register's value.
    pub(crate) fn register(&mut self, register: Register) -> Result<u64> {
        let text = self.ask(&format!("p{:x}", register as u8))?;
        little_endian(&text).with_context(|| format!("{register:?}: {text}"))
    }

    fn set(&mut self, register: Register, value: u64) -> Result<()> {
        self.expect_ok(&format!("P{:x}={}", register as u8, hex(&value.to_le_bytes())))
    }

    fn write_memory(&mut self, address: u64, bytes: &str) -> Result<()> {
        self.expect_ok(&format!("M{address:x},{:x}:{bytes}", bytes.len() / 2))
    }

    /// Leaves the machine running by itself.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.expect_ok("D")
    }

    fn expect_ok(&mut self, request: &str) -> Result<()> {
        match self.ask(request)?.as_str() {
            "OK" => Ok(()),
            other => bail!("gdb stub: {request} answered {other}"),
        }
    }

    /// One request, one answer.
    fn ask(&mut self, request: &str) -> Result<String> {
        self.stream.write_all(packet(request).as_bytes())?;
        let mut answer = String::new();
        let mut started = false;
        loop {
            match (self.byte()?, started) {
                (b'$', _) => started = true,
                (b'#', true) => break,
                (byte, true) => answer.push(char::from(byte)),
                // Acknowledgements.
                (_, false) => {}
            }
        }
        // The sum is not checked: a unix socket loses nothing.
        self.byte()?;
        self.byte()?;
        self.stream.write_all(b"+")?;
        Ok(answer)
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).context("the gdb stub is silent")?;
        Ok(byte[0])
    }
}

/// A request as it goes over the wire.
fn packet(request: &str) -> String {
    let sum = request.bytes().fold(0_u8, u8::wrapping_add);
    format!("${request}#{sum:02x}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number from its bytes in hexadecimal, the least first.
fn little_endian(text: &str) -> Option<u64> {
    let pairs: Option<Vec<&str>> = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2)).collect();
    pairs?.iter().rev().try_fold(0_u64, |value, pair| Some(value << 8 | u64::from_str_radix(pair, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_their_sum() {
        assert_eq!(packet("OK"), "$OK#9a");
        assert_eq!(packet("p10"), "$p10#d1");
    }

    #[test]
    fn numbers_come_least_byte_first() {
        assert_eq!(little_endian("8962d73600000000"), Some(0x36d7_6289));
        assert_eq!(little_endian(&hex(&0x1234_u64.to_le_bytes())), Some(0x1234));
        assert_eq!(little_endian("E01"), None);
    }
}
