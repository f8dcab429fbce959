//! Which CPU wakes for which vCPU: one exact queue of deadlines per CPU. Derived from the records.

use crate::record::Region;
use crate::{Error, Timers};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use ids::{CpuId, VcpuSlot};
use spin::Mutex;
use vault::LockWord;

/// Not in a queue.
const NOWHERE: u32 = u32::MAX;

/// The derived state: locks, and a binary heap of deadlines per CPU.
#[derive(Debug)]
pub struct Derived {
    vcpus: Box<[Place]>,
    queues: Box<[Mutex<Vec<Entry>>]>,
    /// Covers the wall clock.
    pub(crate) clock: LockWord,
}

#[derive(Debug)]
struct Place {
    lock: LockWord,
    /// The CPU whose queue it belongs to. Changed under both queues' locks.
    home: AtomicU32,
    /// Its index in that queue's heap. Covered by the queue's lock.
    index: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    vcpu: u32,
}

/// Makes the derived state for a region and `cpus` CPUs (at least one); `home` names each vCPU's CPU.
pub fn rebuild(region: &Region, cpus: u32, home: impl Fn(VcpuSlot) -> CpuId) -> Derived {
    let cpus = cpus.max(1);
    let place = |slot: u32| Place {
        lock: LockWord::new(),
        home: AtomicU32::new(home(VcpuSlot(slot)).0.min(cpus - 1)),
        index: AtomicU32::new(NOWHERE),
    };
    let derived = Derived {
        vcpus: (0..region.vcpus.len() as u32).map(place).collect(),
        queues: (0..cpus).map(|_| Mutex::new(Vec::new())).collect(),
        clock: LockWord::new(),
    };
    for slot in 0..region.vcpus.len() as u32 {
        derived.update(region, VcpuSlot(slot));
    }
    derived
}

impl Derived {
    pub(crate) fn vcpu(&self, slot: VcpuSlot) -> Result<&LockWord, Error> {
        self.vcpus.get(slot.0 as usize).map(|place| &place.lock).ok_or(Error::NoSuchVcpu)
    }

    /// Brings a vCPU's place up to date with its record. Returns its CPU if that has another earliest deadline
    /// now.
    fn update(&self, region: &Region, slot: VcpuSlot) -> Option<CpuId> {
        let place = self.vcpus.get(slot.0 as usize)?;
        loop {
            let home = place.home.load(Ordering::Acquire);
            let mut heap = self.queues.get(home as usize)?.lock();
            // Acquire: pairs with the store in `set_home`, made under this lock.
            if place.home.load(Ordering::Acquire) == home {
                let before = heap.first().map(|entry| entry.at);
                self.put(&mut heap, slot.0, region.earliest_of(slot));
                let changed = heap.first().map(|entry| entry.at) != before;
                return changed.then_some(CpuId(home));
            }
        }
    }

    /// Puts a vCPU into a heap, moves it there, or takes it out (`u64::MAX`).
    fn put(&self, heap: &mut Vec<Entry>, vcpu: u32, at: u64) {
        let index = self.vcpus[vcpu as usize].index.load(Ordering::Relaxed);
        if let [only] = &mut heap[..]
            && index == 0
            && at != u64::MAX
        {
            only.at = at;
            return;
        }
        if index != NOWHERE {
            let index = index as usize;
            let last = heap.len() - 1;
            heap.swap(index, last);
            heap.pop();
            self.vcpus[vcpu as usize].index.store(NOWHERE, Ordering::Relaxed);
            if index < heap.len() {
                self.note(heap, index);
                let risen = self.rise(heap, index);
                self.sink(heap, risen);
            }
        }
        if at != u64::MAX {
            heap.push(Entry { at, vcpu });
            let index = heap.len() - 1;
            self.note(heap, index);
            self.rise(heap, index);
        }
    }

    fn note(&self, heap: &[Entry], index: usize) {
        self.vcpus[heap[index].vcpu as usize].index.store(index as u32, Ordering::Relaxed);
    }

    fn exchange(&self, heap: &mut [Entry], a: usize, b: usize) {
        heap.swap(a, b);
        self.note(heap, a);
        self.note(heap, b);
    }

    fn rise(&self, heap: &mut [Entry], mut index: usize) -> usize {
        while index > 0 && heap[index].at < heap[(index - 1) / 2].at {
            self.exchange(heap, index, (index - 1) / 2);
            index = (index - 1) / 2;
        }
        index
    }

    fn sink(&self, heap: &mut [Entry], mut index: usize) {
        loop {
            let children = (2 * index + 1..2 * index + 3).filter(|child| *child < heap.len());
            let Some(least) = children.min_by_key(|child| heap[*child].at) else { return };
            if heap[index].at <= heap[least].at {
                return;
            }
            self.exchange(heap, index, least);
            index = least;
        }
    }

    /// The earliest deadline of a CPU's vCPUs; `u64::MAX` when there is none.
    pub fn earliest(&self, cpu: CpuId) -> u64 {
        self.first(cpu).map_or(u64::MAX, |entry| entry.at)
    }

    fn first(&self, cpu: CpuId) -> Option<Entry> {
        self.queues.get(cpu.0 as usize)?.lock().first().copied()
    }

    /// Whether every vCPU is where its record wants it, and every heap in order.
    pub(crate) fn agrees_with(&self, region: &Region) -> bool {
        let mut found = 0;
        for (cpu, queue) in self.queues.iter().enumerate() {
            let heap = queue.lock();
            for (index, entry) in heap.iter().enumerate() {
                let Some(place) = self.vcpus.get(entry.vcpu as usize) else { return false };
                let here = place.home.load(Ordering::Relaxed) as usize == cpu
                    && place.index.load(Ordering::Relaxed) as usize == index;
                let ordered = index == 0 || heap[(index - 1) / 2].at <= entry.at;
                if !here || !ordered || region.earliest_of(VcpuSlot(entry.vcpu)) != entry.at {
                    return false;
                }
                found += 1;
            }
        }
        let armed = |slot: &u32| region.earliest_of(VcpuSlot(*slot)) != u64::MAX;
        found == (0..region.vcpus.len() as u32).filter(armed).count()
    }
}

impl Timers<'_> {
    /// Applies a `kind::TIMER` effect: the vCPU's place follows its record. Returns the CPU whose earliest
    /// deadline has changed and whose timer the caller sets again, if there is one.
    pub fn apply(&self, slot: VcpuSlot) -> Option<CpuId> {
        self.derived.update(&self.region, slot)
    }

    /// A vCPU whose deadline on `cpu` has come at `now`: [`fire`](Self::fire) it and ask again.
    pub fn due(&self, cpu: CpuId, now: u64) -> Option<VcpuSlot> {
        self.derived.first(cpu).filter(|entry| entry.at <= now).map(|entry| VcpuSlot(entry.vcpu))
    }

    /// The CPU that wakes for this vCPU: its own, or the last one that it had.
    pub fn home(&self, slot: VcpuSlot) -> CpuId {
        CpuId(self.derived.vcpus.get(slot.0 as usize).map_or(0, |place| place.home.load(Ordering::Relaxed)))
    }

    /// From now on `cpu` wakes for this vCPU. Unknown CPUs change nothing.
    #[inline]
    pub fn set_home(&self, slot: VcpuSlot, cpu: CpuId) {
        if self.home(slot) != cpu {
            self.move_home(slot, cpu);
        }
    }

    #[inline(never)]
    fn move_home(&self, slot: VcpuSlot, cpu: CpuId) {
        let derived = self.derived;
        let Some(place) = derived.vcpus.get(slot.0 as usize) else { return };
        loop {
            let old = place.home.load(Ordering::Acquire);
            let (Some(from), Some(to)) =
                (derived.queues.get(old as usize), derived.queues.get(cpu.0 as usize))
            else {
                return;
            };
            if old == cpu.0 {
                return;
            }
            let (mut low, mut high) = if old < cpu.0 {
                let low = from.lock();
                (low, to.lock())
            } else {
                let low = to.lock();
                (low, from.lock())
            };
            if place.home.load(Ordering::Acquire) != old {
                continue;
            }
            let (source, target) = if old < cpu.0 { (&mut low, &mut high) } else { (&mut high, &mut low) };
            derived.put(source, slot.0, u64::MAX);
            // Release: pairs with `update`.
            place.home.store(cpu.0, Ordering::Release);
            derived.put(target, slot.0, self.region.earliest_of(slot));
            return;
        }
    }
}
