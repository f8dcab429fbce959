//! Virtual interrupt numbers (`xen.h`).

use crate::constants::constants;

constants! {
    /// Virtual interrupts bound by `EVTCHNOP_bind_virq`. "Global" ones go to one vCPU of one domain.
    VIRQS: u32;
    /// Per vCPU: time base update or requested timeout.
    VIRQ_TIMER = 0, "VIRQ_TIMER";
    /// Per vCPU: request to dump debug information.
    VIRQ_DEBUG = 1, "VIRQ_DEBUG";
    /// Global: bytes received on the emergency console.
    VIRQ_CONSOLE = 2, "VIRQ_CONSOLE";
    /// Global: exceptional event (such as a shutdown) in some domain.
    VIRQ_DOM_EXC = 3, "VIRQ_DOM_EXC";
    /// Global: trace buffers have records.
    VIRQ_TBUF = 4, "VIRQ_TBUF";
    /// Global: a domain has paused for debugging.
    VIRQ_DEBUGGER = 6, "VIRQ_DEBUGGER";
    /// Per vCPU: a new profile sample is available.
    VIRQ_XENOPROF = 7, "VIRQ_XENOPROF";
    /// Global: the console ring received output.
    VIRQ_CON_RING = 8, "VIRQ_CON_RING";
    /// Global: a physical CPU changed state.
    VIRQ_PCPU_STATE = 9, "VIRQ_PCPU_STATE";
    /// Global: a memory event occurred.
    VIRQ_MEM_EVENT = 10, "VIRQ_MEM_EVENT";
    /// Global: an Argo message is waiting.
    VIRQ_ARGO = 11, "VIRQ_ARGO";
    /// Global: the heap runs low.
    VIRQ_ENOMEM = 12, "VIRQ_ENOMEM";
    /// Per vCPU: performance-counter interrupt.
    VIRQ_XENPMU = 13, "VIRQ_XENPMU";
    /// First of the architecture's interrupts; on x86 `VIRQ_MCA`.
    VIRQ_ARCH_0 = 16, "VIRQ_ARCH_0";
    /// Architecture's second interrupt.
    VIRQ_ARCH_1 = 17, "VIRQ_ARCH_1";
    /// Architecture's third interrupt.
    VIRQ_ARCH_2 = 18, "VIRQ_ARCH_2";
    /// Architecture's fourth interrupt.
    VIRQ_ARCH_3 = 19, "VIRQ_ARCH_3";
    /// Architecture's fifth interrupt.
    VIRQ_ARCH_4 = 20, "VIRQ_ARCH_4";
    /// Architecture's sixth interrupt.
    VIRQ_ARCH_5 = 21, "VIRQ_ARCH_5";
    /// Architecture's seventh interrupt.
    VIRQ_ARCH_6 = 22, "VIRQ_ARCH_6";
    /// Architecture's eighth interrupt.
    VIRQ_ARCH_7 = 23, "VIRQ_ARCH_7";
    /// Global: machine-check telemetry is waiting (`arch-x86/xen-mca.h`).
    VIRQ_MCA = 16, "VIRQ_MCA";
}

constants! {
    /// Bounds of virtual interrupt numbers.
    VIRQ_LIMITS: u32;
    /// One past the largest virtual interrupt.
    NR_VIRQS = 24, "NR_VIRQS";
}
