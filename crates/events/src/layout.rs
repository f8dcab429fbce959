//! Where things are in the pages shared with a guest, and the sizes of our tables.

/// Ports a domain can have now. The FIFO ABI allows 131072; only the chunk table's length limits us.
pub const MAX_PORTS: u32 = (CHUNKS_PER_DOMAIN as u32) * PORTS_PER_CHUNK;
/// Entries of a domain's chunk table.
pub(crate) const CHUNKS_PER_DOMAIN: usize = 64;
/// Ports in a chunk of the pool.
pub(crate) const PORTS_PER_CHUNK: u32 = 64;
/// VIRQs of the ABI (`NR_VIRQS`, public/xen.h).
pub const VIRQS: usize = 24;

/// Frames a FIFO event array can have (131072 words of 4 bytes).
pub(crate) const ARRAY_FRAMES: usize = 128;
/// Event words in a frame.
pub(crate) const WORDS_PER_FRAME: u32 = 1024;
/// Lowest FIFO priority; 0 is the highest (`EVTCHN_FIFO_PRIORITY_MIN`).
pub const MAX_PRIORITY: u8 = 15;
/// Priority of a fresh port (`EVTCHN_FIFO_PRIORITY_DEFAULT`).
pub(crate) const DEFAULT_PRIORITY: u8 = 7;
/// Queues of a vCPU.
pub(crate) const QUEUES: usize = 16;
/// Width of a link (`EVTCHN_FIFO_LINK_BITS`), answered by init_control.
pub const LINK_BITS: u8 = 17;

/// FIFO event word: the event is pending.
pub(crate) const PENDING: u32 = 1 << 31;
/// FIFO event word: the guest does not want it now.
pub(crate) const MASKED: u32 = 1 << 30;
/// FIFO event word: it is in a queue.
pub(crate) const LINKED: u32 = 1 << 29;
/// FIFO event word: the next event of its queue.
pub(crate) const LINK_MASK: u32 = (1 << LINK_BITS) - 1;

/// Control block: offset of the ready word, and of the heads.
pub(crate) const CONTROL_READY: u64 = 0;
/// Control block: offset of the head of queue 0.
pub(crate) const CONTROL_HEAD: u64 = 8;
/// Size of a control block.
pub(crate) const CONTROL_SIZE: u64 = 72;

/// shared_info: the two-level pending bits.
pub(crate) const SHARED_PENDING: u64 = 2048;
/// shared_info: the two-level mask bits.
pub(crate) const SHARED_MASK: u64 = 2560;
/// vCPUs whose vcpu_info starts out in shared_info.
pub(crate) const SHARED_VCPUS: u32 = 32;

/// Size of a vcpu_info.
pub(crate) const INFO_SIZE: u64 = 64;
/// vcpu_info: upcall pending (u8).
pub(crate) const INFO_UPCALL_PENDING: u64 = 0;
/// vcpu_info: upcall mask (u8).
pub(crate) const INFO_UPCALL_MASK: u64 = 1;
/// vcpu_info: which words of the pending bitmap to look at (u64).
pub(crate) const INFO_SELECTOR: u64 = 8;
