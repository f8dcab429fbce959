//! Buffers of events, one for each CPU, which Dom0's `xentrace` maps and empties (public/trace.h).
//!
//! A CPU writes to its own buffer alone, with plain stores, and says last how far it got: a record that a crash cut is
//! not there. While nothing is noted, all that is left of it is one test ([`Region::is_on`]).
//!
//! State class: which buffers there are, and what goes in, is durable ([`Buffers`]). What is in them, and how far
//! writer and reader got, is kept aside in their frames: a microreboot leaves it, and the next record of each CPU says
//! that records were lost before it. `prod` and `cons` are Dom0's to write: what they say is checked each time.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod frames;
mod record;
mod ring;
mod wanted;

pub use frames::{Frames, MOST_INFO_FRAMES};
pub use record::{Record, hypercall, packed};
pub use ring::Written;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use ids::{CpuId, Mfn};
use vault::{Arena, Durable, LockWord, Tx, record};

record! {
    /// Which buffers there are, and what goes in.
    ///
    /// Lock: `Region::lock`. Rebuild: [`Region::follow`].
    pub struct Buffers {
        /// Frames of each CPU's buffer; 0: there are none.
        pub frames: Durable<u32>,
        /// First frame of the table that says where they are; 0: none.
        pub table: Durable<u64>,
        /// Frames that all buffers have together by now, as the table says.
        pub taken: Durable<u32>,
        /// One of [`Stage`].
        pub stage: Durable<u8>,
        /// Events are noted.
        pub on: Durable<bool>,
        /// Bits of `TRC_ALL` that the mask of events differs in.
        pub unusual: Durable<u32>,
    }
}

record! {
    /// A CPU's part.
    ///
    /// Lock: `Region::lock`. Rebuild: nothing is derived.
    pub struct CpuBuffer {
        /// Nothing of this CPU is noted.
        pub left_out: Durable<bool>,
    }
}

/// How far buffers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// There are none.
    None = 0,
    /// They get their frames.
    Growing = 1,
    /// There was no memory for all: they lose their frames.
    Shrinking = 2,
    /// They are there for good.
    Ready = 3,
}

/// Records that found no room. Its CPU's own.
#[derive(Debug, Default)]
struct Lost {
    count: AtomicU32,
    first: AtomicU64,
}

/// All of it.
#[derive(Debug)]
pub struct Region {
    buffers: &'static Buffers,
    cpus: &'static [CpuBuffer],
    /// Covers the records. Derived: free after a start.
    pub lock: &'static LockWord,
    /// Whether events are noted. Derived.
    on: AtomicBool,
    /// By CPU. Derived: after a start each CPU has lost one, or more.
    lost: Box<[Lost]>,
    /// By CPU. Derived: after a start nobody is known to run.
    running: Box<[Running]>,
}

/// Whom a CPU was last said to run.
#[derive(Debug, Default)]
struct Running {
    who: AtomicU32,
    since: AtomicU64,
}

/// For [`Region::runs`]: nobody is known to run.
pub const NOBODY: u32 = 0;

impl core::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Buffers({} frames, stage {}, on {})", self.frames.get(), self.stage.get(), self.on.get())
    }
}

impl core::fmt::Debug for CpuBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CpuBuffer(left out {})", self.left_out.get())
    }
}

impl Buffers {
    /// Whether they are there, for good.
    pub fn are_ready(&self) -> bool {
        self.stage.get() == Stage::Ready as u8
    }
}

impl Region {
    /// Carves the region out; `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, cpus: usize, lock: &'static LockWord) -> Option<Self> {
        let buffers = arena.carve::<Buffers>(1)?.first()?;
        Some(Self {
            buffers,
            cpus: arena.carve(cpus)?,
            lock,
            on: AtomicBool::new(false),
            lost: (0..cpus).map(|_| Lost::default()).collect(),
            running: (0..cpus).map(|_| Running::default()).collect(),
        })
    }

    /// The record of all buffers.
    pub fn buffers(&self) -> &'static Buffers {
        self.buffers
    }

    /// CPUs that there are buffers for.
    pub fn cpus(&self) -> u32 {
        self.cpus.len() as u32
    }

    /// Whether events are noted.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Notes events, or not, as the durable word says: by the effect of whoever changed it.
    pub fn follow(&self) -> bool {
        let on = self.buffers.on.get() && self.buffers.are_ready();
        if !on {
            self.lost.iter().for_each(|lost| lost.count.store(0, Ordering::Relaxed));
            self.running.iter().for_each(|running| running.who.store(NOBODY, Ordering::Relaxed));
        }
        self.on.store(on, Ordering::Relaxed);
        on
    }

    /// The same for a new life, which does not know what the last one was about to note.
    pub fn resume(&self, now: u64) -> bool {
        let on = self.follow();
        for lost in self.lost.iter().filter(|_| on) {
            lost.count.store(1, Ordering::Relaxed);
            lost.first.store(now, Ordering::Relaxed);
        }
        on
    }

    /// Whom a CPU was last said to run, and since when: the caller's numbers, [`NOBODY`] at first.
    pub fn running(&self, cpu: CpuId) -> (u32, u64) {
        let running = self.running.get(cpu.0 as usize);
        running.map_or((NOBODY, 0), |running| {
            (running.who.load(Ordering::Relaxed), running.since.load(Ordering::Relaxed))
        })
    }

    /// It is said to run this one now.
    pub fn runs(&self, cpu: CpuId, who: u32, now: u64) {
        if let Some(running) = self.running.get(cpu.0 as usize) {
            running.who.store(who, Ordering::Relaxed);
            running.since.store(now, Ordering::Relaxed);
        }
    }

    /// How far buffers are made.
    pub fn stage(&self) -> Stage {
        match self.buffers.stage.get() {
            1 => Stage::Growing,
            2 => Stage::Shrinking,
            3 => Stage::Ready,
            _ => Stage::None,
        }
    }

    /// The table that says where buffers are, once they are: first frame, frames.
    pub fn table(&self) -> Option<(Mfn, u32)> {
        self.buffers.are_ready().then(|| (Mfn(self.buffers.table.get()), self.frames().table))
    }

    /// Says which CPUs are looked at.
    pub fn set_cpus(&self, tx: &mut Tx<'static>, is_wanted: impl Fn(CpuId) -> bool) {
        tx.lock(self.lock);
        for (number, cpu) in (0..).zip(self.cpus) {
            let left_out = !is_wanted(CpuId(number));
            if cpu.left_out.get() != left_out {
                tx.set(&cpu.left_out, left_out);
            }
        }
    }
}
