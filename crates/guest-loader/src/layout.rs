//! The plan of a PV Dom0's initial address space.
//!
//! The initial mapping starts at VIRT_BASE with pseudo-physical frame 0 and is contiguous:
//!
//! ```text
//! VIRT_BASE .. kernel | initrd (1) | frame list (2) | start_info | page tables | boot stack | slack .. end
//! (1) only without a MOD_START_PFN note, else its frames follow the initial mapping, unmapped
//! (2) only without an INIT_P2M note, else it is mapped there with its own tables and frames, after the initrd
//! ```
//!
//! The end is rounded up to 4 MiB and leaves at least 512 KiB behind the stack, as public/xen.h promises.

use crate::LoadError;
use crate::elf_kernel::Span;
use crate::notes::Notes;
use crate::page_tables::Tree;
use crate::start_info::START_INFO_SIZE;
use core::ops::Range;
use ids::{FRAME_SHIFT, FRAME_SIZE, Gfn};

/// The initial mapping ends at a multiple of this.
const END_ALIGN: u64 = 4 << 20;
/// Bytes mapped behind the boot stack, at least.
const SLACK: u64 = 512 << 10;
/// Bytes of one frame-list entry.
const P2M_ENTRY: u64 = 8;
/// First address that is no longer canonical in the lower half.
const LOWER_HALF_END: u64 = 0x0000_8000_0000_0000;
/// First address after the part that belongs to the hypervisor (L4 slots 256 to 271).
const UPPER_HALF_START: u64 = 0xffff_8800_0000_0000;
/// log2 of what one L4 entry maps.
const L4_SHIFT: u32 = 39;

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Where the kernel lies.
    pub kernel: Span,
    /// What the kernel asks for.
    pub notes: &'a Notes,
    /// All of the domain's memory in pages, the initrd's frames included.
    pub nr_pages: u64,
    /// Bytes of the initrd, 0 for none.
    pub initrd_len: u64,
    /// Bytes of console information placed behind start_info (40 for `dom0_vga_console_info`, or 0).
    pub console_info_len: u32,
}

/// The initrd's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initrd {
    /// There is none.
    None,
    /// In the initial mapping at these addresses.
    Mapped(Range<u64>),
    /// In frames that follow the initial mapping and are not mapped.
    Unmapped,
}

/// Every region of the initial address space. Addresses are virtual and in bytes, `Gfn` counts frames from
/// VIRT_BASE; all ranges are half-open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Virtual address of frame 0.
    pub virt_base: u64,
    /// First instruction.
    pub entry: u64,
    /// All of the domain's memory in pages.
    pub nr_pages: u64,
    /// The kernel (whole bytes, not rounded).
    pub kernel: Range<u64>,
    /// The initrd.
    pub initrd: Initrd,
    /// Bytes of the initrd.
    pub initrd_len: u64,
    /// The initrd's frames (empty without one).
    pub initrd_frames: Range<u64>,
    /// The frame list: `nr_pages` words of 64 bits, rounded up to whole pages.
    pub p2m: Range<u64>,
    /// start_info and the console information behind it (whole bytes, not rounded).
    pub start_info: Range<u64>,
    /// Bytes of console information behind start_info.
    pub console_info_len: u32,
    /// The page tables of the initial mapping; the first is the L4. Mapped read-only.
    pub page_tables: Range<u64>,
    /// The boot stack; the initial stack pointer is its end.
    pub stack: Range<u64>,
    /// End of the initial mapping.
    pub virt_end: u64,
    /// Frames `0..initial_frames` are the initial mapping.
    pub initial_frames: u64,
    /// Frames that the frame list at INIT_P2M takes: its tables, then its data (empty without that note).
    pub p2m_frames: Range<u64>,
    /// The tables of the initial mapping.
    pub(crate) initial_tree: Tree,
    /// The tables of the frame list at INIT_P2M.
    pub(crate) p2m_tree: Option<Tree>,
}

impl Plan {
    /// Computes the plan.
    ///
    /// # Errors
    /// [`LoadError::BadLayout`] when the kernel's addresses leave no room for a valid address space,
    /// [`LoadError::NotEnoughMemory`], with the least number of pages that would do, when it does not fit.
    pub fn new(inputs: &Inputs<'_>) -> Result<Self, LoadError> {
        let plan = Self::unbounded(inputs)?;
        if plan.frames_needed() <= plan.nr_pages {
            return Ok(plan);
        }
        // More memory needs a longer frame list; the sum settles after a step or two.
        let mut needed = plan.frames_needed();
        loop {
            let larger = Self::unbounded(&Inputs { nr_pages: needed, ..*inputs })?;
            if larger.frames_needed() <= needed {
                return Err(LoadError::NotEnoughMemory { needed, given: inputs.nr_pages });
            }
            needed = larger.frames_needed();
        }
    }

    /// Frames that the initial mapping, the initrd and the frame list take. The domain's other frames are only
    /// named in the frame list.
    pub fn frames_needed(&self) -> u64 {
        self.p2m_frames.end
    }

    /// The initial stack pointer.
    pub fn stack_top(&self) -> u64 {
        self.stack.end
    }

    /// Number of page tables of the initial mapping.
    pub fn nr_page_tables(&self) -> u64 {
        (self.page_tables.end - self.page_tables.start) >> FRAME_SHIFT
    }

    /// The frame that the initial mapping has at `address`, or `None` outside of it.
    pub fn frame_at(&self, address: u64) -> Option<Gfn> {
        (self.virt_base..self.virt_end)
            .contains(&address)
            .then(|| Gfn((address - self.virt_base) >> FRAME_SHIFT))
    }

    /// Where the frame-list entry of `frame` is stored: a frame and the byte offset in it. `None` when the domain
    /// has no such frame.
    pub fn p2m_slot(&self, frame: Gfn) -> Option<(Gfn, u64)> {
        if frame.0 >= self.nr_pages {
            return None;
        }
        let offset = frame.0 * P2M_ENTRY; // below the length of `p2m`, which fits
        let page = match &self.p2m_tree {
            Some(tree) => Gfn(tree.first_leaf + (offset >> FRAME_SHIFT)),
            None => self.frame_at(self.p2m.start + offset)?,
        };
        Some((page, offset & (FRAME_SIZE - 1)))
    }

    /// The plan, whether or not it fits the memory.
    fn unbounded(inputs: &Inputs<'_>) -> Result<Self, LoadError> {
        let notes = inputs.notes;
        let virt_base = notes.virt_base;
        if !virt_base.is_multiple_of(FRAME_SIZE) {
            return Err(LoadError::BadLayout("VIRT_BASE is not page-aligned"));
        }
        if inputs.kernel.start < virt_base || inputs.kernel.end <= inputs.kernel.start {
            return Err(LoadError::BadLayout("the kernel starts below VIRT_BASE"));
        }
        let p2m_len = inputs
            .nr_pages
            .checked_mul(P2M_ENTRY)
            .and_then(|len| len.checked_next_multiple_of(FRAME_SIZE))
            .ok_or(LoadError::BadLayout("the frame list is too long"))?;
        let mut cursor = Cursor { next: inputs.kernel.end };
        let initrd = match (inputs.initrd_len, notes.mod_start_pfn) {
            (0, _) => Initrd::None,
            (_, true) => Initrd::Unmapped,
            (len, false) => Initrd::Mapped(cursor.take(len)?),
        };
        let p2m = match notes.init_p2m {
            Some(start) => separate_p2m(start, p2m_len)?,
            None => cursor.take(p2m_len)?,
        };
        let start_info = cursor.take(START_INFO_SIZE + u64::from(inputs.console_info_len))?;
        let tail = Tail::after(cursor, virt_base)?;
        check_addresses(virt_base, tail.virt_end, notes, &p2m)?;

        let initial_frames = (tail.virt_end - virt_base) >> FRAME_SHIFT;
        let initrd_frames = match &initrd {
            Initrd::None => initial_frames..initial_frames,
            Initrd::Mapped(at) => {
                (at.start - virt_base) >> FRAME_SHIFT..(at.end - virt_base).div_ceil(FRAME_SIZE)
            }
            Initrd::Unmapped => {
                let end = initial_frames.checked_add(inputs.initrd_len.div_ceil(FRAME_SIZE));
                initial_frames..end.ok_or(LoadError::BadLayout("the initrd is too long"))?
            }
        };
        let first_table = (tail.page_tables.start - virt_base) >> FRAME_SHIFT;
        let after_initrd = initial_frames.max(initrd_frames.end);
        let p2m_tree = notes.init_p2m.map(|_| Tree::with_leaves(&p2m, after_initrd));
        let p2m_end = p2m_tree.as_ref().map_or(after_initrd, Tree::frames_end);
        Ok(Self {
            virt_base,
            entry: notes.entry,
            nr_pages: inputs.nr_pages,
            kernel: inputs.kernel.start..inputs.kernel.end,
            initrd,
            initrd_len: inputs.initrd_len,
            initrd_frames,
            p2m,
            start_info,
            console_info_len: inputs.console_info_len,
            initial_tree: Tree::over(&(virt_base..tail.virt_end), first_table + 1, 0),
            page_tables: tail.page_tables,
            stack: tail.stack,
            virt_end: tail.virt_end,
            initial_frames,
            p2m_frames: after_initrd..p2m_end,
            p2m_tree,
        })
    }
}

const WRAPS: LoadError = LoadError::BadLayout("the initial mapping wraps the address space");

/// Takes page-aligned regions one after the other.
#[derive(Clone, Copy)]
struct Cursor {
    next: u64,
}

impl Cursor {
    /// The next region of `len` bytes; it starts at a page.
    fn take(&mut self, len: u64) -> Result<Range<u64>, LoadError> {
        let start = self.next.checked_next_multiple_of(FRAME_SIZE).ok_or(WRAPS)?;
        self.next = start.checked_add(len).ok_or(WRAPS)?;
        Ok(start..self.next)
    }
}

/// The regions whose size depends on how much is mapped.
struct Tail {
    page_tables: Range<u64>,
    stack: Range<u64>,
    virt_end: u64,
}

impl Tail {
    /// Page tables, stack and slack behind `cursor`, with the least number of tables that maps them too.
    fn after(cursor: Cursor, virt_base: u64) -> Result<Self, LoadError> {
        let mut count = 1;
        loop {
            let mut cursor = cursor;
            let page_tables = cursor.take(count * FRAME_SIZE)?;
            let stack = cursor.take(FRAME_SIZE)?;
            let with_slack = stack.end.checked_add(SLACK).ok_or(WRAPS)?;
            let virt_end = with_slack.checked_next_multiple_of(END_ALIGN).ok_or(WRAPS)?;
            let needed = 1 + Tree::over(&(virt_base..virt_end), 0, 0).table_count();
            // The need only grows with the count, so the first count that satisfies it is the least.
            if needed <= count {
                return Ok(Self { page_tables, stack, virt_end });
            }
            count = needed;
        }
    }
}

/// The frame list's place at INIT_P2M.
fn separate_p2m(start: u64, len: u64) -> Result<Range<u64>, LoadError> {
    if !start.is_multiple_of(FRAME_SIZE) {
        return Err(LoadError::BadLayout("INIT_P2M is not page-aligned"));
    }
    let end = start.checked_add(len).ok_or(LoadError::BadLayout("the frame list wraps the address space"))?;
    Ok(start..end)
}

/// Whether both mappings lie where a guest may map, apart from each other.
fn check_addresses(virt_base: u64, virt_end: u64, notes: &Notes, p2m: &Range<u64>) -> Result<(), LoadError> {
    let guest_owned = |range: &Range<u64>| range.end <= LOWER_HALF_END || range.start >= UPPER_HALF_START;
    if !guest_owned(&(virt_base..virt_end)) {
        return Err(LoadError::BadLayout("the initial mapping touches addresses that are not the guest's"));
    }
    if notes.init_p2m.is_none() || p2m.is_empty() {
        return Ok(());
    }
    if !guest_owned(p2m) {
        return Err(LoadError::BadLayout("INIT_P2M touches addresses that are not the guest's"));
    }
    let slot = |address: u64| address >> L4_SHIFT;
    if slot(p2m.start) <= slot(virt_end - 1) && slot(virt_base) <= slot(p2m.end - 1) {
        return Err(LoadError::BadLayout("INIT_P2M lies in the same 512 GiB as the kernel"));
    }
    Ok(())
}
