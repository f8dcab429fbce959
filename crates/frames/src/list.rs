//! A domain's frames, threaded through their records, so that teardown finds them without a scan.

use crate::frame::links;
use crate::{Frame, Frames};
use ids::{DomainSlot, Mfn};
use vault::{Durable, LockWord, Once, Tx, record};

record! {
    /// The frames of one domain slot.
    ///
    /// Lock: `Locks::lists` of the slot. Rebuild: nothing is derived.
    pub struct PageList {
        /// First frame; 0 when there is none.
        pub(crate) head: Durable<u32>,
        /// The first of those that its end has been at (`leave`); 0 when there is none.
        pub(crate) leaving: Durable<u32>,
        /// Frames on both lists (Xen's `tot_pages`).
        pub(crate) pages: Durable<u64>,
        /// The most it may hold (Xen's `max_pages`).
        pub(crate) max_pages: Durable<u64>,
        /// Free frames that are promised to it (Xen's `outstanding_pages`). Lock: `Locks::heap` as well.
        pub(crate) claimed: Durable<u64>,
        /// Whether the end has to come by the leaving ones again, and how often it did.
        pub(crate) again: Durable<bool>,
        pub(crate) rounds: Durable<u8>,
    }
}

impl PageList {
    /// Frames the domain has.
    pub fn pages(&self) -> u64 {
        self.pages.get()
    }

    /// The most it may have.
    pub fn max_pages(&self) -> u64 {
        self.max_pages.get()
    }

    /// Free frames that are promised to it.
    pub fn claimed(&self) -> u64 {
        self.claimed.get()
    }

    /// First frame of the list, to walk it for teardown or audit.
    pub fn first(&self) -> Option<Mfn> {
        link(self.head.get())
    }

    /// First frame of those that the domain's end has been at, for the audit.
    pub fn first_leaving(&self) -> Option<Mfn> {
        link(self.leaving.get())
    }
}

impl Frame {
    /// The frame after this one on its list.
    pub fn following(&self) -> Option<Mfn> {
        link(self.next())
    }

    /// The frame before this one on its list, for the audit.
    pub fn preceding(&self) -> Option<Mfn> {
        link(self.prev())
    }
}

fn link(raw: u32) -> Option<Mfn> {
    (raw != 0).then_some(Mfn(raw.into()))
}

impl Frames {
    /// The page list of a domain slot.
    pub fn list(&self, slot: DomainSlot) -> &'static PageList {
        &self.lists[usize::from(slot.0)]
    }

    pub(crate) fn list_lock(&self, slot: DomainSlot) -> &'static LockWord {
        &self.locks.lists[usize::from(slot.0) % self.locks.lists.len()]
    }

    /// Sets how many frames a domain may have.
    pub fn set_max_pages(&self, tx: &mut Tx<'_>, slot: DomainSlot, pages: u64) {
        tx.lock(self.list_lock(slot));
        tx.set(&self.list(slot).max_pages, pages);
    }

    /// Puts `count` adjacent frames at the head of a domain's list and counts them; the caller holds the
    /// list lock.
    pub(crate) fn enlist(&self, tx: &mut Tx<'_>, slot: DomainSlot, first: u32, count: u32) {
        let list = self.list(slot);
        self.link_run(tx, slot, first, count);
        tx.set(&list.pages, list.pages.get() + u64::from(count));
    }

    /// Puts `count` adjacent frames, which count already, at the head of a domain's list; the caller holds the list
    /// lock.
    pub(crate) fn link_run(&self, tx: &mut Tx<'_>, slot: DomainSlot, first: u32, count: u32) {
        let list = self.list(slot);
        let old = list.head.get();
        let last = first + count - 1;
        if let Some(second) = self.linked(old) {
            tx.set(&second.links, links(second.next(), last));
        }
        for mfn in first..=last {
            let next = if mfn == last { old } else { mfn + 1 };
            let prev = if mfn == first { 0 } else { mfn - 1 };
            if let Some(frame) = self.linked(mfn) {
                tx.set(&frame.links, links(next, prev));
            }
        }
        tx.set(&list.head, first);
    }

    /// Queues taking a frame off its domain's list as consequence of its last reference's end. Frames that
    /// the hypervisor shares with the domain are on none.
    pub(crate) fn chain_delist(&self, once: &mut Once<'_, '_>, slot: DomainSlot, mfn: Mfn, frame: &Frame) {
        once.lock(self.list_lock(slot));
        let list = self.list(slot);
        let (next, prev) = (frame.next(), frame.prev());
        let head = [&list.head, &list.leaving].into_iter().find(|head| link(head.get()) == Some(mfn));
        match (self.linked(prev), head) {
            (Some(before), _) => once.then_set(&before.links, links(next, before.prev())),
            (None, Some(head)) => once.then_set(head, next),
            (None, None) => return,
        }
        if let Some(after) = self.linked(next) {
            once.then_set(&after.links, links(after.next(), prev));
        }
        once.then_set(&list.pages, list.pages.get().saturating_sub(1));
    }

    pub(crate) fn linked(&self, raw: u32) -> Option<&'static Frame> {
        link(raw).and_then(|mfn| self.frame(mfn))
    }
}
