//! Records go in and come out as a reader of `trace.h` takes them, whatever is lost in between.

use guest_memory::{FakeMemory, GuestMemory};
use ids::{CpuId, Maddr, Mfn};
use trace_buffers::{Record, Region, Stage, Written};
use vault::{Apply, Effect, Ground, Journal, LockWord, Once};
use xen_abi::trace::{
    TRC_HD_CYCLE_FLAG, TRC_LOST_RECORDS, TRC_PV_TRAP, TRC_SCHED_WAKE, TRC_TRACE_WRAP_BUFFER,
};

const CPU: CpuId = CpuId(1);
const EACH: u32 = 2;
const ROOM: u32 = EACH * 4096 - 8;
const TABLE: Mfn = Mfn(1);
/// The second CPU's buffer, its frames in the wrong order.
const FIRST: Mfn = Mfn(7);
const SECOND: Mfn = Mfn(4);

struct Nothing;

impl Apply for Nothing {
    fn apply(&mut self, _: &Effect, _: &mut Once<'_, '_>) {}
}

struct World {
    memory: FakeMemory,
    region: Region,
    ground: Ground,
}

impl World {
    fn new() -> Self {
        let ground = Ground::leak(64 << 10);
        let mut world = World { memory: FakeMemory::new(16), region: carve(ground), ground };
        world.change(|region, tx| {
            let buffers = region.buffers();
            tx.set(&buffers.frames, EACH);
            tx.set(&buffers.table, TABLE.0);
            tx.set(&buffers.stage, Stage::Ready as u8);
            tx.set(&buffers.on, true);
        });
        let frames = world.region.frames();
        frames.write_head(&world.memory, TABLE);
        for (index, mfn) in [Mfn(9), Mfn(10), FIRST, SECOND].into_iter().enumerate() {
            world.memory.store32(frames.place(TABLE, index as u32), mfn.0 as u32);
        }
        assert!(world.region.follow());
        world
    }

    fn change(&mut self, change: impl FnOnce(&Region, &mut vault::Tx<'static>)) {
        let log = Box::leak(Box::new(Ground::leak(256 << 10))).arena().carve(1).and_then(|logs| logs.first());
        let mut journal = Journal::beside(log.expect("room"), Nothing, 1);
        journal.log().begin();
        journal.change(|tx| change(&self.region, tx));
        journal.log().end();
    }

    fn word(&self, offset: u64) -> u32 {
        self.memory.load32(Maddr(FIRST.maddr().0 + offset))
    }

    fn write(&self, event: u32, words: &[u32], now: u64) -> Written {
        self.region.write(&self.memory, CPU, [5, 2], now, &Record::new(event, Some(now), words))
    }

    /// The word at a place of the room.
    fn data(&self, at: u32) -> u32 {
        let at = u64::from(at % ROOM) + 8;
        let frame = if at < 4096 { FIRST } else { SECOND };
        self.memory.load32(Maddr(frame.maddr().0 + at % 4096))
    }

    /// Takes a record out, as `xentrace` and `xenalyze` do.
    fn take(&self) -> Option<(u32, Option<u64>, Vec<u32>)> {
        let (cons, prod) = (self.word(0), self.word(4));
        if cons == prod {
            return None;
        }
        let head = self.data(cons);
        let timed = head & TRC_HD_CYCLE_FLAG != 0;
        let own = head >> 28 & 7;
        let first = if timed { 3 } else { 1 };
        let time = timed.then(|| u64::from(self.data(cons + 4)) | u64::from(self.data(cons + 8)) << 32);
        let words = (0..own).map(|index| self.data(cons + 4 * (first + index))).collect();
        let bytes = 4 * (first + own);
        assert!(cons % ROOM + bytes <= ROOM, "in one piece");
        self.memory.store32(FIRST.maddr(), (cons + bytes) % (2 * ROOM));
        Some((head & 0xfff_ffff, time, words))
    }
}

fn carve(ground: Ground) -> Region {
    let lock = Box::leak(Box::new(LockWord::new()));
    Region::carve(&mut ground.arena(), 2, lock).expect("room")
}

#[test]
fn records_come_out_as_they_went_in() {
    let world = World::new();
    let mut expected = 0_u32;
    let mut wraps = 0;
    for round in 0..2000_u32 {
        let words: Vec<u32> = (0..round % 8).map(|index| round + index).collect();
        assert_eq!(world.write(TRC_SCHED_WAKE, &words, round.into()), Written::Quietly);
        while let Some((event, time, words)) = world.take() {
            if event == TRC_TRACE_WRAP_BUFFER {
                wraps += 1;
                continue;
            }
            assert_eq!((event, time), (TRC_SCHED_WAKE, Some(expected.into())));
            assert_eq!(words, (0..expected % 8).map(|index| expected + index).collect::<Vec<_>>());
            expected += 1;
        }
    }
    assert_eq!(expected, 2000);
    assert!(wraps > 3, "{wraps}");
}

#[test]
fn what_finds_no_room_is_counted() {
    let world = World::new();
    let bytes = 4 * 4;
    let fit = ROOM / bytes;
    let mut half = 0;
    for now in 0..fit + 10 {
        let written = world.write(TRC_SCHED_WAKE, &[now], now.into());
        half += u32::from(written == Written::HalfFull);
    }
    assert_eq!(half, 1, "told once");
    for _ in 0..fit {
        assert_eq!(world.take().expect("one").0, TRC_SCHED_WAKE);
    }
    assert_eq!(world.take(), None);
    world.write(TRC_SCHED_WAKE, &[], 5000);
    let mut said = Vec::from_iter(std::iter::from_fn(|| world.take()));
    said.retain(|record| record.0 != TRC_TRACE_WRAP_BUFFER);
    let lost = (TRC_LOST_RECORDS, Some(5000), vec![10, 5 | 2 << 16, fit, 0]);
    assert_eq!(said, [lost, (TRC_SCHED_WAKE, Some(5000), vec![])]);
}

#[test]
fn a_new_life_says_that_records_are_missing() {
    let world = World::new();
    world.write(TRC_SCHED_WAKE, &[1], 7);
    // The image's variables are gone, the vault and the buffers are not.
    let region = carve(world.ground);
    assert!(!region.is_on());
    assert!(region.resume(9));
    region.write(&world.memory, CPU, [5, 2], 11, &Record::new(TRC_SCHED_WAKE, Some(11), &[]));
    let said: Vec<u32> = std::iter::from_fn(|| world.take()).map(|record| record.0).collect();
    assert_eq!(said, [TRC_SCHED_WAKE, TRC_LOST_RECORDS, TRC_SCHED_WAKE]);
}

#[test]
fn masks_are_followed() {
    let mut world = World::new();
    world.change(|region, tx| region.set_mask(tx, 0x2_8000));
    world.write(TRC_PV_TRAP, &[], 0);
    assert_eq!(world.take(), None);
    world.change(|region, tx| region.set_cpus(tx, |cpu| cpu != CPU));
    world.write(TRC_SCHED_WAKE, &[], 0);
    assert_eq!(world.take(), None);
    world.change(|region, tx| region.set_cpus(tx, |_| true));
    world.write(TRC_SCHED_WAKE, &[], 0);
    assert!(world.take().is_some());
    world.change(|region, tx| tx.set(&region.buffers().on, false));
    assert!(!world.region.follow());
    world.write(TRC_SCHED_WAKE, &[], 0);
    assert_eq!(world.take(), None);
}

#[test]
fn nonsense_ends_it() {
    for (cons, prod) in [(2, 0), (0, 2 * ROOM), (2 * ROOM, 0), (8, 4), (0, ROOM + 4), (u32::MAX, u32::MAX)] {
        let world = World::new();
        world.memory.store32(FIRST.maddr(), cons);
        world.memory.store32(Maddr(FIRST.maddr().0 + 4), prod);
        let said = world.write(TRC_SCHED_WAKE, &[], 0);
        // Further behind than the room is nonsense too.
        assert_eq!(said, Written::Nonsense, "{cons} {prod}");
        assert!(!world.region.is_on());
    }
}
