//! A CPU's log together with what applies its effects: what logic crates run transactions on.

use crate::effect::Apply;
use crate::log::Log;
use crate::tx::Tx;

/// One CPU's log and the composition's [`Apply`]; counts transactions so that long work can stop.
#[derive(Debug)]
pub struct Journal<A> {
    log: &'static Log,
    /// Applies the effects.
    pub apply: A,
    in_entry: bool,
    /// What is left, in references that an effect drops; below 0: more was done than there was.
    budget: i64,
}

/// References that an effect drops while another piece of long work is done.
const PIECE: i64 = 64;

/// The entry has done its share: its progress is committed, the rest comes with the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preempted;

impl<A: Apply> Journal<A> {
    /// The journal of an entry; allows `budget` pieces of work before [`spend`](Self::spend) says stop.
    pub const fn new(log: &'static Log, apply: A, budget: u32) -> Self {
        Self { log, apply, in_entry: true, budget: budget as i64 * PIECE }
    }

    /// A journal for work beside any entry (what is due, whom to switch to): its transactions end none, so that none
    /// is taken for done that a vCPU has still to come back to.
    pub const fn beside(log: &'static Log, apply: A, budget: u32) -> Self {
        Self { log, apply, in_entry: false, budget: budget as i64 * PIECE }
    }

    /// The log.
    pub const fn log(&self) -> &'static Log {
        self.log
    }

    /// Runs one transaction; see [`Log::transaction`].
    ///
    /// # Errors
    /// Whatever `f` returns; then nothing has changed.
    #[inline(always)]
    pub fn transaction<O, E>(&mut self, f: impl FnOnce(&mut Tx<'static>) -> Result<O, E>) -> Result<O, E> {
        self.log.run(&mut self.apply, self.in_entry, f)
    }

    /// Runs one transaction that cannot fail.
    #[inline(always)]
    pub fn change<O>(&mut self, f: impl FnOnce(&mut Tx<'static>) -> O) -> O {
        let done: Result<O, core::convert::Infallible> = self.transaction(|tx| Ok(f(tx)));
        match done {
            Ok(o) => o,
            Err(never) => match never {},
        }
    }

    /// Pays for a piece of long work that was done, and for what effects did since this was asked last. So one piece is
    /// always done, however little there is left.
    ///
    /// # Errors
    /// [`Preempted`] when there was not enough left.
    pub fn spend(&mut self) -> Result<(), Preempted> {
        self.pay(1);
        self.check()
    }

    /// Pays for `pieces` of work that was done, behind which the entry may not stop: it may have been the last.
    #[inline(always)]
    pub fn pay(&mut self, pieces: u32) {
        self.budget -= i64::from(pieces) * PIECE;
    }

    /// Whether more may be done: asked before what may take long.
    ///
    /// # Errors
    /// [`Preempted`] when more was done than there was.
    #[inline(never)]
    pub fn check(&mut self) -> Result<(), Preempted> {
        self.budget -= i64::from(self.apply.take_work());
        if self.budget < 0 { Err(Preempted) } else { Ok(()) }
    }
}
