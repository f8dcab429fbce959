//! A machine of two processors with nothing but a frame table, in memory that can be saved and restored.

use frames::{Frames, Heap, Locks, NoMemory};
use ids::{DomainSlot, Mfn};
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use vault::{Apply, Effect, Ground, Journal, Log, Once, Word, kind};

pub(crate) const FRAMES: usize = 1 << 12;
pub(crate) const DOMAINS: u16 = 20;

#[derive(Clone, Copy)]
pub(crate) struct Effects(pub(crate) Frames);

impl Apply for Effects {
    fn plain_put(&mut self, effect: Effect) -> Option<(&'static Word, u64, u64)> {
        if effect.kind == kind::PUT_GRANTED { None } else { self.0.plain_put(effect.kind, Mfn(effect.a)) }
    }

    fn undoing(&mut self) {
        self.0.note_undone();
    }

    fn undone(&mut self, log: &Log, entries: usize) {
        for mfn in
            (0..entries).filter_map(|index| self.0.lost_at(log.changed_word(index)?)).collect::<Vec<_>>()
        {
            let frames = self.0;
            let done: Result<bool, Infallible> =
                log.transaction_between(self, |tx| Ok(frames.collect(tx, mfn)));
            assert_eq!(done, Ok(true));
        }
    }

    fn apply(&mut self, e: &Effect, once: &mut Once<'_, '_>) {
        match e.kind {
            kind::PUT_REF => self.0.apply_put_ref(once, Mfn(e.a)),
            kind::PUT_TYPED => self.0.apply_put_typed(once, Mfn(e.a)),
            kind::M2P => {}
            other => panic!("effect {other}"),
        }
    }
}

pub(crate) struct Machine {
    pub(crate) ground: Ground,
    pub(crate) frames: Frames,
    pub(crate) locks: &'static Locks,
    pub(crate) logs: &'static [Log],
}

pub(crate) fn carve(ground: Ground) -> Machine {
    let mut arena = ground.arena();
    let logs = arena.carve(2).expect("room for logs");
    let locks: &'static Locks = Box::leak(Box::new(Locks::new()));
    let frames = Frames::carve(&mut arena, FRAMES, DOMAINS.into(), locks).expect("room for frames");
    Machine { ground, frames, locks, logs }
}

impl Machine {
    /// RAM from `start` on, in blocks as large as they come.
    pub(crate) fn new(start: u64) -> Self {
        let machine = carve(Ground::leak(160 << 10));
        let (frames, mut j) = (machine.frames, machine.journal(0));
        machine.logs[0].begin();
        let mut at = start;
        while at < FRAMES as u64 {
            at += j.change(|tx| frames.seed_frames(tx, Mfn(at), Mfn(FRAMES as u64)));
        }
        at = start;
        while at < FRAMES as u64 {
            at += j.change(|tx| frames.seed_block(tx, Mfn(at), Mfn(FRAMES as u64)));
        }
        j.change(|tx| (0..DOMAINS).for_each(|d| frames.set_max_pages(tx, DomainSlot(d), 3000)));
        machine.logs[0].end();
        machine.logs.iter().for_each(Log::begin);
        machine
    }

    pub(crate) fn journal(&self, cpu: usize) -> Journal<Effects> {
        Journal::new(&self.logs[cpu], Effects(self.frames), 0)
    }

    pub(crate) fn allocate(&self, cpu: usize, slot: DomainSlot, order: u32) -> Result<Mfn, NoMemory> {
        self.journal(cpu).transaction(|tx| self.frames.allocate(tx, slot, order, 64))
    }

    pub(crate) fn put(&self, cpu: usize, mfn: Mfn) {
        let shared = self.frames.frame(mfn).is_some_and(|frame| frame.usage().is_shared_alone());
        let effect = if shared { Frames::put_shared(mfn) } else { Frames::put_ref(mfn) };
        self.journal(cpu).change(|tx| tx.publish(effect));
    }

    pub(crate) fn audit(&self) -> Result<(), String> {
        audit::free_frames(&self.frames)?;
        let listed = audit::page_lists(&self.frames, DOMAINS)?;
        for (mfn, on) in listed.iter().enumerate() {
            let usage = self.frames.frame(Mfn(mfn as u64)).ok_or("hole")?.usage();
            if usage.owner().slot().is_some() && usage.is_unreferenced() {
                return Err(format!("{mfn:#x} of nobody: {usage:?}, on list {on:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn save(&self) -> Vec<u64> {
        self.ground.words().iter().map(|w| w.load(Ordering::Relaxed)).collect()
    }

    pub(crate) fn restored(&self, saved: &[u64]) -> Self {
        for (word, value) in self.ground.words().iter().zip(saved) {
            word.store(*value, Ordering::Relaxed);
        }
        carve(self.ground)
    }

    pub(crate) fn free(&self) -> u64 {
        let heap: &Heap = self.frames.heap();
        heap.free_frames()
    }
}
