//! Event channels (`event_channel.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `event_channel_op`.
    EVTCHN_OPS: u32;
    /// Binds a local port to a remote domain's unbound one: [`EvtchnBindInterdomain`].
    EVTCHNOP_BIND_INTERDOMAIN = 0, "EVTCHNOP_bind_interdomain";
    /// Binds a port to a virtual interrupt: [`EvtchnBindVirq`].
    EVTCHNOP_BIND_VIRQ = 1, "EVTCHNOP_bind_virq";
    /// Binds a port to a physical interrupt: [`EvtchnBindPirq`].
    EVTCHNOP_BIND_PIRQ = 2, "EVTCHNOP_bind_pirq";
    /// Closes a port: [`EvtchnClose`].
    EVTCHNOP_CLOSE = 3, "EVTCHNOP_close";
    /// Notifies the other end of a port: [`EvtchnSend`].
    EVTCHNOP_SEND = 4, "EVTCHNOP_send";
    /// Reads the state of a port: [`EvtchnStatus`].
    EVTCHNOP_STATUS = 5, "EVTCHNOP_status";
    /// Allocates a port for a remote domain to bind: [`EvtchnAllocUnbound`].
    EVTCHNOP_ALLOC_UNBOUND = 6, "EVTCHNOP_alloc_unbound";
    /// Binds a port for interrupts between vCPUs: [`EvtchnBindIpi`].
    EVTCHNOP_BIND_IPI = 7, "EVTCHNOP_bind_ipi";
    /// Moves a port to a vCPU: [`EvtchnBindVcpu`].
    EVTCHNOP_BIND_VCPU = 8, "EVTCHNOP_bind_vcpu";
    /// Unmasks a port and delivers if pending: [`EvtchnUnmask`].
    EVTCHNOP_UNMASK = 9, "EVTCHNOP_unmask";
    /// Closes all ports: [`EvtchnReset`].
    EVTCHNOP_RESET = 10, "EVTCHNOP_reset";
    /// Registers a FIFO control block: [`EvtchnInitControl`].
    EVTCHNOP_INIT_CONTROL = 11, "EVTCHNOP_init_control";
    /// Adds a page of FIFO event words: [`EvtchnExpandArray`].
    EVTCHNOP_EXPAND_ARRAY = 12, "EVTCHNOP_expand_array";
    /// Sets a port's FIFO priority: [`EvtchnSetPriority`].
    EVTCHNOP_SET_PRIORITY = 13, "EVTCHNOP_set_priority";
}

constants! {
    /// Values of [`EvtchnStatus::status`].
    EVTCHN_STATES: u32;
    /// Not in use.
    EVTCHNSTAT_CLOSED = 0, "EVTCHNSTAT_closed";
    /// Waiting for a remote domain.
    EVTCHNSTAT_UNBOUND = 1, "EVTCHNSTAT_unbound";
    /// Bound to a remote port.
    EVTCHNSTAT_INTERDOMAIN = 2, "EVTCHNSTAT_interdomain";
    /// Bound to a physical interrupt.
    EVTCHNSTAT_PIRQ = 3, "EVTCHNSTAT_pirq";
    /// Bound to a virtual interrupt.
    EVTCHNSTAT_VIRQ = 4, "EVTCHNSTAT_virq";
    /// Bound for interrupts between vCPUs.
    EVTCHNSTAT_IPI = 5, "EVTCHNSTAT_ipi";
}

constants! {
    /// Bits of [`EvtchnBindPirq::flags`].
    BIND_PIRQ_FLAGS: u32;
    /// The interrupt may be shared.
    BIND_PIRQ__WILL_SHARE = 1, "BIND_PIRQ__WILL_SHARE";
}

constants! {
    /// Bounds of the two event-channel ABIs.
    EVTCHN_LIMITS: u32;
    /// Ports of the two-level ABI.
    EVTCHN_2L_NR_CHANNELS = 4096, "EVTCHN_2L_NR_CHANNELS";
    /// Ports of the FIFO ABI.
    EVTCHN_FIFO_NR_CHANNELS = 131072, "EVTCHN_FIFO_NR_CHANNELS";
    /// Highest priority.
    EVTCHN_FIFO_PRIORITY_MAX = 0, "EVTCHN_FIFO_PRIORITY_MAX";
    /// Priority of a new port.
    EVTCHN_FIFO_PRIORITY_DEFAULT = 7, "EVTCHN_FIFO_PRIORITY_DEFAULT";
    /// Lowest priority.
    EVTCHN_FIFO_PRIORITY_MIN = 15, "EVTCHN_FIFO_PRIORITY_MIN";
    /// Queues of a control block.
    EVTCHN_FIFO_MAX_QUEUES = 16, "EVTCHN_FIFO_MAX_QUEUES";
}

constants! {
    /// Bit numbers and link field of a FIFO event word.
    EVTCHN_FIFO_WORD: u32;
    /// Bit: the event is pending.
    EVTCHN_FIFO_PENDING = 31, "EVTCHN_FIFO_PENDING";
    /// Bit: the event is masked.
    EVTCHN_FIFO_MASKED = 30, "EVTCHN_FIFO_MASKED";
    /// Bit: the word is on a queue.
    EVTCHN_FIFO_LINKED = 29, "EVTCHN_FIFO_LINKED";
    /// Bit: the guest may not change the link.
    EVTCHN_FIFO_BUSY = 28, "EVTCHN_FIFO_BUSY";
    /// Width of the link field.
    EVTCHN_FIFO_LINK_BITS = 17, "EVTCHN_FIFO_LINK_BITS";
    /// The link field: next port of the queue, or 0.
    EVTCHN_FIFO_LINK_MASK = 0x1_ffff, "EVTCHN_FIFO_LINK_MASK";
}

/// Argument of `EVTCHNOP_alloc_unbound`. C name: `evtchn_alloc_unbound_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnAllocUnbound {
    /// Domain to allocate in.
    pub dom: u16,
    /// Domain that may bind.
    pub remote_dom: u16,
    /// Out: the port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnAllocUnbound>(), 8);

/// Argument of `EVTCHNOP_bind_interdomain`. C name: `evtchn_bind_interdomain_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnBindInterdomain {
    /// Remote domain.
    pub remote_dom: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Its unbound port.
    pub remote_port: u32,
    /// Out: the local port.
    pub local_port: u32,
}

const_assert_eq!(size_of::<EvtchnBindInterdomain>(), 12);

/// Argument of `EVTCHNOP_bind_virq`. C name: `evtchn_bind_virq_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnBindVirq {
    /// One of [`VIRQS`](crate::xen::VIRQS).
    pub virq: u32,
    /// vCPU to notify.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnBindVirq>(), 12);

/// Argument of `EVTCHNOP_bind_pirq`. C name: `evtchn_bind_pirq_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnBindPirq {
    /// Physical interrupt.
    pub pirq: u32,
    /// Bits of [`BIND_PIRQ_FLAGS`].
    pub flags: u32,
    /// Out: the port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnBindPirq>(), 12);

/// Argument of `EVTCHNOP_bind_ipi`. C name: `evtchn_bind_ipi_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnBindIpi {
    /// vCPU to notify.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnBindIpi>(), 8);

/// Argument of `EVTCHNOP_close`. C name: `evtchn_close_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnClose {
    /// The port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnClose>(), 4);

/// Argument of `EVTCHNOP_send`. C name: `evtchn_send_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnSend {
    /// The port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnSend>(), 4);

/// [`EvtchnStatus::u`] of an unbound port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnStatusUnbound {
    /// Domain that may bind.
    pub dom: u16,
}

const_assert_eq!(size_of::<EvtchnStatusUnbound>(), 2);

/// [`EvtchnStatus::u`] of an interdomain port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnStatusInterdomain {
    /// Remote domain.
    pub dom: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Remote port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnStatusInterdomain>(), 8);

/// Argument of `EVTCHNOP_status`. C name: `evtchn_status_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnStatus {
    /// Domain of the port.
    pub dom: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// The port.
    pub port: u32,
    /// Out: one of [`EVTCHN_STATES`].
    pub status: u32,
    /// Out: the vCPU notified.
    pub vcpu: u32,
    /// Out: [`EvtchnStatusUnbound`], [`EvtchnStatusInterdomain`], or in the first word the pirq or virq
    /// number.
    pub u: [u32; 2],
}

const_assert_eq!(size_of::<EvtchnStatus>(), 24);

/// Argument of `EVTCHNOP_bind_vcpu`. C name: `evtchn_bind_vcpu_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnBindVcpu {
    /// The port.
    pub port: u32,
    /// vCPU to notify.
    pub vcpu: u32,
}

const_assert_eq!(size_of::<EvtchnBindVcpu>(), 8);

/// Argument of `EVTCHNOP_unmask`. C name: `evtchn_unmask_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnUnmask {
    /// The port.
    pub port: u32,
}

const_assert_eq!(size_of::<EvtchnUnmask>(), 4);

/// Argument of `EVTCHNOP_reset`. C name: `evtchn_reset_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnReset {
    /// Domain to reset.
    pub dom: u16,
}

const_assert_eq!(size_of::<EvtchnReset>(), 2);

/// Argument of `EVTCHNOP_init_control`. C name: `evtchn_init_control_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnInitControl {
    /// Frame of the control block.
    pub control_gfn: u64,
    /// Offset in the frame, multiple of 8.
    pub offset: u32,
    /// vCPU of the control block.
    pub vcpu: u32,
    /// Out: width of the link field.
    pub link_bits: u8,
    /// Padding.
    pub _pad: [u8; 7],
}

const_assert_eq!(size_of::<EvtchnInitControl>(), 24);

/// Argument of `EVTCHNOP_expand_array`. C name: `evtchn_expand_array_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnExpandArray {
    /// Frame to add.
    pub array_gfn: u64,
}

const_assert_eq!(size_of::<EvtchnExpandArray>(), 8);

/// Argument of `EVTCHNOP_set_priority`. C name: `evtchn_set_priority_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnSetPriority {
    /// The port.
    pub port: u32,
    /// 0 (highest) to 15.
    pub priority: u32,
}

const_assert_eq!(size_of::<EvtchnSetPriority>(), 8);

/// FIFO control block of a vCPU. C name: `evtchn_fifo_control_block_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnFifoControlBlock {
    /// Bit per queue with events.
    pub ready: u32,
    /// Reserved.
    pub _rsvd: u32,
    /// Port at the head of each queue.
    pub head: [u32; 16],
}

const_assert_eq!(size_of::<EvtchnFifoControlBlock>(), 72);
