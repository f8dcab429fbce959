//! Lines for the log, in pieces that are transactions of their own.

use crate::call::Call;
use crate::notice::print;
use crate::reply::MAX_INNER;
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use domain::State;
use guest_memory::GuestMemory;
use ids::DomainSlot;
use vault::Apply;

/// Bytes of a piece, and of the longest line.
const PIECE: usize = 1024;
const LINE: usize = 192;
/// Lines that one call prints: what comes after is counted.
const MOST_LINES: u32 = 2000;

/// Text under way to the log. A call that is run again prints what was not committed, from the piece on that was cut.
pub(super) struct Report<'c, 'a, M: 'static, A> {
    pub(super) call: &'c mut Call<'a, M, A>,
    piece: ArrayString<PIECE>,
    pieces: u64,
    lines: u32,
}

impl<'c, 'a, M: GuestMemory + 'static, A: Apply> Report<'c, 'a, M, A> {
    pub(super) fn new(call: &'c mut Call<'a, M, A>) -> Self {
        Self { call, piece: ArrayString::new(), pieces: 0, lines: 0 }
    }

    /// All state.
    pub(super) fn state(&self) -> &'static State {
        self.call.state
    }

    /// A domain's number.
    pub(super) fn id(&self, slot: DomainSlot) -> u16 {
        self.state().domains.domain(slot).id.get().0
    }

    /// One line; one that is too long is cut off.
    pub(super) fn line(&mut self, text: fmt::Arguments<'_>) {
        self.lines += 1;
        if self.lines > MOST_LINES {
            return;
        }
        let mut line = ArrayString::<LINE>::new();
        // What has no room is not printed.
        let _ = line.write_fmt(text);
        if self.piece.remaining_capacity() < line.len() + 8 {
            self.print();
        }
        let _ = writeln!(self.piece, "(XEN) {line}");
    }

    /// Prints what is left.
    pub(super) fn flush(&mut self) {
        if let Some(more) = self.lines.checked_sub(MOST_LINES + 1) {
            let _ = writeln!(self.piece, "(XEN) ... and {} more lines", more + 1);
        }
        self.lines = 0;
        self.print();
    }

    fn print(&mut self) {
        let piece = core::mem::take(&mut self.piece);
        if piece.is_empty() || self.pieces >= MAX_INNER {
            return;
        }
        if self.pieces >= self.call.done() {
            self.call.j.change(|tx| {
                print(tx, piece.as_bytes());
                tx.advance(1);
            });
        }
        self.pieces += 1;
    }
}
