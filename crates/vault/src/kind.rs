//! Every kind of [`Effect`](crate::Effect), its operands and what a repetition does.
//!
//! | kind | x | a | b | again |
//! |---|---|---|---|---|
//! | STORE | width | address | value | same value |
//! | PUT_REF | | mfn | | exactly once |
//! | PUT_TYPED | | mfn | | exactly once |
//! | GUEST_STORE | width 1, 4 or 8 | machine address | value | same value, no guest ran between |
//! | PTE | 1: keep accessed and dirty | machine address | new entry | skipped if there, bits 5 and 6 apart |
//! | M2P | | mfn | pfn | same value |
//! | COPY_OUT | offset of the bytes | guest address | length | same bytes |
//! | REGISTER | index in the frame | | value | same value |
//! | EVENT | port | domain slot | | at least once |
//! | KICK | vCPU slot | | | at least once |
//! | TIMER | vCPU slot | | | derived from the durable deadline |
//! | FLUSH | [which CPUs](crate::flush) | address, or all ones | domain slot | at least once |
//! | IRQ_ROUTE | irq | | | derived from the durable route |
//! | CONTEXT | what | | | the CPU's registers follow the durable context |
//! | CONSOLE | offset of the bytes | | length | printed again |
//! | POWER | what | two values | | asked for again |
//! | SEGMENT_BASE | which (`SEGBASE_*`) | | value | same value |
//! | WALL_CLOCK | | | | same value |
//! | TRANSFER | | | | same registers |
//! | SCHEDULE | domain slot, or all ones | | | at least once |
//! | COPY_WORD | bytes, 4 or 8 | guest address | value | same bytes |
//! | VALID | 1: one more reference; 2: a pin | mfn | | exactly once |
//! | PUT_GRANTED | bits | machine address | mfn, what | same bits, nobody else sets them meanwhile; references exactly once |
//! | HAND_OVER | domain slot | mfn | | exactly once |
//! | RETIRE | index in the frame | RIP | value | same values |
//! | PUT_ENTRIES | which entries | mfn of a page table | | each exactly once |
//! | TRACING | | | | derived from the durable record |

/// A durable word gets a value.
pub const STORE: u32 = 0;
/// A general reference to a frame is dropped.
pub const PUT_REF: u32 = 1;
/// A typed reference to a frame is dropped.
pub const PUT_TYPED: u32 = 2;
/// Bits of a 32-bit word of guest memory are cleared, those that say that a grant is in use, and references to the
/// frame dropped.
pub const PUT_GRANTED: u32 = 3;
/// A word of guest memory gets a value.
pub const GUEST_STORE: u32 = 20;
/// A page-table entry gets a value.
pub const PTE: u32 = 4;
/// The machine-to-physical table gets an entry.
pub const M2P: u32 = 5;
/// Bytes kept in the outbox go to a guest address; a fault then is the guest's.
pub const COPY_OUT: u32 = 6;
/// A word goes to a guest address; a fault then is the guest's.
pub const COPY_WORD: u32 = 19;
/// A register of the entry's guest frame gets a value.
pub const REGISTER: u32 = 7;
/// The entry's instruction is done: the frame's RIP and another of its registers get values.
pub const RETIRE: u32 = 26;
/// An event channel port becomes pending.
pub const EVENT: u32 = 8;
/// A vCPU is made to look at its events.
pub const KICK: u32 = 9;
/// A vCPU's deadline changed.
pub const TIMER: u32 = 10;
/// TLBs forget entries.
pub const FLUSH: u32 = 11;
/// An interrupt's route is programmed as its record says.
pub const IRQ_ROUTE: u32 = 12;
/// The CPU loads what the vCPU's durable context says (page tables, segments, debug registers).
pub const CONTEXT: u32 = 13;
/// Bytes kept in the outbox go to the console ring; a crash may print them twice.
pub const CONSOLE: u32 = 14;
/// A frame that its owner has given away is the taker's.
pub const HAND_OVER: u32 = 25;
/// The machine is switched off, reset or put to sleep.
pub const POWER: u32 = 15;
/// The wall clock of every domain's shared_info is written from the durable one.
pub const WALL_CLOCK: u32 = 16;
/// A segment base of the running vCPU gets a value.
pub const SEGMENT_BASE: u32 = 17;
/// A page table in work is valid, or one that is gets pinned.
pub const VALID: u32 = 21;
/// The vCPU goes on where its prepared transfer says.
pub const TRANSFER: u32 = 18;
/// The references that entries of a page table hold are dropped, one after the other: an effect in parts
/// ([`Puts`](crate::Puts)).
pub const PUT_ENTRIES: u32 = 27;
/// CPUs look again at the vCPUs of a domain or of all: who may run where has changed.
pub const SCHEDULE: u32 = 24;
/// Events are noted for `xentrace`, or no more.
pub const TRACING: u32 = 22;
