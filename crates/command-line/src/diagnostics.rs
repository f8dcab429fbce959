//! What is wrong with a command line.

use core::fmt;

/// Most diagnostics kept; more are only counted.
const CAPACITY: usize = 16;

/// One thing to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnostic<'a> {
    /// The word of the command line.
    pub token: &'a [u8],
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such option.
    Unknown,
    /// The value is malformed. Holds what was expected.
    Malformed(&'static str),
}

impl fmt::Display for Diagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.escape_ascii();
        match self.problem {
            Problem::Unknown => write!(f, "command line: unknown option '{token}' ignored"),
            Problem::Malformed(expected) => {
                write!(f, "command line: '{token}' ignored: expected {expected}")
            }
        }
    }
}

/// The first diagnostics of a line, and how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnostics<'a> {
    kept: [Option<Diagnostic<'a>>; CAPACITY],
    count: usize,
}

impl<'a> Diagnostics<'a> {
    pub(crate) const fn new() -> Self {
        Self { kept: [None; CAPACITY], count: 0 }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic<'a>) {
        if let Some(slot) = self.kept.get_mut(self.count) {
            *slot = Some(diagnostic);
        }
        self.count = self.count.saturating_add(1);
    }

    /// The diagnostics that were kept, in the order of the line.
    pub fn iter(&self) -> impl Iterator<Item = Diagnostic<'a>> + '_ {
        self.kept.iter().flatten().copied()
    }

    /// How many there were, those not kept included.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// How many were not kept.
    pub const fn dropped(&self) -> usize {
        self.count.saturating_sub(CAPACITY)
    }
}
