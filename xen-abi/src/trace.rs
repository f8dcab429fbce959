//! Records of trace buffers (`trace.h`).
//!
//! A record is a head, if it says so two words of time (the TSC, low word first), and up to seven words of its own. The
//! head has the event in its low 28 bits, then how many words there are, then whether there is a time. A CPU's buffer
//! begins with two words, `cons` and `prod`: bytes that were read and written, modulo twice the bytes that follow.

use crate::constants::constants;

constants! {
    /// Parts of a head, and flags of events.
    TRC_HEAD: u32;
    /// Words that a record has of its own at most.
    TRACE_EXTRA_MAX = 7, "TRACE_EXTRA_MAX";
    /// Where their number stands.
    TRACE_EXTRA_SHIFT = 28, "TRACE_EXTRA_SHIFT";
    /// There is a time.
    TRC_HD_CYCLE_FLAG = 1 << 31, "TRC_HD_CYCLE_FLAG";
    /// Where an event's class stands.
    TRC_CLS_SHIFT = 16, "TRC_CLS_SHIFT";
    /// Where its class within that stands.
    TRC_SUBCLS_SHIFT = 12, "TRC_SUBCLS_SHIFT";
    /// Addresses have 64 bits.
    TRC_64_FLAG = 0x100, "TRC_64_FLAG";
    /// Every class.
    TRC_ALL = 0x0fff_f000, "TRC_ALL";
}

constants! {
    /// Events.
    TRC_EVENTS: u32;
    /// Records before this one were lost.
    TRC_LOST_RECORDS = 0x1f001, "TRC_LOST_RECORDS";
    /// Fills the end of a buffer.
    TRC_TRACE_WRAP_BUFFER = 0x1f002, "TRC_TRACE_WRAP_BUFFER";
    /// A vCPU's runstate changes: from bits 8 and 9 to bits 4 and 5.
    TRC_SCHED_RUNSTATE_CHANGE = 0x21001, "TRC_SCHED_RUNSTATE_CHANGE";
    /// A vCPU was chosen again.
    TRC_SCHED_CONTINUE_RUNNING = 0x21002, "TRC_SCHED_CONTINUE_RUNNING";
    /// A domain comes to be scheduled.
    TRC_SCHED_DOM_ADD = 0x28001, "TRC_SCHED_DOM_ADD";
    /// One goes.
    TRC_SCHED_DOM_REM = 0x28002, "TRC_SCHED_DOM_REM";
    /// A vCPU may not run any more.
    TRC_SCHED_SLEEP = 0x28003, "TRC_SCHED_SLEEP";
    /// A vCPU wants a CPU.
    TRC_SCHED_WAKE = 0x28004, "TRC_SCHED_WAKE";
    /// A vCPU gives way.
    TRC_SCHED_YIELD = 0x28005, "TRC_SCHED_YIELD";
    /// A vCPU waits for an event.
    TRC_SCHED_BLOCK = 0x28006, "TRC_SCHED_BLOCK";
    /// A domain shuts down.
    TRC_SCHED_SHUTDOWN = 0x28007, "TRC_SCHED_SHUTDOWN";
    /// A domain's share is set.
    TRC_SCHED_ADJDOM = 0x28009, "TRC_SCHED_ADJDOM";
    /// From one vCPU to another.
    TRC_SCHED_SWITCH = 0x2800a, "TRC_SCHED_SWITCH";
    /// Who ran, and how long.
    TRC_SCHED_SWITCH_INFPREV = 0x2800e, "TRC_SCHED_SWITCH_INFPREV";
    /// Who runs, how long it waited, how long it may run.
    TRC_SCHED_SWITCH_INFNEXT = 0x2800f, "TRC_SCHED_SWITCH_INFNEXT";
    /// A domain says how it will have shut down.
    TRC_SCHED_SHUTDOWN_CODE = 0x28010, "TRC_SCHED_SHUTDOWN_CODE";
    /// A domain is made.
    TRC_DOM0_DOM_ADD = 0x41001, "TRC_DOM0_DOM_ADD";
    /// A domain ends.
    TRC_DOM0_DOM_REM = 0x41002, "TRC_DOM0_DOM_REM";
    /// A granted frame is mapped.
    TRC_MEM_PAGE_GRANT_MAP = 0x10f001, "TRC_MEM_PAGE_GRANT_MAP";
    /// It is unmapped.
    TRC_MEM_PAGE_GRANT_UNMAP = 0x10f002, "TRC_MEM_PAGE_GRANT_UNMAP";
    /// A frame is given away.
    TRC_MEM_PAGE_GRANT_TRANSFER = 0x10f003, "TRC_MEM_PAGE_GRANT_TRANSFER";
    /// Frames are given back.
    TRC_MEM_DECREASE_RESERVATION = 0x10f005, "TRC_MEM_DECREASE_RESERVATION";
    /// An exception goes to a kernel.
    TRC_PV_TRAP = 0x20_1003, "TRC_PV_TRAP";
    /// A page fault does.
    TRC_PV_PAGE_FAULT = 0x20_1004, "TRC_PV_PAGE_FAULT";
    /// A marked instruction was carried out.
    TRC_PV_FORCED_INVALID_OP = 0x20_1005, "TRC_PV_FORCED_INVALID_OP";
    /// A privileged instruction was carried out.
    TRC_PV_EMULATE_PRIVOP = 0x20_1006, "TRC_PV_EMULATE_PRIVOP";
    /// A write to a page table was carried out.
    TRC_PV_PTWR_EMULATION = 0x20_100b, "TRC_PV_PTWR_EMULATION";
    /// A hypercall.
    TRC_PV_HYPERCALL_V2 = 0x20_100d, "TRC_PV_HYPERCALL_V2";
    /// One of a multicall.
    TRC_PV_HYPERCALL_SUBCALL = 0x20_200e, "TRC_PV_HYPERCALL_SUBCALL";
    /// An interrupt was handled.
    TRC_HW_IRQ_HANDLED = 0x80_2008, "TRC_HW_IRQ_HANDLED";
    /// An interrupt came that is nobody's.
    TRC_HW_IRQ_UNMAPPED_VECTOR = 0x80_2007, "TRC_HW_IRQ_UNMAPPED_VECTOR";
}
