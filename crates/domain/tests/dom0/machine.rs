//! A machine for the tests: dirty memory below and above 4 GiB, and effects applied as by a composition.

use boot_info::BootFacts;
use domain::dom0::{self, BuildError, Dom0, Dom0Inputs};
use domain::{Limits, State, Static};
use guest_memory::{FakeMemory, Fault, GuestMemory};
use ids::{Gva, Maddr, Mfn};
use pv_mmu::{AdBits, IoRanges, apply_pte};
use std::collections::BTreeMap;
use std::ops::Range;
use vault::{Apply, Arena, Effect, Journal, Once, Puts, kind};

/// Frame number of 4 GiB.
pub(crate) const HIGH: u64 = 1 << 20;
/// What memory holds before anybody writes to it.
const DIRT: u64 = 0xd1d1_d1d1_d1d1_d1d1;

static FACTS: BootFacts = BootFacts::EMPTY;

/// Memory from 0 and from 4 GiB.
#[derive(Debug)]
pub(crate) struct Memory {
    words: FakeMemory,
    low_frames: u64,
}

impl Memory {
    fn new(low_frames: u64, high_frames: u64) -> Self {
        let words = FakeMemory::new((low_frames + high_frames) as usize);
        for at in (0..(low_frames + high_frames) * 4096).step_by(8) {
            words.store64(Maddr(at), DIRT);
        }
        Self { words, low_frames }
    }

    fn at(&self, at: Maddr) -> Maddr {
        match at.0.checked_sub(HIGH << 12) {
            Some(offset) => Maddr((self.low_frames << 12) + offset),
            None => {
                assert!(at.0 < self.low_frames << 12, "{at} is no RAM");
                at
            }
        }
    }
}

impl GuestMemory for Memory {
    fn load64(&self, at: Maddr) -> u64 {
        self.words.load64(self.at(at))
    }
    fn store64(&self, at: Maddr, value: u64) {
        self.words.store64(self.at(at), value);
    }
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        self.words.exchange64(self.at(at), old, new)
    }
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        self.words.exchange32(self.at(at), old, new)
    }
    fn load32(&self, at: Maddr) -> u32 {
        self.words.load32(self.at(at))
    }
    fn store32(&self, at: Maddr, value: u32) {
        self.words.store32(self.at(at), value);
    }
    fn load8(&self, at: Maddr) -> u8 {
        self.words.load8(self.at(at))
    }
    fn store8(&self, at: Maddr, value: u8) {
        self.words.store8(self.at(at), value);
    }
    fn copy_in(&self, _: Gva, _: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }
    fn copy_out(&self, _: Gva, _: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }
}

/// What a composition does with effects.
pub(crate) struct Effects {
    frames: frames::Frames,
    memory: &'static Memory,
    pub(crate) m2p: BTreeMap<u64, u64>,
}

impl Apply for Effects {
    fn put_entries(&mut self, effect: &Effect, puts: &mut Puts<'_, '_>) {
        let (frames, memory) = (self.frames, self.memory);
        pv_mmu::apply_put_entries(&frames, memory, self, effect, puts);
    }

    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        match (effect.kind, effect.x) {
            (kind::PUT_REF, _) => self.frames.apply_put_ref(once, Mfn(effect.a)),
            (kind::PUT_TYPED, _) => self.frames.apply_put_typed(once, Mfn(effect.a)),
            (kind::VALID, what) => self.frames.apply_valid(once, Mfn(effect.a), what),
            (kind::PTE, x) => {
                let ad = if x == 1 { AdBits::Preserve } else { AdBits::Replace };
                apply_pte(self.memory, Maddr(effect.a), effect.b, ad, false);
            }
            (kind::GUEST_STORE, 8) => self.memory.store64(Maddr(effect.a), effect.b),
            (kind::GUEST_STORE, 4) => self.memory.store32(Maddr(effect.a), effect.b as u32),
            (kind::GUEST_STORE, _) => self.memory.store8(Maddr(effect.a), effect.b as u8),
            (kind::M2P, _) => drop(self.m2p.insert(effect.a, effect.b)),
            (kind::FLUSH, _) => {}
            other => panic!("effect {other:?}"),
        }
    }
}

/// The hypervisor's entries of root tables.
pub(crate) fn hypervisor_slots() -> [u64; 16] {
    core::array::from_fn(|slot| 0x7000_0000 + 0x1000 * slot as u64 + 0x63)
}

pub(crate) struct Machine {
    pub(crate) state: &'static State,
    pub(crate) memory: &'static Memory,
    pub(crate) journal: Journal<Effects>,
    pub(crate) lines: Vec<String>,
}

impl Machine {
    /// A machine whose free memory is `free` (frame numbers), with `kept` the hypervisor's; `budget`
    /// transactions.
    pub(crate) fn new(free: &[Range<u64>], kept: Range<u64>, budget: u32) -> Self {
        let end_of = |high: bool| {
            let ends = free.iter().chain([&kept]).map(|range| range.end).filter(|end| (*end > HIGH) == high);
            ends.max().unwrap_or(if high { HIGH } else { 0 })
        };
        let (low, high) = (end_of(false), end_of(true));
        let memory: &Memory = Box::leak(Box::new(Memory::new(low, high - HIGH)));
        let frames = if high > HIGH { high } else { low };
        let mut arena = Arena::leak(frames as usize * 24 + (4 << 20));
        let limits = Limits { frames: frames as usize, domains: 4, vcpus: 160, cpus: 1, port_chunks: 64 };
        let locks = Box::leak(Box::new(Static::new()));
        let state = State::carve(&mut arena, limits, locks, &FACTS, IoRanges::new(40), hypervisor_slots());
        let state: &State = Box::leak(Box::new(state.expect("the arena is large enough")));
        let effects = Effects { frames: state.frames, memory, m2p: BTreeMap::new() };
        let log = &state.logs[0];
        log.begin();
        let mut journal = Journal::new(log, effects, budget);
        for range in free {
            seed(state, &mut journal, range);
        }
        let mut at = kept.start;
        while at < kept.end {
            at += journal.change(|tx| state.frames.reserve_frames(tx, Mfn(at), Mfn(kept.end)));
        }
        Self { state, memory, journal, lines: Vec::new() }
    }

    pub(crate) fn build(&mut self, inputs: &Dom0Inputs<'_>) -> Result<Dom0, BuildError> {
        let lines = &mut self.lines;
        dom0::build(self.state, self.memory, &mut self.journal, inputs, &mut |line| lines.push(line.into()))
    }

    pub(crate) fn load_bytes(&self, at: Maddr, len: u64) -> Vec<u8> {
        (at.0..at.0 + len).map(|at| self.memory.load8(Maddr(at))).collect()
    }
}

fn seed(state: &State, journal: &mut Journal<Effects>, range: &Range<u64>) {
    let mut at = range.start;
    while at < range.end {
        at += journal.change(|tx| state.frames.seed_frames(tx, Mfn(at), Mfn(range.end)));
    }
    at = range.start;
    while at < range.end {
        at += journal.change(|tx| state.frames.seed_block(tx, Mfn(at), Mfn(range.end)));
    }
}
