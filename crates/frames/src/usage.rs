//! The first word of a frame record: owner, type and counts in one.

use crate::frame::{Owner, Stage};
use core::fmt;

/// What a frame is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Nothing in particular: only read-only mappings.
    None = 0,
    /// Page table of level 1 (entries map 4 KiB frames).
    L1 = 1,
    /// Page table of level 2.
    L2 = 2,
    /// Page table of level 3.
    L3 = 3,
    /// Page table of level 4, the root.
    L4 = 4,
    /// Descriptor table (GDT or LDT).
    Descriptors = 5,
    /// Mapped writable by a guest.
    Writable = 6,
}

impl Kind {
    const fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Self::L1,
            2 => Self::L2,
            3 => Self::L3,
            4 => Self::L4,
            5 => Self::Descriptors,
            6 => Self::Writable,
            _ => Self::None,
        }
    }

    /// The page-table level (1 to 4), if it is one.
    pub const fn level(self) -> Option<u32> {
        match self {
            Self::L1 => Some(1),
            Self::L2 => Some(2),
            Self::L3 => Some(3),
            Self::L4 => Some(4),
            _ => None,
        }
    }

    /// The table kind of a level, 1 to 4.
    pub const fn table(level: u32) -> Self {
        Self::from_bits(if level >= 1 && level <= 4 { level as u64 } else { 0 })
    }
}

/// The decoded word.
///
/// | bits | field |
/// |---|---|
/// | 0..23 | general references, saturating |
/// | 23 | allocated: one general reference is the allocation's, which the owner may give up once |
/// | 24..46 | typed references, saturating |
/// | 46..49 | kind; none or writable with typed references: writable |
/// | 49 | validated: the contents obey the kind's rules |
/// | 50 | in work: being validated or unvalidated; the cursor says how far |
/// | 51 | pinned by the guest as this kind (one typed reference belongs to the pin) |
/// | 52..64 | owner |
///
/// Nobody takes a typed reference to a frame in work, so that its count needs no room, and others lie there:
///
/// | bits, in work | field |
/// |---|---|
/// | 24..34 | typed references: one, the work's |
/// | 34..36 | stage: where the work goes ([`Stage`]) |
/// | 36..46 | cursor: entries that are validated, or still to be unvalidated, of a page table |
///
/// A free frame has no counts: bits 0..5 are the order of the free block it heads, plus one; 0: it heads none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Usage(pub(crate) u64);

const REFS: u64 = 0x7f_ffff;
const ALLOCATED: u64 = 1 << 23;
const TYPED: u32 = 24;
const TYPED_MAX: u64 = 0x3f_ffff;
/// Of a frame in work.
const WORK_TYPED_MAX: u64 = 0x3ff;
const STAGE: u32 = 34;
const CURSOR: u32 = 36;
const CURSOR_MAX: u64 = 0x3ff;
/// Stage and cursor.
const WORK: u64 = 3 << STAGE | CURSOR_MAX << CURSOR;
/// Of a free frame.
const BLOCK_MAX: u64 = 0x1f;
const KIND: u32 = 46;
const VALIDATED: u64 = 1 << 49;
const IN_WORK: u64 = 1 << 50;
const PINNED: u64 = 1 << 51;
const OWNER: u32 = 52;

impl Usage {
    /// A frame of `owner` with one general reference, the allocation's.
    pub(crate) const fn allocated(owner: Owner) -> Self {
        Self((owner.0 as u64) << OWNER | ALLOCATED | 1)
    }

    /// A frame of `owner` with one reference that its owner may not give up: as a writable page, lest the owner make
    /// a table of what the hypervisor writes to.
    pub(crate) const fn shared(owner: Owner) -> Self {
        Self((owner.0 as u64) << OWNER | 1 << TYPED)
    }

    /// A free frame: the head of a block of this order, or of none.
    pub(crate) const fn free(order: Option<u32>) -> Self {
        let block = match order {
            Some(order) => order as u64 + 1,
            None => 0,
        };
        Self((Owner::FREE.0 as u64) << OWNER | block & BLOCK_MAX)
    }

    /// The order of the block that a free frame heads.
    pub(crate) const fn block(self) -> Option<u32> {
        if self.is_free() { ((self.0 & BLOCK_MAX) as u32).checked_sub(1) } else { None }
    }

    /// The owner.
    pub const fn owner(self) -> Owner {
        Owner((self.0 >> OWNER) as u16)
    }

    /// General references.
    pub const fn refs(self) -> u64 {
        if self.is_free() { 0 } else { self.general() }
    }

    /// General references of a frame that is not free.
    const fn general(self) -> u64 {
        self.0 & REFS
    }

    const fn is_free(self) -> bool {
        self.0 >> OWNER == Owner::FREE.0 as u64
    }

    /// Typed references.
    pub const fn typed(self) -> u64 {
        if self.is_in_work() { self.0 >> TYPED & WORK_TYPED_MAX } else { self.count() }
    }

    /// Typed references of a frame that is not in work. One in work has some as well.
    const fn count(self) -> u64 {
        self.0 >> TYPED & TYPED_MAX
    }

    /// Entries of a page table in work that are validated, or still to be unvalidated.
    pub const fn cursor(self) -> u16 {
        if self.is_in_work() { (self.0 >> CURSOR & CURSOR_MAX) as u16 } else { 0 }
    }

    /// Where the work on a frame in work goes.
    pub const fn stage(self) -> Stage {
        if self.is_in_work() { Stage((self.0 >> STAGE & 3) as u8) } else { Stage::UP }
    }

    /// The kind; meaningful while typed references exist or it is validated, a memory of it otherwise
    /// (a translation may still be cached somewhere, or the place of a table).
    pub const fn kind(self) -> Kind {
        match self.stored_kind() {
            Kind::None if self.count() > 0 => Kind::Writable,
            kind => kind,
        }
    }

    /// The kind as it stands. A writable reference leaves it alone, so that it is undone by its count only,
    /// whoever else has joined: typed references without another kind are writable ones.
    const fn stored_kind(self) -> Kind {
        Kind::from_bits(self.0 >> KIND & 7)
    }

    /// Whether it is, or may become by counting alone, a writable page.
    pub(crate) const fn is_plain(self) -> bool {
        matches!(self.stored_kind(), Kind::None | Kind::Writable)
    }

    /// Nothing, but it was a page table, and a processor may still take it for one: its paging-structure caches are
    /// not flushed with every entry that changes.
    pub const fn was_table(self) -> bool {
        self.count() == 0
            && !self.is_validated()
            && !self.is_in_work()
            && self.stored_kind().level().is_some()
    }

    /// A table at the end of its work, whose last typed reference is about to go.
    pub const fn is_leaving(self) -> bool {
        self.count() > 0 && !self.is_validated() && !self.is_in_work() && !self.is_plain()
    }

    /// Whether the contents obey the kind's rules; a writable page has none.
    pub const fn is_validated(self) -> bool {
        self.0 & VALIDATED != 0
    }

    /// Whether validation or its reverse is under way.
    pub const fn is_in_work(self) -> bool {
        self.0 & IN_WORK != 0
    }

    /// Whether the guest pinned it.
    pub const fn is_pinned(self) -> bool {
        self.0 & PINNED != 0
    }

    /// Whether the allocation's own reference still stands.
    pub const fn is_allocated(self) -> bool {
        self.0 & ALLOCATED != 0
    }

    /// Whether nothing refers to it but its allocation: no mapping, no use.
    pub const fn is_sole(self) -> bool {
        self.is_allocated()
            && self.general() == 1
            && self.count() == 0
            && !self.is_in_work()
            && !self.is_pinned()
    }

    /// Whether it is a valid table of `owner`, of `kind`, that somebody holds already, and by far not too often.
    #[inline(always)]
    pub(crate) const fn is_held_as(self, owner: Owner, kind: Kind) -> bool {
        let many = 1 << (KIND - 1);
        let wanted = (owner.0 as u64) << OWNER | VALIDATED | (kind as u64) << KIND;
        let said = u64::MAX << OWNER | IN_WORK | VALIDATED | 7 << KIND | many;
        self.0 & said == wanted && self.count() != 0
    }

    /// Whether one typed reference holds it, which is no pin's, and no work goes on.
    pub const fn is_held_once(self) -> bool {
        self.0 & (TYPED_MAX << TYPED | IN_WORK | PINNED) == 1 << TYPED
    }

    /// Whether the hypervisor shares the frame with its owner and nobody else refers to it.
    pub const fn is_shared_alone(self) -> bool {
        self.refs() == 0 && self.typed() == 1 && self.is_plain() && !self.is_allocated()
    }

    /// No reference of either sort.
    pub const fn is_unreferenced(self) -> bool {
        self.is_free() || self.is_bare()
    }

    /// The same, of a frame that is not free.
    pub(crate) const fn is_bare(self) -> bool {
        self.general() == 0 && self.count() == 0
    }

    /// A domain's, and nobody refers to it.
    pub(crate) const fn is_lost(self) -> bool {
        self.is_bare() && !self.is_validated() && self.owner().slot().is_some()
    }

    pub(crate) const fn plus_ref(self) -> Self {
        if self.general() == REFS { self } else { Self(self.0.wrapping_add(1)) }
    }

    pub(crate) const fn minus_ref(self) -> Self {
        if self.general() == REFS || self.general() == 0 { self } else { Self(self.0.wrapping_sub(1)) }
    }

    pub(crate) const fn plus_typed(self) -> Self {
        if self.count() == TYPED_MAX { self } else { self.one_typed_more() }
    }

    /// Of one whose count has room for it.
    #[inline(always)]
    pub(crate) const fn one_typed_more(self) -> Self {
        Self(self.0.wrapping_add(1 << TYPED))
    }

    pub(crate) const fn minus_typed(self) -> Self {
        if self.count() == TYPED_MAX || self.count() == 0 {
            self
        } else {
            Self(self.0.wrapping_sub(1 << TYPED))
        }
    }

    pub(crate) const fn with_owner(self, owner: Owner) -> Self {
        Self(self.0 & !(u64::MAX << OWNER) | (owner.0 as u64) << OWNER)
    }

    /// What dropping one of several references makes of it, of a kind that stays what it is; `None`: not so simple.
    #[inline(always)]
    pub(crate) const fn one_ref_less(self) -> Option<Self> {
        if self.general().wrapping_sub(2) < REFS - 2 { Some(Self(self.0 - 1)) } else { None }
    }

    /// The same of one of several typed references to what is no writable page.
    #[inline(always)]
    pub(crate) const fn one_typed_less(self) -> Option<Self> {
        let many = 1 << (KIND - 1);
        if self.0 & (IN_WORK | VALIDATED | many) == VALIDATED && self.count() > 1 {
            Some(Self(self.0.wrapping_sub(1 << TYPED)))
        } else {
            None
        }
    }

    /// The same of a writable reference to a page that has general ones.
    #[inline(always)]
    pub(crate) const fn one_writable_less(self) -> Option<Self> {
        let many = 1 << (KIND - 1);
        let sure = self.0 & (IN_WORK | VALIDATED | many) == 0 && self.is_plain();
        if sure && self.count() != 0 && self.general() != 0 {
            Some(Self(self.0.wrapping_sub(1 << TYPED)).with_kind(Kind::Writable))
        } else {
            None
        }
    }

    pub(crate) const fn without_allocation(self) -> Self {
        Self(self.0 & !ALLOCATED)
    }

    pub(crate) const fn with_kind(self, kind: Kind) -> Self {
        Self(self.0 & !(7 << KIND) | (kind as u64) << KIND)
    }

    pub(crate) const fn with_validated(self, on: bool) -> Self {
        Self(if on { self.0 | VALIDATED } else { self.0 & !VALIDATED })
    }

    /// In work from `cursor` on. It has one typed reference.
    pub(crate) const fn with_work(self, cursor: u16, stage: Stage) -> Self {
        Self(self.0 | IN_WORK).with_cursor(cursor).with_stage(stage)
    }

    /// Of a frame in work: no more so. Its typed references stay.
    pub(crate) const fn without_work(self) -> Self {
        Self(self.0 & !(IN_WORK | WORK))
    }

    /// Of a frame in work.
    pub(crate) const fn with_cursor(self, cursor: u16) -> Self {
        Self(self.0 & !(CURSOR_MAX << CURSOR) | (cursor as u64 & CURSOR_MAX) << CURSOR)
    }

    /// Of a frame in work.
    pub(crate) const fn with_stage(self, stage: Stage) -> Self {
        Self(self.0 & !(3 << STAGE) | (stage.0 as u64 & 3) << STAGE)
    }

    pub(crate) const fn with_pinned(self, on: bool) -> Self {
        Self(if on { self.0 | PINNED } else { self.0 & !PINNED })
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:?} refs {} typed {}{}{}{}{}",
            self.owner(),
            self.kind(),
            self.refs(),
            self.typed(),
            if self.is_allocated() { " allocated" } else { "" },
            if self.is_validated() { " validated" } else { "" },
            if self.is_in_work() { " in-work" } else { "" },
            if self.is_pinned() { " pinned" } else { "" }
        )
    }
}
