//! The hypervisor's command line: Xen's option names, forms and defaults, as the 4.17 manual
//! (docs/misc/xen-command-line) has them.
//!
//! [`parse`] turns a line into plain data: an [`Options`] to copy, and what there is to complain about. An unknown
//! option is reported and ignored; so is a malformed value, and the option keeps what it had. No input panics.
#![no_std]
#![forbid(unsafe_code)]

mod apply;
mod console;
mod diagnostics;
mod dom0_memory;
mod known;
mod mitigations;
mod options;
mod raw_value;
mod serial;
mod value;

pub use console::{Consoles, LogLevel, LogLevels, Sharing, Timestamps};
pub use diagnostics::{Diagnostic, Diagnostics, Problem};
pub use dom0_memory::{Amount, Dom0Memory, Dom0Pages};
pub use mitigations::{ByGuest, Mitigations, Sequence, Thunk};
pub use options::{
    ApicVerbosity, Dom0Mode, Edd, EdidQuery, Efi, Ept, GrantTables, GuestUse, MachineNmi, MicrocodeSource,
    Options, PageTableIsolation, Reboot, RebootMethod, Scheduler, VcpuRange, Vga, Watchdog, XenVersion,
};
pub use raw_value::RawValue;
pub use serial::{Baud, Irq, Parity, Serial};

/// What a command line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The options, with Xen's defaults for those not given.
    pub options: Options,
    /// What to log: options that are unknown, values that are malformed.
    pub diagnostics: Diagnostics<'a>,
    /// What follows " -- ": to be appended to Dom0's own command line. Empty if there is no separator.
    pub dom0_extra: &'a [u8],
}

/// Parses a command line, the image's name already removed. The line ends at its first NUL.
pub fn parse(line: &[u8]) -> Parsed<'_> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or(&[]);
    let (own, dom0_extra) = split_dom0(line);
    let mut options = Options::default();
    let mut diagnostics = Diagnostics::new();
    for token in tokens(own) {
        if let Err(problem) = apply::token(&mut options, token) {
            diagnostics.push(Diagnostic { token, problem });
        }
    }
    Parsed { options, diagnostics, dom0_extra }
}

/// Splits at the first " -- "; the second part starts at its first word.
fn split_dom0(line: &[u8]) -> (&[u8], &[u8]) {
    const SEPARATOR: &[u8] = b" -- ";
    let found = line.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
    match found.and_then(|at| line.split_at_checked(at)) {
        Some((own, rest)) => (own, rest.get(SEPARATOR.len()..).unwrap_or(&[]).trim_ascii_start()),
        None => (line, &[]),
    }
}

/// The words of `line`. White space inside quotes, which a boot loader may add, does not end a word.
fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    core::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        let mut quote = None;
        let end = rest.iter().position(|&byte| {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, _) => return byte.is_ascii_whitespace(),
                _ => {}
            }
            false
        });
        let (token, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        rest = after;
        Some(token)
    })
}
