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
    budget: u32,
}

/// The entry has done its share: its progress is committed, the rest comes with the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preempted;

impl<A: Apply> Journal<A> {
    /// The journal of an entry; allows `budget` transactions before [`spend`](Self::spend) says stop.
    pub const fn new(log: &'static Log, apply: A, budget: u32) -> Self {
        Self { log, apply, in_entry: true, budget }
    }

    /// A journal for work beside any entry (what is due, whom to switch to): its transactions end none, so that none
    /// is taken for done that a vCPU has still to come back to.
    pub const fn beside(log: &'static Log, apply: A, budget: u32) -> Self {
        Self { log, apply, in_entry: false, budget }
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

    /// Takes one from the budget of a long piece of work.
    ///
    /// # Errors
    /// [`Preempted`] when nothing is left.
    pub fn spend(&mut self) -> Result<(), Preempted> {
        self.budget = self.budget.checked_sub(1).ok_or(Preempted)?;
        Ok(())
    }
}
