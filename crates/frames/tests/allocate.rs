//! Blocks of the largest size a domain gets at once, from the largest blocks of the heap.

use frames::{Frames, Locks, MAX_ASSIGN_ORDER, MAX_ORDER, NoClaim, Owner};
use ids::{DomainSlot, Mfn};
use std::convert::Infallible;
use vault::{Apply, Arena, Effect, Journal, Log, Once, kind};

const SLOT: DomainSlot = DomainSlot(3);
const START: u64 = 1 << MAX_ORDER;
const END: u64 = 2 << MAX_ORDER;

struct Effects(Frames);

impl Apply for Effects {
    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        match effect.kind {
            kind::PUT_REF => self.0.apply_put_ref(once, Mfn(effect.a)),
            kind::M2P => assert_eq!(effect.b, u64::MAX),
            other => panic!("effect {other}"),
        }
    }
}

fn listed(frames: &Frames) -> Vec<u64> {
    let mut at = frames.list(SLOT).first();
    let mut found = Vec::new();
    while let Some(mfn) = at {
        found.push(mfn.0);
        at = frames.frame(mfn).unwrap().following();
    }
    found
}

/// One block of 1 GiB, all of it free.
fn seeded() -> (Frames, Journal<Effects>) {
    let mut arena = Arena::leak(24 * (END as usize + 64) + (1 << 20));
    let frames = Frames::carve(&mut arena, END as usize, 8, Box::leak(Box::new(Locks::new()))).unwrap();
    let log: &'static Log = &arena.carve::<Log>(1).unwrap()[0];
    log.begin();
    let mut j = Journal::new(log, Effects(frames), u32::MAX);
    let mut at = START;
    while at < END {
        at += j.change(|tx| frames.seed_frames(tx, Mfn(at), Mfn(END)));
    }
    assert_eq!(j.change(|tx| frames.seed_block(tx, Mfn(START), Mfn(END))), END - START);
    (frames, j)
}

#[test]
fn the_largest_split_and_assignment_fit_one_transaction() {
    let (frames, mut j) = seeded();
    j.change(|tx| frames.set_max_pages(tx, SLOT, 1000));
    let mut blocks = Vec::new();
    for _ in 0..3 {
        blocks.push(j.transaction(|tx| frames.allocate(tx, SLOT, MAX_ASSIGN_ORDER, 64)).unwrap().0);
    }
    assert_eq!(blocks, [START, START + 64, START + 128], "adjacent blocks ascend");
    let mut found = listed(&frames);
    found.sort_unstable();
    assert_eq!(found, (START..START + 192).collect::<Vec<_>>());
    assert_eq!(frames.list(SLOT).pages(), 192);
    assert_eq!(frames.heap().free_frames(), END - START - 192);
    // Every other frame goes back, and the list closes over the gaps.
    for mfn in (START..START + 192).step_by(2) {
        j.transaction(|tx| -> Result<(), Infallible> {
            tx.publish(Frames::put_ref(Mfn(mfn)));
            Ok(())
        })
        .unwrap();
        assert_eq!(frames.frame(Mfn(mfn)).unwrap().usage().owner(), Owner::FREE);
    }
    let mut found = listed(&frames);
    found.sort_unstable();
    assert_eq!(found, (START + 1..START + 192).step_by(2).collect::<Vec<_>>());
    assert_eq!(frames.list(SLOT).pages(), 96);
    assert_eq!(frames.heap().free_frames(), END - START - 96);
}

#[test]
fn a_refused_allocation_changes_nothing() {
    let (frames, mut j) = seeded();
    j.change(|tx| frames.set_max_pages(tx, SLOT, 63));
    assert!(j.transaction(|tx| frames.allocate(tx, SLOT, MAX_ASSIGN_ORDER, 64)).is_err());
    assert_eq!(frames.heap().free_frames(), END - START);
    assert_eq!(frames.heap().first(19, MAX_ORDER as usize), Some(Mfn(START)));
    assert!(listed(&frames).is_empty());
}

#[test]
fn what_is_claimed_is_nobody_elses() {
    const OTHER: DomainSlot = DomainSlot(4);
    let (frames, mut j) = seeded();
    let all = END - START;
    j.change(|tx| [SLOT, OTHER].into_iter().for_each(|slot| frames.set_max_pages(tx, slot, all)));
    let mut claim = |slot, pages| j.transaction(|tx| frames.claim(tx, slot, pages));
    assert_eq!(claim(SLOT, all + 1), Err(NoClaim::Invalid), "more than it may have");
    assert_eq!(claim(SLOT, all - 10), Ok(()));
    assert_eq!(claim(SLOT, all - 9), Err(NoClaim::Invalid), "it has one");
    assert_eq!(claim(OTHER, 11), Err(NoClaim::NoMemory));
    assert_eq!(frames.heap().claimed_frames(), all - 10);
    let mut take = |slot, order| j.transaction(|tx| frames.allocate(tx, slot, order, 64)).is_ok();
    assert!(!take(OTHER, 4), "16 frames of 10");
    assert!(take(OTHER, 3));
    assert!(take(SLOT, 6));
    assert_eq!((frames.list(SLOT).claimed(), frames.heap().claimed_frames()), (all - 74, all - 74));
    assert!(!take(OTHER, 3));
    assert!(take(OTHER, 1));
    assert!(j.transaction(|tx| frames.allocate_own(tx)).is_err(), "nor the hypervisor's");
    // One that is too small for what it gets is used up.
    assert_eq!(j.transaction(|tx| frames.claim(tx, SLOT, 0)), Ok(()));
    assert_eq!(j.transaction(|tx| frames.claim(tx, SLOT, 66)), Ok(()));
    assert_eq!(frames.list(SLOT).claimed(), 2);
    assert!(j.transaction(|tx| frames.allocate(tx, SLOT, 2, 64)).is_ok());
    assert_eq!((frames.list(SLOT).claimed(), frames.heap().claimed_frames()), (0, 0));
}
