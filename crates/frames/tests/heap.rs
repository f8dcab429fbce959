//! The heap and the page lists: random streams, crashes at every step, and two CPUs that stop at once.

mod machine;

use frames::{Frames, Kind, MAX_ASSIGN_ORDER, NoMemory, Owner, Staging};
use ids::{DomainSlot, Mfn, VcpuSlot};
use machine::{DOMAINS, Effects, Machine, carve};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use vault::Phase;

const D: DomainSlot = DomainSlot(1);

struct Crash;

fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Crash>() {
            eprintln!("{info}");
        }
    }));
}

/// Runs `f`, crashing at durable step `at`. Returns whether it crashed.
fn crashes(at: u64, f: impl FnOnce()) -> bool {
    let seen = Rc::new(Cell::new(0));
    vault::step::arm(move || {
        seen.set(seen.get() + 1);
        if seen.get() == at {
            panic_any(Crash);
        }
    });
    let result = catch_unwind(AssertUnwindSafe(f));
    vault::step::disarm();
    match result {
        Ok(()) => false,
        Err(e) if e.is::<Crash>() => true,
        Err(e) => std::panic::resume_unwind(e),
    }
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Allocate(DomainSlot, u32, u32),
    Own,
    Shared(DomainSlot),
    Put(Mfn),
    Settle(u32),
}

fn random_op(r: &mut u64, held: &[Mfn]) -> Op {
    let slot = DomainSlot((next(r) % u64::from(DOMAINS)) as u16);
    match next(r) % 10 {
        0..3 => {
            let order = if next(r).is_multiple_of(4) { next(r) as u32 % (MAX_ASSIGN_ORDER + 1) } else { 0 };
            Op::Allocate(slot, order, [64, 22, 24][next(r) as usize % 3])
        }
        3 => Op::Own,
        4 => Op::Shared(slot),
        5..8 if !held.is_empty() => Op::Put(held[next(r) as usize % held.len()]),
        _ => Op::Settle([64, 22, 24][next(r) as usize % 3]),
    }
}

/// Runs one operation; the frames it allocated.
fn run(m: &Machine, cpu: usize, op: Op) -> Vec<Mfn> {
    let (frames, mut j) = (m.frames, m.journal(cpu));
    let got = match op {
        Op::Allocate(slot, order, bits) => {
            let got = j.transaction(|tx| {
                tx.advance(1);
                frames.allocate(tx, slot, order, bits)
            });
            got.map(|mfn| (mfn, 1 << order))
        }
        Op::Own => j.transaction(|tx| frames.allocate_own(tx)).map(|mfn| (mfn, 1)),
        Op::Shared(slot) => j.transaction(|tx| frames.allocate_shared(tx, slot)).map(|mfn| (mfn, 1)),
        Op::Put(mfn) => {
            m.put(cpu, mfn);
            Err(NoMemory)
        }
        Op::Settle(bits) => {
            j.change(|tx| frames.settle(tx, bits));
            Err(NoMemory)
        }
    };
    got.map_or(Vec::new(), |(mfn, count)| (mfn.0..mfn.0 + count).map(Mfn).collect())
}

#[test]
fn streams_of_allocations_leak_nothing() {
    for seed in 1..9u64 {
        let mut r = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let m = Machine::new(1);
        let all = m.free();
        let mut held = Vec::new();
        for step in 0..600 {
            let op = random_op(&mut r, &held);
            let got = run(&m, step % 2, op);
            if let Op::Allocate(_, _, bits @ ..40) = op {
                assert!(got.iter().all(|mfn| mfn.0 < 1 << (bits - 12)), "{op:?} gave {got:?}");
            }
            if let Op::Put(mfn) = op {
                held.retain(|m| *m != mfn);
            }
            held.extend(got);
            m.audit().unwrap_or_else(|e| panic!("seed {seed} step {step} {op:?}: {e}"));
        }
        held.into_iter().for_each(|mfn| m.put(0, mfn));
        m.audit().expect("the end");
        assert_eq!(m.free(), all);
    }
}

/// The largest assignment from the largest block writes the most undo entries.
#[test]
fn the_largest_assignment_fits_a_transaction() {
    let m = Machine::new(2048);
    for order in 0..=MAX_ASSIGN_ORDER {
        assert!(m.allocate(0, D, order).is_ok(), "order {order}");
        m.audit().expect("lists");
    }
    assert_eq!(m.allocate(0, D, MAX_ASSIGN_ORDER + 1), Err(NoMemory));
}

/// One outbox may end frames of many domains (a privileged domain's page table goes).
#[test]
fn one_transaction_frees_frames_of_many_domains() {
    let m = Machine::new(1);
    let free = m.free();
    let held: Vec<Mfn> =
        (0..DOMAINS).map(|slot| m.allocate(0, DomainSlot(slot), 0).expect("memory")).collect();
    m.journal(0).change(|tx| held.iter().for_each(|mfn| tx.publish(Frames::put_ref(*mfn))));
    m.audit().expect("lists");
    assert_eq!(m.free(), free);
}

/// A frame shared with a domain is not on its page list, before and after.
#[test]
fn a_shared_frame_leaves_the_page_list_alone() {
    let m = Machine::new(1);
    let pages: Vec<Mfn> = (0..3).map(|_| m.allocate(0, D, 0).expect("memory")).collect();
    let shared = m.journal(0).transaction(|tx| m.frames.allocate_shared(tx, D)).expect("memory");
    m.put(0, pages[1]);
    m.put(0, shared);
    m.audit().expect("lists");
    assert_eq!(m.frames.list(D).pages(), 2);
}

/// Settles loose frames until a block of `order` is there, or none is loose; how many transactions that took.
fn settle(m: &Machine, cpu: usize, order: u32) -> u32 {
    let mut steps = 0;
    while !m.frames.has_block(order, 64) && m.journal(cpu).change(|tx| m.frames.settle(tx, 64)) {
        steps += 1;
    }
    steps
}

#[test]
fn settling_brings_large_blocks_back() {
    let m = Machine::new(2048);
    let mut held: Vec<Mfn> = (0..2048).map(|_| m.allocate(0, D, 0).expect("memory")).collect();
    // In an order that leaves no buddies near each other on a list.
    held.sort_by_key(|mfn| (mfn.0 as u32).reverse_bits());
    held.into_iter().for_each(|mfn| m.put(0, mfn));
    assert!(!m.frames.has_block(1, 64), "all of them are loose");
    assert!(settle(&m, 0, 11) <= 2 * 2048 / 16, "each is settled once");
    m.audit().expect("lists");
    assert_eq!(m.frames.heap().first(12, 11), Some(Mfn(2048)), "one block again");
    assert!(!m.journal(0).change(|tx| m.frames.settle(tx, 64)), "none is loose");
}

/// Single frames come from where no block is to be split, below an address width as well.
#[test]
fn loose_frames_are_taken_first() {
    let m = Machine::new(1024);
    let low = m.journal(0).transaction(|tx| m.frames.allocate(tx, D, 0, 23)).expect("memory");
    let high = m.allocate(0, D, 0).expect("memory");
    m.put(0, low);
    m.put(0, high);
    assert_eq!(m.allocate(1, D, 0), Ok(high));
    assert_eq!(m.journal(1).transaction(|tx| m.frames.allocate(tx, D, 0, 23)), Ok(low));
    m.audit().expect("lists");
}

/// Large extents are got and given up in single frames again and again, by two CPUs that crash all the time. Each is
/// refused only if there is no block; at the end there are as large ones as in the beginning.
#[test]
fn large_extents_leave_neither_fragments_nor_losses() {
    quiet();
    let mut m = Machine::new(2048);
    let largest = m.frames.heap().first(12, 11);
    let all = m.free();
    let staging = Staging::carve(&mut vault::Arena::leak(4096), 1).expect("room");
    let staged = staging.of(VcpuSlot(0));
    let mut r = 0x9e37_79b9_7f4a_7c15;
    let mut crashed = 0;
    // Runs it until it was done, whatever crashes.
    let mut again = |m: &mut Machine, r: &mut u64, done: &dyn Fn(&Machine) -> bool, f: &dyn Fn(&Machine)| {
        while !done(m) {
            if crashes(1 + next(r) % 400, || f(m)) {
                crashed += 1;
                *m = carve(m.ground);
                m.logs.iter().for_each(|log| log.roll_back(&mut Effects(m.frames)));
                m.logs.iter().for_each(|log| log.drain(&mut Effects(m.frames)));
            }
        }
    };
    for round in 0..40 {
        // One frame is held meanwhile: two blocks of order 9 besides its own are always there.
        let other = m.allocate(1, DomainSlot(2), 0).expect("memory");
        again(&mut m, &mut r, &|_| staged.is_active(), &|m| {
            settle(m, 0, 9);
            let got = m.journal(0).transaction(|tx| m.frames.stage(tx, staged, (D, 9, false), 64));
            assert_eq!(got, Ok(()), "round {round}");
        });
        let first = staged.first().0;
        again(&mut m, &mut r, &|_| !staged.is_active(), &|m| {
            while m.journal(0).transaction(|tx| m.frames.hand_piece(tx, staged)).is_ok() {}
        });
        for at in 0..512 {
            let mfn = Mfn(first + at * 205 % 512);
            let free = |m: &Machine| m.frames.frame(mfn).is_some_and(|f| f.usage().owner() == Owner::FREE);
            again(&mut m, &mut r, &free, &|m| m.put(0, mfn));
        }
        m.put(1, other);
        m.audit().unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(m.free(), all);
    }
    assert!(crashed > 500, "{crashed} crashes");
    settle(&m, 0, 11);
    assert_eq!(m.frames.heap().first(12, 11), largest, "one block again");
}

/// What is left of a block joins what the guest freed of it meanwhile.
#[test]
fn an_abandoned_block_is_whole_again() {
    let m = Machine::new(2048);
    let staging = Staging::carve(&mut vault::Arena::leak(4096), 1).expect("room");
    let staged = staging.of(VcpuSlot(0));
    m.journal(0).transaction(|tx| m.frames.stage(tx, staged, (D, 11, false), 64)).expect("memory");
    for _ in 0..5 {
        let first = m.journal(0).transaction(|tx| m.frames.hand_piece(tx, staged)).expect("a block");
        (0..64).for_each(|at| m.put(0, Mfn(first.0 + at)));
    }
    settle(&m, 0, 11);
    m.journal(0).change(|tx| m.frames.unstage(tx, staged));
    m.audit().expect("lists");
    assert_eq!(m.frames.heap().first(12, 11), Some(Mfn(2048)));
}

#[test]
fn a_crash_at_every_step_is_undone_or_finished() {
    quiet();
    let mut total = 0;
    for seed in 1..4u64 {
        let mut r = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut m = Machine::new(1);
        let mut held = Vec::new();
        for step in 0..60 {
            let op = random_op(&mut r, &held);
            let saved = m.save();
            for at in 1.. {
                m = m.restored(&saved);
                if !crashes(at, || drop(run(&m, 0, op))) {
                    break;
                }
                total += 1;
                let restart = |m: &Machine| {
                    m.logs[0].roll_back(&mut Effects(m.frames));
                    m.logs[0].drain(&mut Effects(m.frames));
                };
                m = carve(m.ground);
                if crashes(1 + next(&mut r) % 10, || restart(&m)) {
                    m = carve(m.ground);
                    restart(&m);
                }
                m.audit().unwrap_or_else(|e| panic!("seed {seed} step {step} {op:?} crash {at}: {e}"));
            }
            m = m.restored(&saved);
            let got = run(&m, 0, op);
            if let Op::Put(mfn) = op {
                held.retain(|m| *m != mfn);
            }
            held.extend(got);
        }
    }
    assert!(total > 1000, "{total} crashes");
}

/// Both CPUs stop while frames go back to the heap: one before its outbox, one in the consequences of its
/// last reference. Recovery rolls all logs back first and takes up unfinished consequences before any
/// other effect, for those read the lists that the consequences have half written.
#[test]
fn two_processors_stop_at_once() {
    quiet();
    let mut m = Machine::new(1);
    let held: Vec<Mfn> = (0..4).map(|_| m.allocate(0, D, 0).expect("memory")).collect();
    let saved = m.save();
    let (mut both, mut wrong_order) = (0, 0);
    for (first, second) in (1..40).flat_map(|a| (1..40).map(move |b| (a, b))) {
        for in_order in [true, false] {
            m = m.restored(&saved);
            let free = m.free();
            let stopped = crashes(first, || m.put(1, held[1]));
            if !stopped || m.locks.heap.is_held() || m.locks.lists.iter().any(vault::LockWord::is_held) {
                continue;
            }
            if !crashes(second, || m.put(0, held[2])) {
                continue;
            }
            both += 1;
            m = carve(m.ground);
            m.logs.iter().for_each(|log| log.roll_back(&mut Effects(m.frames)));
            let gone = m.logs.iter().filter(|l| l.head().phase() == Phase::Outbox).count() as u64;
            let mut order = [&m.logs[1], &m.logs[0]];
            if in_order {
                order.sort_by_key(|log| log.head().chained() == 0);
            }
            order.iter().for_each(|log| log.drain(&mut Effects(m.frames)));
            let right =
                m.audit().and_then(|()| if m.free() >= free + gone { Ok(()) } else { Err("free".into()) });
            if in_order {
                right.unwrap_or_else(|e| panic!("{first} {second}: {e}"));
            } else if right.is_err() {
                wrong_order += 1;
            }
        }
    }
    assert!(both > 40, "{both} double stops");
    assert!(wrong_order > 0, "the order of recovery matters");
}

/// A reference that recovery undoes after all others went leaves its frame to nobody; that can be mended.
#[test]
fn a_frame_left_to_nobody_is_collected() {
    let m = Machine::new(1);
    let (free, mfn) = (m.free(), m.allocate(0, D, 0).expect("memory"));
    let collect = |mfn| m.journal(0).change(|tx| m.frames.collect(tx, mfn));
    assert!(!collect(mfn), "allocated");
    quiet();
    assert!(crashes(u64::MAX, || {
        m.journal(0).change(|tx| {
            m.frames.get_ref(tx, mfn, Owner::domain(D)).expect("allocated");
            m.put(1, mfn);
            panic_any(Crash);
        })
    }));
    m.logs[0].roll_back(&mut Effects(m.frames));
    assert!(m.audit().is_err());
    let found = || (0..vault::MAX_UNDO).filter_map(|index| m.logs[0].changed_word(index));
    assert_eq!(found().filter_map(|address| m.frames.lost_at(address)).next(), Some(mfn));
    assert!(collect(mfn));
    m.audit().expect("mended");
    assert_eq!(m.free(), free);
    assert!(!collect(mfn), "free");
    assert_eq!(found().find_map(|address| m.frames.lost_at(address)), None);
}

/// Writable references of two processors commute, whichever of them is undone.
#[test]
fn an_undone_writable_reference_takes_nobody_elses_along() {
    let m = Machine::new(1);
    let mfn = m.allocate(0, D, 0).expect("memory");
    let owner = Owner::domain(D);
    let get = |cpu: usize| {
        m.journal(cpu)
            .transaction(|tx| m.frames.get_typed(tx, mfn, owner, Kind::Writable).map(drop))
            .expect("a page");
    };
    let usage = || m.frames.frame(mfn).expect("a frame").usage();
    let undone: Result<(), ()> = m.journal(0).transaction(|tx| {
        let _ = m.frames.get_typed(tx, mfn, owner, Kind::Writable);
        get(1);
        Err(())
    });
    assert!(undone.is_err());
    assert_eq!((usage().kind(), usage().typed()), (Kind::Writable, 1));
    get(1);
    let undone: Result<(), ()> = m.journal(0).transaction(|tx| {
        let _ = m.frames.get_typed(tx, mfn, owner, Kind::Writable);
        m.journal(1).change(|tx| {
            tx.publish(Frames::put_typed(mfn));
            tx.publish(Frames::put_typed(mfn));
        });
        Err(())
    });
    assert!(undone.is_err());
    assert_eq!(usage().typed(), 0);
    let begun = m.journal(0).transaction(|tx| m.frames.begin_work(tx, mfn, owner, Kind::L1));
    assert_eq!(begun, Ok(()), "free for another use");
}
