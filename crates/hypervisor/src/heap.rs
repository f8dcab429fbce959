//! The heap: derived state. A permanent arena, and while Dom0's kernel is unpacked a large scratch arena whose memory
//! is given back afterwards.
#![expect(unsafe_code, reason = "implements the global allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use boot_info::Range;
use ids::Maddr;
use machine::direct;
use spin::Mutex;
use talc::base::Talc;
use talc::base::binning::DefaultBinning;
use talc::source::Manual;

/// One arena, with the number of allocations alive in it, and their bytes.
struct Arena {
    talc: Talc<Manual, DefaultBinning>,
    memory: Range,
    live: usize,
    bytes: usize,
}

impl Arena {
    const fn new() -> Self {
        Self { talc: Talc::new(Manual), memory: Range { start: 0, end: 0 }, live: 0, bytes: 0 }
    }

    /// # Safety
    /// As for [`add_permanent`].
    unsafe fn claim(&mut self, memory: Range) {
        self.memory = memory;
        let base = direct::pointer::<u8>(Maddr(memory.start));
        // SAFETY: the caller's promise.
        let claimed = unsafe { self.talc.claim(base, memory.len() as usize) };
        assert!(claimed.is_some(), "heap arena too small");
    }

    fn holds(&self, pointer: *mut u8) -> bool {
        let at = |maddr| direct::pointer::<u8>(Maddr(maddr));
        !self.memory.is_empty() && pointer >= at(self.memory.start) && pointer < at(self.memory.end)
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: `GlobalAlloc` never asks for zero bytes.
        let found = unsafe { self.talc.allocate(layout) };
        if found.is_some() {
            self.live += 1;
            self.bytes += layout.size();
        }
        found
    }
}

struct Heap {
    permanent: Arena,
    scratch: Option<Arena>,
}

struct Global(Mutex<Heap>);

#[global_allocator]
static HEAP: Global = Global(Mutex::new(Heap { permanent: Arena::new(), scratch: None }));

/// Gives the heap its permanent memory.
///
/// # Safety
/// The range is RAM in the direct map and nobody else's.
pub(crate) unsafe fn add_permanent(memory: Range) {
    // SAFETY: the caller's promise.
    unsafe { HEAP.0.lock().permanent.claim(memory) };
}

/// Bytes of the permanent memory that are in use, what the allocator itself takes aside.
pub(crate) fn used() -> usize {
    HEAP.0.lock().permanent.bytes
}

/// From now on allocations come from `memory`, until [`close_scratch`].
///
/// # Safety
/// As [`add_permanent`].
pub(crate) unsafe fn open_scratch(memory: Range) {
    let mut arena = Arena::new();
    // SAFETY: the caller's promise.
    unsafe { arena.claim(memory) };
    HEAP.0.lock().scratch = Some(arena);
}

/// Ends scratch allocation and returns its memory.
///
/// # Errors
/// The number of allocations still alive there; it then stays open.
pub(crate) fn close_scratch() -> Result<Range, usize> {
    let mut heap = HEAP.0.lock();
    match &heap.scratch {
        Some(arena) if arena.live > 0 => Err(arena.live),
        _ => Ok(heap.scratch.take().map_or(Range::default(), |arena| arena.memory)),
    }
}

// SAFETY: both arenas hand out disjoint blocks of memory they own; a block goes back to the arena whose range holds it.
unsafe impl GlobalAlloc for Global {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.0.lock();
        let scratch = heap.scratch.as_mut().and_then(|arena| arena.allocate(layout));
        scratch.or_else(|| heap.permanent.allocate(layout)).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let mut heap = self.0.lock();
        let Heap { permanent, scratch } = &mut *heap;
        let arena = match scratch {
            Some(arena) if arena.holds(pointer) => arena,
            _ => permanent,
        };
        // SAFETY: the block came from this arena with this layout.
        unsafe { arena.talc.deallocate(pointer, layout) };
        arena.live -= 1;
        arena.bytes -= layout.size();
    }
}
