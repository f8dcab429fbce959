//! Where the hypervisor's messages go, and which: `console`, `console_timestamps`, `loglvl`, `guest_loglvl`.

use crate::value::{Expected, boolean, list};
use core::fmt;

/// How a serial line is shared with another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It is not.
    None,
    /// `H`: the top bit is set in every character sent, and only characters that have it are taken.
    High,
    /// `L`: the top bit is clear in every character sent, and only characters without it are taken.
    Low,
}

/// `console=`: the consoles in use. All off for `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consoles {
    /// `vga`.
    pub vga: bool,
    /// `com1`.
    pub com1: Option<Sharing>,
    /// `com2`.
    pub com2: Option<Sharing>,
    /// `pv`, `dbgp`, `ehci` or `xhci` was given.
    pub other: bool,
}

impl Consoles {
    /// Xen's default, `com1,vga`.
    pub const DEFAULT: Self = Self { vga: true, com1: Some(Sharing::None), com2: None, other: false };

    pub(crate) fn parse(text: &[u8]) -> Result<Self, Expected> {
        const EXPECTED: Expected = "a list of vga|com1[H,L]|com2[H,L]|pv|dbgp|ehci|xhci, or none";
        let mut consoles = Self { vga: false, com1: None, com2: None, other: false };
        for item in list(text) {
            match item {
                b"vga" => consoles.vga = true,
                b"none" => {}
                b"pv" | b"dbgp" | b"ehci" | b"xhci" => consoles.other = true,
                [b'c', b'o', b'm', port, suffix @ ..] => {
                    let sharing = match suffix {
                        [] => Sharing::None,
                        b"H" => Sharing::High,
                        b"L" => Sharing::Low,
                        _ => return Err(EXPECTED),
                    };
                    match port {
                        b'1' => consoles.com1 = Some(sharing),
                        b'2' => consoles.com2 = Some(sharing),
                        _ => return Err(EXPECTED),
                    }
                }
                _ => return Err(EXPECTED),
            }
        }
        Ok(consoles)
    }
}

/// `console_timestamps=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// None.
    None,
    /// `[YYYY-MM-DD HH:MM:SS]`.
    Date,
    /// `[YYYY-MM-DD HH:MM:SS.mmm]`.
    DateMilliseconds,
    /// Seconds and microseconds since boot, `[SSSSSS.uuuuuu]`.
    Boot,
    /// Ticks, `[XXXXXXXXXXXXXXXX]`.
    Raw,
}

impl Timestamps {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Expected> {
        match text {
            b"none" => Ok(Self::None),
            b"date" | b"" => Ok(Self::Date),
            b"datems" => Ok(Self::DateMilliseconds),
            b"boot" => Ok(Self::Boot),
            b"raw" => Ok(Self::Raw),
            _ => match boolean(text) {
                Some(true) => Ok(Self::Date),
                Some(false) => Ok(Self::None),
                None => Err("none|date|datems|boot|raw or a boolean"),
            },
        }
    }
}

/// A threshold: messages at it or more important ones pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// No message passes.
    #[default]
    None,
    /// Errors.
    Error,
    /// And warnings.
    Warning,
    /// And information.
    Info,
    /// And debug messages, which is all.
    Debug,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::None => "none",
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Info => "info",
            LogLevel::Debug => "all",
        })
    }
}

impl fmt::Display for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.always, self.rate_limited)
    }
}

/// `loglvl=` and `guest_loglvl=`: level, and the level up to which messages pass at a limited rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLevels {
    /// What always passes.
    pub always: LogLevel,
    /// What passes at a limited rate; never less than `always`.
    pub rate_limited: LogLevel,
}

impl LogLevels {
    /// Reads `level` or `level/level`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &[u8]) -> Result<Self, Expected> {
        const EXPECTED: Expected = "<level>[/<rate-limited level>], levels none|error|warning|info|debug|all";
        let level = |text: &[u8]| match text {
            b"none" => Ok(LogLevel::None),
            b"error" => Ok(LogLevel::Error),
            b"warning" => Ok(LogLevel::Warning),
            b"info" => Ok(LogLevel::Info),
            b"debug" | b"all" => Ok(LogLevel::Debug),
            _ => Err(EXPECTED),
        };
        let mut parts = text.splitn(2, |&byte| byte == b'/');
        let always = level(parts.next().unwrap_or(&[]))?;
        let rate_limited = parts.next().map_or(Ok(always), level)?.max(always);
        Ok(Self { always, rate_limited })
    }
}
