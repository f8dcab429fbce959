//! A record goes into its CPU's buffer.

use crate::record::{MOST_WORDS, Record, halves};
use crate::{Lost, Region};
use core::sync::atomic::Ordering;
use guest_memory::GuestMemory;
use ids::{CpuId, Maddr, Mfn};
use xen_abi::trace::{TRACE_EXTRA_MAX, TRC_LOST_RECORDS, TRC_TRACE_WRAP_BUFFER};

/// Offsets of a buffer's two words, and of what follows them.
const CONS: u64 = 0;
const PROD: u64 = 4;
const DATA: u32 = 8;

/// Bytes of a record that says how many were lost.
const LOST_BYTES: u32 = 4 * 7;

/// What came of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Nothing that anybody need know.
    Quietly,
    /// The buffer is half full now: Dom0 is to be told.
    HalfFull,
    /// Dom0 wrote nonsense to the buffer's two words: nothing is noted any more.
    Nonsense,
}

/// A buffer while a record is written to it.
struct Ring<'a, M> {
    region: &'a Region,
    memory: &'a M,
    cpu: CpuId,
    /// The first frame.
    head: Mfn,
    /// Bytes that it holds.
    room: u32,
    /// Written and read, modulo twice the room.
    prod: u32,
    cons: u32,
}

impl Region {
    /// Notes an event on a CPU, the caller's own, if it is wanted. `current`: number of the domain and of the vCPU that
    /// the CPU has.
    #[cold]
    pub fn write<M: GuestMemory>(
        &self,
        memory: &M,
        cpu: CpuId,
        current: [u16; 2],
        now: u64,
        record: &Record,
    ) -> Written {
        let Some(lost) = self.lost.get(cpu.0 as usize).filter(|_| self.is_on()) else {
            return Written::Quietly;
        };
        if !self.is_wanted(cpu, record.event()) {
            return Written::Quietly;
        }
        let Some(mut ring) = Ring::open(self, memory, cpu) else {
            self.on.store(false, Ordering::Relaxed);
            return Written::Nonsense;
        };
        let (before, half) = (ring.used(), ring.room / 2);
        let missing = lost.count.load(Ordering::Relaxed);
        if !ring.has_room(missing != 0, record.bytes()) {
            lost.more(now);
            return Written::Quietly;
        }
        if missing != 0 {
            let [domain, vcpu] = current.map(u32::from);
            let [low, high] = halves(lost.first.load(Ordering::Relaxed));
            let words = [missing, domain | vcpu << 16, low, high];
            ring.put(&Record::new(TRC_LOST_RECORDS, Some(now), &words));
            lost.count.store(0, Ordering::Relaxed);
        }
        ring.put(record);
        if before < half && ring.used() >= half { Written::HalfFull } else { Written::Quietly }
    }
}

impl Lost {
    fn more(&self, now: u64) {
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            self.first.store(now, Ordering::Relaxed);
        }
        self.count.store(count.saturating_add(1), Ordering::Relaxed);
    }
}

impl<'a, M: GuestMemory> Ring<'a, M> {
    /// `None`: its two words cannot be.
    fn open(region: &'a Region, memory: &'a M, cpu: CpuId) -> Option<Self> {
        let head = region.frame(memory, cpu, 0);
        let word = |offset| memory.load32(Maddr(head.maddr().0 + offset));
        let (prod, cons, room) = (word(PROD), word(CONS), region.frames().room());
        let ring = Self { region, memory, cpu, head, room, prod, cons };
        let can_be = |at: u32| at.is_multiple_of(4) && at < 2 * room;
        (room != 0 && can_be(prod) && can_be(cons) && ring.used() <= room).then_some(ring)
    }

    /// Bytes that nobody has read.
    fn used(&self) -> u32 {
        let ahead = self.prod.wrapping_sub(self.cons);
        if self.prod < self.cons { ahead.wrapping_add(2 * self.room) } else { ahead }
    }

    /// Where in the room the next byte goes.
    fn at(&self) -> u32 {
        if self.prod < self.room { self.prod } else { self.prod - self.room }
    }

    /// Whether there is room for a record, after one that says how many were lost, each in one piece.
    fn has_room(&self, lost: bool, bytes: u32) -> bool {
        let (mut at, mut needed) = (self.at(), 0);
        for piece in [if lost { LOST_BYTES } else { 0 }, bytes] {
            let left = self.room - at;
            let skipped = if piece > left { left } else { 0 };
            needed += skipped + piece;
            at = (at + skipped) % self.room + piece;
            at %= self.room;
        }
        needed <= self.room - self.used()
    }

    /// Writes a record, from the beginning again if it does not fit in before the end.
    fn put(&mut self, record: &Record) {
        let left = self.room - self.at();
        if record.bytes() > left {
            // As many words as are left, a time among them if there are too many.
            let after_head = (left / 4 - 1) as usize;
            let time = (after_head > TRACE_EXTRA_MAX as usize).then_some(0);
            let own = after_head - if time.is_some() { 2 } else { 0 };
            self.put_whole(&Record::new(TRC_TRACE_WRAP_BUFFER, time, &[0; MOST_WORDS][..own]));
        }
        self.put_whole(record);
    }

    fn put_whole(&mut self, record: &Record) {
        let mut page = None;
        for (word, at) in record.words().iter().zip((self.at() + DATA..).step_by(4)) {
            let index = at >> ids::FRAME_SHIFT;
            let frame = match page {
                Some((known, frame)) if known == index => frame,
                _ => self.region.frame(self.memory, self.cpu, index),
            };
            page = Some((index, frame));
            self.memory.store32(Maddr(frame.maddr().0 + u64::from(at) % ids::FRAME_SIZE), *word);
        }
        self.prod += record.bytes();
        if self.prod >= 2 * self.room {
            self.prod -= 2 * self.room;
        }
        // Stores are seen in order: who reads this finds the record.
        self.memory.store32(Maddr(self.head.maddr().0 + PROD), self.prod);
    }
}
