//! References that are dropped without more ado, for nothing follows from it.

use crate::count::is_freed;
use crate::usage::Usage;
use crate::{Frame, Frames};
use ids::Mfn;
use vault::{Word, kind};

impl Frame {
    /// What dropping a typed reference makes of a table that others hold: its word, what it is and what it becomes.
    /// `None`: it is not so simple.
    #[inline(always)]
    pub fn table_put(&self) -> Option<(&Word, u64, u64)> {
        let old = self.usage();
        old.one_typed_less().map(|new| (&self.usage, old.0, new.0))
    }
}

impl Frames {
    /// What dropping a reference (`what` is the effect's kind) makes of a frame that is not freed by it: the frame's word,
    /// what it is and what it becomes.
    #[inline(always)]
    pub fn plain_put(&self, what: u32, mfn: Mfn) -> Option<(&'static Word, u64, u64)> {
        let frame = self.frame(mfn)?;
        let old = frame.usage();
        let simply = match what {
            kind::PUT_REF => old.one_ref_less(),
            _ => old.one_typed_less().or_else(|| self.one_writable_less(old)),
        };
        if let Some(new) = simply {
            return Some((&frame.usage, old.0, new.0));
        }
        let new = match what {
            kind::PUT_REF => old.minus_ref(),
            _ => self.without_typed(old, old.minus_typed()),
        };
        (!is_freed(old, new)).then_some((&frame.usage, old.0, new.0))
    }

    /// What dropping a writable reference makes of a page that others refer to; `None`: not so simple.
    #[inline(always)]
    fn one_writable_less(&self, old: Usage) -> Option<Usage> {
        let new = old.one_writable_less()?;
        if new.typed() == 0 {
            self.count_unwritable();
        }
        Some(new)
    }
}
