//! What one L1 entry may map, and the reference it holds.

use crate::{Mmu, MmuError, Pte, Subject};
use frames::{FrameError, Frames, Got, Kind, Owner};
use guest_memory::GuestMemory;
use ids::Mfn;
use irqs::Tables;
use trace_buffers::Buffers;
use vault::{Effect, Tx};

/// Device frames that Dom0 may not map at all, or read-only: sorted by nothing, few. Immutable after boot, but that MSI-X
/// tables are looked up in their durable records.
#[derive(Debug, Clone)]
pub struct IoRanges {
    ranges: [(u64, u64, IoRule); 48],
    count: usize,
    max_mfn: u64,
    tables: Option<Tables>,
    /// Frames of the hypervisor's that Dom0 may read: the machine-to-physical table's.
    shown: (Mfn, Mfn),
    /// Trace buffers, which Dom0 may map once they are there.
    traces: Option<&'static Buffers>,
}

/// What is allowed on a device frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoRule {
    /// No mapping.
    Forbidden,
    /// Read-only mappings: an entry that asks for more gets less.
    ReadOnly,
    /// Any.
    Allowed,
}

impl IoRanges {
    /// Everything up to the physical address width is allowed.
    pub const fn new(address_bits: u32) -> Self {
        Self {
            ranges: [(0, 0, IoRule::Allowed); 48],
            count: 0,
            max_mfn: 1 << (address_bits - 12),
            tables: None,
            shown: (Mfn(1), Mfn(0)),
            traces: None,
        }
    }

    /// Frames of these tables are read-only too.
    pub const fn guard(&mut self, tables: Tables) {
        self.tables = Some(tables);
    }

    /// Dom0 may read the frames `first..=last`, which are the hypervisor's.
    pub const fn show(&mut self, first: Mfn, last: Mfn) {
        self.shown = (first, last);
    }

    /// Whether Dom0 may read a frame of the hypervisor's.
    pub fn is_shown(&self, mfn: Mfn) -> bool {
        (self.shown.0..=self.shown.1).contains(&mfn)
    }

    /// Dom0 may map trace buffers once these are there.
    pub const fn show_traces(&mut self, buffers: &'static Buffers) {
        self.traces = Some(buffers);
    }

    /// Whether Dom0 may map trace buffers: they are there for good.
    pub fn are_traces_shown(&self) -> bool {
        self.traces.is_some_and(Buffers::are_ready)
    }

    /// Whether an MSI-X table makes a frame read-only.
    pub fn is_guarded(&self, mfn: Mfn) -> bool {
        self.tables.is_some_and(|tables| tables.is_guarded(mfn))
    }

    /// Adds a rule for the frames `start..=last`. Returns false when the table is full.
    pub fn add(&mut self, start: Mfn, last: Mfn, rule: IoRule) -> bool {
        match self.ranges.get_mut(self.count) {
            Some(slot) => {
                *slot = (start.0, last.0, rule);
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// The lowest run of frames in `from..=last` that may not be mapped at all.
    pub fn forbidden_in(&self, from: Mfn, last: Mfn) -> Option<(Mfn, Mfn)> {
        let forbidden = || {
            let rules = self.ranges[..self.count].iter().filter(|r| r.2 == IoRule::Forbidden);
            rules.filter(|r| r.1 >= from.0 && r.0 <= last.0)
        };
        let start = forbidden().map(|r| r.0.max(from.0)).min()?;
        let mut end = start;
        // Ranges that overlap or touch are one run.
        while let Some(next) =
            forbidden().filter(|r| r.0 <= end.saturating_add(1) && r.1 > end).map(|r| r.1).max()
        {
            end = next;
        }
        Some((Mfn(start), Mfn(end.min(last.0))))
    }

    /// The first frame number that is no machine address any more.
    pub const fn max_mfn(&self) -> u64 {
        self.max_mfn
    }

    /// The strictest rule for a frame, MSI-X tables aside.
    pub fn rule(&self, mfn: Mfn) -> IoRule {
        if mfn.0 >= self.max_mfn {
            return IoRule::Forbidden;
        }
        let mut rule = IoRule::Allowed;
        for &(start, last, r) in &self.ranges[..self.count] {
            if (start..=last).contains(&mfn.0) {
                match r {
                    IoRule::Forbidden => return r,
                    IoRule::ReadOnly => rule = r,
                    IoRule::Allowed => {}
                }
            }
        }
        rule
    }
}

/// A table frame stands in the way of a reference, though no typed reference holds it: it must be
/// unvalidated first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Final(MmuError),
    Dormant(Mfn),
    /// The processor marked the entry meanwhile: to be tried again.
    Changed,
    /// The guest may have the entry, but for the right to write; then it holds no reference.
    ReadOnly,
}

impl From<MmuError> for Refusal {
    fn from(e: MmuError) -> Self {
        Self::Final(e)
    }
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Takes the reference that an entry of the L1 table `table` holds, or says why the guest may not have the entry.
    #[inline(always)]
    pub(crate) fn get_leaf(
        &self,
        tx: &mut Tx<'_>,
        pte: Pte,
        subject: Subject,
        table: Mfn,
    ) -> Result<(), Refusal> {
        if !pte.is_present() {
            return Ok(());
        }
        let mfn = pte.mfn();
        let taken = if pte.is_writable() {
            self.frames.get_typed(tx, mfn, subject.leaves, Kind::Writable)
        } else {
            self.frames.get_ref(tx, mfn, subject.leaves).map(|()| Got::Taken)
        };
        match taken {
            Ok(Got::Taken) => Ok(()),
            Ok(_) => Err(Refusal::Dormant(mfn)),
            Err(e) => self.refused_leaf(pte, e, subject, table),
        }
    }

    /// Whether an entry whose frame gives no reference may be, and if not, why.
    #[cold]
    fn refused_leaf(&self, pte: Pte, why: FrameError, subject: Subject, table: Mfn) -> Result<(), Refusal> {
        match why {
            // They are there for good: no reference is held.
            FrameError::NotOwned if subject.leaves == Owner::SHOWN && self.is_shown(pte) => Ok(()),
            FrameError::NotOwned if subject.leaves == Owner::SHOWN && !pte.is_writable() => {
                Err(MmuError::Invalid.into())
            }
            FrameError::NotOwned => self.io_leaf(pte, subject, table),
            FrameError::InUse(_) if self.is_reclaimable(pte.mfn()) => Err(Refusal::Dormant(pte.mfn())),
            FrameError::InUse(_) => Err(MmuError::Busy.into()),
        }
    }

    /// A table nobody refers to, or whose work nobody finished. One that is still pinned waits for its
    /// unpinning.
    pub(crate) fn is_reclaimable(&self, mfn: Mfn) -> bool {
        self.frames.frame(mfn).is_some_and(|f| {
            let u = f.usage();
            !u.is_pinned() && (u.is_in_work() || u.is_leaving() || u.typed() == 0)
        })
    }

    /// Whether Dom0 may map a frame of the hypervisor's by an entry.
    fn is_shown(&self, pte: Pte) -> bool {
        let owner = self.frames.frame(pte.mfn()).map(|frame| frame.usage().owner());
        match owner {
            Some(Owner::TRACE_BUFFER) => self.io.are_traces_shown(),
            Some(Owner::TRACE_TABLE) => !pte.is_writable() && self.io.are_traces_shown(),
            _ => !pte.is_writable() && self.io.is_shown(pte.mfn()),
        }
    }

    /// Whether a frame is device memory.
    pub fn is_io(&self, mfn: Mfn) -> bool {
        self.frames.frame(mfn).is_none_or(|f| f.usage().owner() == Owner::IO)
    }

    fn io_leaf(&self, pte: Pte, subject: Subject, table: Mfn) -> Result<(), Refusal> {
        let mfn = pte.mfn();
        if !self.is_io(mfn) {
            return Err(MmuError::Busy.into());
        }
        if !subject.io {
            return Err(MmuError::NotPermitted.into());
        }
        match self.io.rule(mfn) {
            IoRule::Forbidden => Err(MmuError::NotPermitted.into()),
            _ if !pte.is_writable() => Ok(()),
            IoRule::ReadOnly => Err(Refusal::ReadOnly),
            IoRule::Allowed => {
                // Noted first: who guards a table after the question below finds this one.
                self.locks.devices.note(table);
                if self.io.is_guarded(mfn) { Err(Refusal::ReadOnly) } else { Ok(()) }
            }
        }
    }

    /// The effect that drops the reference an L1 entry holds.
    #[inline]
    pub(crate) fn put_leaf(&self, pte: Pte) -> Option<Effect> {
        let mfn = pte.mfn();
        if !pte.is_present() || !holds_reference(self.frames, mfn) {
            return None;
        }
        Some(if pte.is_writable() { Frames::put_typed(mfn) } else { Frames::put_ref(mfn) })
    }
}

/// Whether an L1 entry that maps a frame holds a reference to it: not to device memory, nor to what the hypervisor shows.
#[inline(always)]
pub(crate) fn holds_reference(frames: &Frames, mfn: Mfn) -> bool {
    frames.frame(mfn).is_some_and(|frame| frame.usage().owner().slot().is_some())
}
