//! Where a hypercall's result goes, and how its progress is counted.

use pv_cpu::{Reg, Registers};
use vault::{Effect, Tx, kind};

/// Progress within one multicall entry has this many bits of the log's progress; the entry's index has
/// the rest.
const INNER_BITS: u32 = 11;
/// Elements one entry may commit before it has to be run again.
pub(crate) const MAX_INNER: u64 = (1 << INNER_BITS) - 1;
/// Multicall entries one entry of the guest may commit before it has to be run again.
pub(crate) const MAX_OUTER: u64 = 31;

/// Where the result is in a multicall entry.
pub(crate) const RESULT: u64 = 8;

/// Where the result goes.
#[derive(Clone, Copy)]
pub enum Reply {
    /// To RAX of these; the entry ends.
    Register(&'static Registers),
    /// To a multicall entry; the multicall goes on.
    Entry {
        /// Guest address of the entry.
        at: u64,
        /// Its result is 0 already.
        zero: bool,
    },
}

impl core::fmt::Debug for Reply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Reply::Register(_) => f.write_str("Register"),
            Reply::Entry { at, .. } => write!(f, "Entry({at:#x})"),
        }
    }
}

impl Reply {
    /// Publishes the result. RAX gets it before the commit and is not an effect: no handler reads it, and whoever runs
    /// the entry again after a crash gives it another value. So it is with a result of 0 that a multicall entry has
    /// before it is carried out; any other comes with the outbox, for only the committed one may be seen.
    #[inline]
    pub fn publish(self, tx: &mut Tx<'_>, value: i64) {
        match self {
            Reply::Register(registers) => {
                registers.set(Reg::Rax, value as u64);
                tx.last();
            }
            Reply::Entry { at, zero } => {
                if value != 0 || !zero {
                    copy_word(tx, at + RESULT, value as u64);
                }
                let inner = tx.progress() & MAX_INNER;
                tx.advance((1 << INNER_BITS) - inner);
            }
        }
    }

    /// Publishes changed arguments of a multicall entry: its sub-call will be run again for the rest.
    pub(crate) fn publish_arguments(self, tx: &mut Tx<'_>, changed: &[(Reg, u64)]) {
        let Reply::Entry { at, .. } = self else { return };
        for (register, value) in changed {
            let index = match register {
                Reg::Rdi => 0,
                Reg::Rsi => 1,
                Reg::Rdx => 2,
                Reg::R10 => 3,
                _ => 4,
            };
            copy_word(tx, at + 16 + 8 * index, *value);
        }
        let inner = tx.progress() & MAX_INNER;
        tx.advance(inner.wrapping_neg());
    }

    /// Elements of this (sub-)call that are committed, from the log's progress.
    pub(crate) fn inner_progress(self, progress: u64) -> u64 {
        progress & MAX_INNER
    }
}

/// Entries of a multicall that are committed, from the log's progress.
pub(crate) fn outer_progress(progress: u64) -> u64 {
    progress >> INNER_BITS
}

/// Publishes bytes for a guest address.
pub(crate) fn copy_bytes(tx: &mut Tx<'_>, to: u64, bytes: &[u8]) {
    if let Some(offset) = tx.keep_bytes(bytes) {
        tx.publish(Effect { kind: kind::COPY_OUT, x: offset, a: to, b: bytes.len() as u64 });
    }
}

/// Publishes one 64-bit word for a guest address.
pub(crate) fn copy_word(tx: &mut Tx<'_>, to: u64, value: u64) {
    tx.publish(Effect { kind: kind::COPY_WORD, x: 8, a: to, b: value });
}

/// Publishes one 32-bit word for a guest address.
pub(crate) fn copy_half(tx: &mut Tx<'_>, to: u64, value: u32) {
    tx.publish(Effect { kind: kind::COPY_WORD, x: 4, a: to, b: value.into() });
}
