//! Emptying an outbox: the effects of a committed transaction happen.

use crate::effect::{Apply, Effect, Once, poke};
use crate::head::{Head, Phase};
use crate::lock::Held;
use crate::log::{Log, read_effect};
use crate::puts::Puts;
use crate::{kind, step};
use core::sync::atomic::AtomicU64;

impl Log {
    /// Finishes the outbox of a committed transaction. Safe to crash in and run again. Recovery calls it;
    /// [`transaction`](Self::transaction) does so itself.
    pub fn drain(&self, apply: &mut impl Apply) {
        let head = self.head();
        if head.phase() != Phase::Outbox {
            return;
        }
        let mut held = Held::default();
        let head = self.drain_chained(apply, head, &mut held);
        self.drain_from(apply, head, &mut held);
        held.release_all();
    }

    /// Gives up an outbox that cannot be applied: what its effects were to free stays in use, what they were to
    /// tell is not told. Consequences that are outstanding are applied, for they only store. The log is open
    /// afterwards; its entry must not be dispatched again.
    pub fn abandon(&self, apply: &mut impl Apply) {
        let head = self.head();
        if head.phase() != Phase::Outbox {
            return;
        }
        let mut held = Held::default();
        let head = self.drain_chained(apply, head, &mut held);
        self.set_head(head.emptied());
        held.release_all();
    }

    /// Finishes the outbox of a transaction just committed that has one effect, as many have.
    #[inline(never)]
    pub(crate) fn drain_one<'l>(&'l self, apply: &mut impl Apply, head: Head, held: &mut Held<'l>) {
        let effect = read_effect(&self.effects[0]);
        let plain = match effect.kind {
            kind::PUT_REF..=kind::PUT_GRANTED => false,
            _ => Self::apply_plainly(apply, effect),
        };
        if plain { self.close(apply, head) } else { self.drain_from(apply, head, held) }
    }

    /// Applies the effects that are not known to be applied; no consequences are outstanding.
    #[inline(never)]
    pub(crate) fn drain_from<'l>(&'l self, apply: &mut impl Apply, mut head: Head, held: &mut Held<'l>) {
        let published = head.effects();
        let mut left = &self.effects[head.applied()..published];
        while let Some((slot, behind)) = left.split_first() {
            let index = published.wrapping_sub(left.len());
            left = behind;
            let effect = read_effect(slot);
            let done = match effect.kind {
                kind::PUT_REF..=kind::PUT_GRANTED => self.put_plainly(apply, &mut head, index, effect),
                _ => Self::apply_plainly(apply, effect),
            };
            if !done {
                head = self.apply_fully(apply, head, index, slot, held);
                head = self.drain_chained(apply, head, held);
            }
        }
        self.close(apply, head);
    }

    /// Drops references if nothing follows from that; false: the effect is to be applied in full.
    #[inline(always)]
    fn put_plainly(&self, apply: &mut impl Apply, head: &mut Head, index: usize, effect: Effect) -> bool {
        step::point();
        let Some((word, old, new)) = apply.plain_put(effect) else { return false };
        let after = head.with_applied(index.wrapping_add(1));
        let done = step::exchange(&word.cell, old, new, &self.head, after.0);
        if done {
            *head = after;
        }
        done
    }

    /// The outbox is empty.
    #[inline(always)]
    pub(crate) fn close(&self, apply: &mut impl Apply, head: Head) {
        if head.is_last() {
            apply.ended();
        }
        self.set_head(head.finished());
    }

    /// Applies the consequences of the last exactly-once effect, which come before all later effects.
    #[inline(always)]
    pub(crate) fn drain_chained<'l>(
        &'l self,
        apply: &mut impl Apply,
        head: Head,
        held: &mut Held<'l>,
    ) -> Head {
        if head.chained() == 0 { head } else { self.apply_chained(apply, head, held) }
    }

    #[inline(never)]
    fn apply_chained<'l>(&'l self, apply: &mut impl Apply, head: Head, held: &mut Held<'l>) -> Head {
        for slot in &self.chained[..head.chained()] {
            if !Self::apply_plainly(apply, read_effect(slot)) {
                self.apply_fully(apply, head, head.applied(), slot, held);
            }
        }
        let head = head.with_chained(0);
        self.set_head(head);
        head
    }

    /// Applies an effect that is a store or plain; false: it is neither.
    #[inline(always)]
    fn apply_plainly(apply: &mut impl Apply, effect: Effect) -> bool {
        step::point();
        if effect.kind == Effect::STORE {
            poke(effect.a, u64::from(effect.x), effect.b);
            return true;
        }
        apply.apply_plain(effect)
    }

    /// Reads the effect again, so that those that are plain stay in registers.
    #[inline(always)]
    fn apply_fully<'l>(
        &'l self,
        apply: &mut impl Apply,
        head: Head,
        index: usize,
        slot: &[AtomicU64; 3],
        held: &mut Held<'l>,
    ) -> Head {
        let effect = read_effect(slot);
        if effect.kind == kind::PUT_ENTRIES {
            let mut puts = Puts::new(self, head, index, held);
            apply.put_entries(&effect, &mut puts);
            return puts.head;
        }
        let mut once =
            Once { log: self, head, after: head.with_applied(index.wrapping_add(1)), chained: 0, held };
        match effect.kind {
            kind::PUT_REF => apply.put_ref(effect.a, &mut once),
            kind::PUT_TYPED => apply.put_typed(effect.a, &mut once),
            kind::PUT_GRANTED => apply.put_granted(&effect, &mut once),
            _ => apply.apply(&effect, &mut once),
        }
        once.head
    }
}
