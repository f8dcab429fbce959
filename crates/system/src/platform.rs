//! What the composition needs of a machine.

use command_line::LogLevels;
use guest_memory::GuestMemory;
use hypercalls::Clock;
use ids::{CpuId, Gva, Maddr, Mfn, VcpuSlot};
use pv_cpu::Context;
use vault::GuestOwned;

/// What a TLB forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Every translation, global ones too.
    All,
    /// The translation of one page.
    Page(Gva),
}

/// A segment base of the running vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// FS.
    Fs,
    /// GS as it is active.
    Gs,
    /// GS that `swapgs` would make active.
    OtherGs,
}

/// What is to become of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Enter an ACPI sleep state by these values of the PM1 control registers.
    Sleep {
        /// Value for PM1a_CNT.
        pm1a: u16,
        /// Value for PM1b_CNT.
        pm1b: u16,
    },
    /// Off, by what the firmware tables say.
    Off,
    /// Reset.
    Reset,
}

/// A machine. Methods act on the CPU that calls them.
pub trait Platform: GuestMemory + Clock + 'static {
    /// Pieces of long work in one entry before the guest gets a breath. Most take some hundreds of instructions, a run of 96
    /// present entries that are validated some 7,000. A full table whose references go takes some 50,000, which is nine.
    fn budget(&self) -> u32 {
        256
    }
    /// A hypercall is dispatched, for the first time or again.
    fn dispatching(&self) {}
    /// Whether what is usual of system calls and page faults may be done without this crate.
    fn set_swift(&self, _allowed: bool) {}
    /// Loads a page-table root of the address space that is loaded, of either mode: pages of its user mode, which are
    /// global, may still be known.
    fn load_root(&self, root: Mfn);
    /// Loads a root of another address space: nothing of the one before is known any more.
    fn load_space(&self, root: Mfn);
    /// Exchanges the two GS bases and notes in `active` whose is active then, `mode`: one step for recovery.
    fn swap_gs(&self, active: &GuestOwned<u8>, mode: u8);
    /// Reads a segment base.
    fn base(&self, which: Base) -> u64;
    /// Sets a segment base.
    fn set_base(&self, which: Base, value: u64);
    /// Makes this CPU's TLB forget.
    fn flush(&self, what: Flush);
    /// Asks another CPU to forget that before it runs a guest again.
    fn ask_flush(&self, cpu: CpuId, what: Flush);
    /// Waits until those asked have done so; no lock is held.
    fn await_flush(&self, cpus: u32);
    /// Sets a machine-to-physical entry.
    fn set_m2p(&self, mfn: Mfn, pfn: u64);
    /// Shows these frames as the guest's GDT (their order is their place); the rest of the window is empty.
    fn set_gdt(&self, frames: &[Mfn]);
    /// Shows these frames as the guest's LDT with that many entries; none: no LDT.
    fn set_ldt(&self, frames: &[Mfn], entries: u32);
    /// Loads debug registers 0 to 3, 6 and 7.
    fn set_debug(&self, registers: &[u64; 8]);
    /// Sets CR0.TS, the guest's CR4 bits and XCR0.
    fn set_control(&self, task_switched: bool, cr4: u64, xcr0: u64);
    /// The address of the last page fault.
    fn fault_address(&self) -> u64;
    /// Which CPU this is.
    fn cpu(&self) -> CpuId;
    /// Makes another CPU enter the hypervisor soon.
    fn kick(&self, cpu: CpuId);
    /// Raises this CPU's timer interrupt at `deadline` ns of system time; `u64::MAX`: never.
    fn arm_timer(&self, deadline: u64);
    /// Waits with interrupts enabled until one came; it is handled before this returns.
    fn idle(&self);
    /// Ends the interrupt in service.
    fn end_of_interrupt(&self);
    /// Reads a port of `width` bytes.
    fn port_in(&self, port: u16, width: u32) -> u32;
    /// Writes a port of `width` bytes.
    fn port_out(&self, port: u16, width: u32, value: u32);
    /// Writes `width` bytes of device memory, naturally aligned.
    fn write_device(&self, at: Maddr, width: u32, value: u64);
    /// Whether a port belongs to a device the hypervisor drives (its console, the ACPI timer).
    fn owns_port(&self, port: u16) -> bool;
    /// Loads the selector and base of the GS that is not active; a selector that faults becomes null.
    fn load_user_gs(&self, selector: u16);
    /// Saves ds, es, fs, gs, the three bases and the extended state into the context.
    fn save(&self, vcpu: VcpuSlot, context: &Context);
    /// Loads what [`save`](Self::save) saved, but for selectors and bases, which need the guest's descriptor
    /// tables.
    fn restore(&self, vcpu: VcpuSlot, context: &Context);
    /// Forgets what was saved of a vCPU's extended state: it is that after a reset.
    fn forget(&self, vcpu: VcpuSlot);
    /// Loads the data selectors: ds, es, fs, gs. Those that fault become null; false: there were some. The
    /// segment bases are undefined afterwards.
    fn load_selectors(&self, selectors: [u16; 4]) -> bool;
    /// Loads a data selector of the local table (0: ds, 1: es, 2: fs, 3: gs) as that of a flat segment, whatever the
    /// table has; the table and the segment bases are undefined afterwards.
    fn force_selector(&self, which: usize, selector: u16);
    /// Reads a model-specific register, `None` if that faults.
    fn read_msr(&self, index: u32) -> Option<u64>;
    /// Writes a model-specific register.
    fn write_msr(&self, index: u32, value: u64);
    /// The time-stamp counter.
    fn tsc(&self) -> u64;
    /// Writes back and invalidates caches.
    fn write_back_caches(&self);
    /// Console output of guests, into the console ring.
    fn console(&self, bytes: &[u8]);
    /// Reasons (`xen_abi::nmi::NMI_REASONS`) of NMIs of the machine that Dom0 has not been told of.
    fn nmi_reasons(&self) -> u8 {
        0
    }
    /// Dom0 has been told of these, or was not to be: their sources may raise others.
    fn nmi_told(&self, _reasons: u8) {}
    /// Forgets the log up to this position, again if it was forgotten already.
    fn forget_log(&self, position: u32);
    /// Prints other messages from now on: of the hypervisor, about guests.
    fn set_log_levels(&self, _levels: [LogLevels; 2]) {}
    /// Takes what the console's port received; returns how many bytes.
    fn console_receive(&self, out: &mut [u8]) -> usize;
    /// The data selectors: ds, es, fs, gs.
    fn selectors(&self) -> [u16; 4];
    /// A line of the hypervisor's own log.
    fn log(&self, line: core::fmt::Arguments<'_>);
    /// Programs an interrupt's route from its durable record; a message that was freed (it has no route, but a
    /// device still) is switched off there.
    fn program_route(&self, irq: u32);
    /// This CPU holds no vCPU's registers any more: no page tables and no descriptor tables of a guest's.
    fn let_go(&self);
    /// Changes the machine's power state; returns only if that failed.
    fn power(&self, what: Power);
}
