//! Granted frames: references that are taken and dropped two at a time, a mapping's and its page-table entry's.

use crate::count::{is_freed, typed_step};
use crate::usage::{Kind, Usage};
use crate::{BOTH, FrameError, Frames, Got, Owner, TYPED};
use ids::Mfn;
use vault::{Once, Tx, Word};

impl Frames {
    /// Takes a reference to a frame of `owner`, as a writable page or a general one, or `both` of two by one exchange.
    ///
    /// # Errors
    /// [`FrameError`].
    #[inline(always)]
    pub fn get_granted(
        &self,
        tx: &mut Tx<'_>,
        mfn: Mfn,
        owner: Owner,
        write: bool,
        both: bool,
    ) -> Result<Got, FrameError> {
        let frame = self.frame(mfn).ok_or(FrameError::NotOwned)?;
        loop {
            let old = frame.usage();
            if old.owner() != owner || old.is_bare() {
                return Err(FrameError::NotOwned);
            }
            let new = if write {
                match typed_step(old, Kind::Writable)? {
                    Ok(new) if both => new.plus_typed(),
                    Ok(new) => new,
                    Err(got) => return Ok(got),
                }
            } else {
                let new = old.plus_ref();
                if both { new.plus_ref() } else { new }
            };
            if tx.exchange(&frame.usage, old.0, new.0) {
                return Ok(Got::Taken);
            }
        }
    }

    /// As [`plain_put`](Self::plain_put), of the references that an effect [`put_granted`](Self::put_granted) drops.
    #[inline(always)]
    pub fn plain_put_granted(&self, what: u64) -> Option<(&'static Word, u64, u64)> {
        let frame = self.frame(frame_of(what))?;
        let old = frame.usage();
        let new = self.without_granted(old, what);
        (!is_freed(old, new)).then_some((&frame.usage, old.0, new.0))
    }

    /// Applies the references that an effect [`put_granted`](Self::put_granted) drops.
    #[inline(never)]
    pub fn apply_put_granted(&self, once: &mut Once<'_, '_>, what: u64) {
        self.apply_put(once, frame_of(what), |usage| self.without_granted(usage, what));
    }

    #[inline(always)]
    fn without_granted(&self, old: Usage, what: u64) -> Usage {
        let both = what & BOTH != 0;
        if what & TYPED == 0 {
            let one = old.minus_ref();
            if both { one.minus_ref() } else { one }
        } else {
            let one = old.minus_typed();
            self.without_typed(old, if both { one.minus_typed() } else { one })
        }
    }
}

/// The frame that such an effect names.
const fn frame_of(what: u64) -> Mfn {
    Mfn(what & !(TYPED | BOTH))
}
