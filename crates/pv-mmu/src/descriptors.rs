//! Descriptor tables: frames of a GDT or LDT, which hold no references but must hold only descriptors a
//! guest may have.

use crate::{Mmu, MmuError};
use frames::{Got, Kind, Owner, Usage};
use guest_memory::GuestMemory;
use ids::{Maddr, Mfn};
use vault::{Apply, Effect, Journal, Tx, flush, kind};

impl<M: GuestMemory> Mmu<'_, M> {
    /// Gets a typed reference to each of `mfns` as descriptor tables, checking the contents of those that
    /// are not in use as such; `check` says what stands for a descriptor, or that it is refused. Runs
    /// `then` in the transaction that takes them all.
    ///
    /// # Errors
    /// [`MmuError`]; no reference is taken.
    pub fn get_descriptors<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfns: &[Mfn],
        owner: Owner,
        check: &dyn Fn(u64) -> Option<u64>,
        then: &mut dyn FnMut(&mut Tx<'static>),
    ) -> Result<(), MmuError> {
        for mfn in mfns {
            self.make_plain(j, *mfn, owner)?;
        }
        self.begin_descriptors(j, mfns, owner)?;
        let result = j.transaction(|tx| {
            tx.lock(&self.locks.descriptors);
            for mfn in mfns {
                self.take_descriptors(tx, *mfn, owner, check)?;
            }
            then(tx);
            Ok(())
        });
        if result.is_err() {
            for mfn in mfns {
                self.give_up_descriptors(j, *mfn)?;
            }
        }
        result
    }

    /// Claims those frames that are not descriptor tables yet, so that nobody can map them writable, and
    /// flushes what writable translations are left.
    fn begin_descriptors<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfns: &[Mfn],
        owner: Owner,
    ) -> Result<(), MmuError> {
        j.transaction(|tx| {
            // Several CPUs load the same LDT at the same time: none builds on what another may still undo.
            tx.lock(&self.locks.descriptors);
            let mut begun = false;
            for mfn in mfns {
                let usage = self.frames.frame(*mfn).ok_or(MmuError::Invalid)?.usage();
                if is_unused(usage, owner) {
                    // Another CPU let go of it just now: again.
                    return Err(MmuError::Preempted);
                }
                let is_table = usage.kind() == Kind::Descriptors && usage.typed() > 0;
                if !is_table {
                    self.frames.begin_work(tx, *mfn, owner, Kind::Descriptors)?;
                    begun = true;
                } else if usage.is_in_work() {
                    // Who began it may still wait for the flush.
                    begun = true;
                }
            }
            if begun {
                tx.publish(flush::EVERYWHERE);
            }
            Ok(())
        })
    }

    fn take_descriptors(
        &self,
        tx: &mut Tx<'static>,
        mfn: Mfn,
        owner: Owner,
        check: &dyn Fn(u64) -> Option<u64>,
    ) -> Result<(), MmuError> {
        let frame = self.frames.frame(mfn).ok_or(MmuError::Invalid)?;
        let usage = frame.usage();
        if usage.kind() == Kind::Descriptors && usage.is_in_work() && usage.owner() == owner {
            for index in 0..512 {
                let at = Maddr(mfn.maddr().0 + 8 * index);
                let old = self.memory.load64(at);
                let new = check(old).ok_or(MmuError::Invalid)?;
                if new != old {
                    // Nobody uses the table yet, and fixing is idempotent.
                    self.memory.store64(at, new);
                }
            }
            self.frames.finish_descriptors(tx, frame);
            return Ok(());
        }
        match self.frames.get_typed(tx, mfn, owner, Kind::Descriptors)? {
            Got::Taken => Ok(()),
            // It was a table when the others were claimed.
            _ => Err(MmuError::Preempted),
        }
    }

    /// Lets go of a frame that was claimed and not taken.
    pub(crate) fn give_up_descriptors<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn) -> Result<(), MmuError> {
        let Some(frame) = self.frames.frame(mfn) else { return Ok(()) };
        j.change(|tx| {
            tx.lock(&self.locks.descriptors);
            let usage = frame.usage();
            if usage.kind() == Kind::Descriptors && usage.is_in_work() {
                self.frames.finish_unwork(tx, mfn, frame);
            }
        });
        Ok(())
    }

    /// Changes one descriptor of a frame that is a descriptor table of `owner`, or plainly writable.
    ///
    /// # Errors
    /// [`MmuError::Invalid`].
    pub fn update_descriptor<A: Apply>(
        &self,
        j: &mut Journal<A>,
        at: Maddr,
        descriptor: u64,
        owner: Owner,
        done: &mut dyn FnMut(&mut Tx<'static>),
    ) -> Result<(), MmuError> {
        let mfn = at.mfn();
        self.make_plain(j, mfn, owner)?;
        j.transaction(|tx| {
            let usage = self.frames.frame(mfn).ok_or(MmuError::Invalid)?.usage();
            let use_as = if usage.kind() == Kind::Descriptors && usage.typed() > 0 {
                Kind::Descriptors
            } else {
                Kind::Writable
            };
            match self.frames.get_typed(tx, mfn, owner, use_as)? {
                Got::Taken => {}
                _ => return Err(MmuError::Invalid),
            }
            tx.publish(Effect { kind: kind::GUEST_STORE, x: 8, a: at.0, b: descriptor });
            tx.publish(frames::Frames::put_typed(mfn));
            done(tx);
            Ok(())
        })
    }
}

/// Whether a frame of `owner` is valid as something that nobody uses it as any more.
fn is_unused(usage: Usage, owner: Owner) -> bool {
    usage.typed() == 0 && usage.is_validated() && usage.owner() == owner
}
