//! A vCPU's durable context.

use crate::registers::Registers;
use crate::transfer::Transfer;
use core::mem::offset_of;
use ids::{Gva, Mfn, VcpuSlot};
use static_assertions::const_assert_eq;
use vault::{Arena, Durable, GuestOwned, record};

/// Kinds of callback (`CALLBACKTYPE_*` of public/callback.h: event 0, failsafe 1, syscall 2, nmi 4,
/// sysenter 5, syscall32 7).
pub const CALLBACKS: usize = 8;

record! {
    /// A registered entry point of the guest kernel.
    ///
    /// Lock: the vCPU's own CPU. Rebuild: nothing is derived.
    pub struct Callback {
        /// Its address; 0 when there is none.
        pub address: Durable<Gva>,
        /// Whether events are masked on entry.
        pub mask: Durable<bool>,
    }
}

record! {
    /// One entry of the guest's trap table (`trap_info`).
    ///
    /// Lock: the vCPU's own CPU. Rebuild: nothing is derived.
    pub struct Trap {
        /// The handler; 0 when there is none.
        pub address: Durable<Gva>,
        /// Its code selector, RPL 3.
        pub cs: Durable<u16>,
        /// Bits 0 and 1: privilege that may raise it by `int`; bit 2: mask events.
        pub flags: Durable<u8>,
    }
}

record! {
    /// The processor state of one PV vCPU.
    ///
    /// Lock: the CPU that runs it; whoever brings it up while it is down. Rebuild: the CPU loads it anew
    /// (`sync` bits), nothing is derived.
    pub struct Context {
        /// Top of the stack of the CPU that runs it: entry code goes on there.
        pub stack: GuestOwned<u64>,
        /// The frame. Its end is where the processor begins to push.
        pub registers: Registers,
        /// Where it goes on, while the vector says so.
        pub transfer: Transfer,
        /// Machine address of its vcpu_info while it is loaded: derived, for the entry code; every loading writes
        /// it.
        pub info: GuestOwned<u64>,
        /// Mode whose GS base is active on the CPU; the other's waits in the swap register. Four bytes from here on
        /// are looked at as one (`offsets::MODES`).
        pub gs_mode: GuestOwned<u8>,
        mode: GuestOwned<u8>,
        /// Whether an NMI or machine check handler runs (until `iret`).
        pub in_nmi: GuestOwned<bool>,
        zero: GuestOwned<u8>,
        gap: GuestOwned<u32>,
        /// Address of the last page fault that entered from this vCPU.
        pub fault_address: GuestOwned<u64>,
        /// FS base while not loaded.
        pub fs_base: GuestOwned<u64>,
        /// GS bases while not loaded: of the guest's user mode and of its kernel mode.
        pub gs_base: [GuestOwned<u64>; 2],
        /// Data selectors while not loaded: ds, es, fs, gs.
        pub selectors: [GuestOwned<u16>; 4],
        /// Where the registers are that the CPU holds while it is loaded (bases, selectors, extended state):
        /// [`IN_CPU`], the one that loaded it last, [`SAVED`] or [`FRESH`].
        pub fpu_saved: GuestOwned<u8>,
        /// What of the entry in progress could not be written to the guest: bits of [`fault`].
        pub copy_fault: GuestOwned<u8>,
        /// Failures of the hypervisor in the entry in progress; 0 once it is complete.
        pub failures: GuestOwned<u8>,
        /// CR0.TS as the guest set it.
        pub task_switched: Durable<bool>,
        /// The guest's I/O privilege level (`PHYSDEVOP_set_iopl`).
        pub iopl: Durable<u8>,
        /// Ports covered by the I/O bitmap.
        pub io_ports: Durable<u32>,
        /// Guest address of the I/O bitmap; 0 for none.
        pub io_bitmap: Durable<Gva>,
        /// Stack of its kernel (`stack_switch`).
        pub kernel_sp: Durable<u64>,
        /// Stack selector of its kernel.
        pub kernel_ss: Durable<u64>,
        /// Root table of its kernel mode.
        pub root_kernel: Durable<Mfn>,
        /// Root table of its user mode; 0 for none.
        pub root_user: Durable<Mfn>,
        /// CR4 bits it set.
        pub cr4: Durable<u64>,
        /// XCR0 it set.
        pub xcr0: Durable<u64>,
        /// TSC_AUX it set.
        pub tsc_aux: Durable<u32>,
        /// GDT entries.
        pub gdt_entries: Durable<u32>,
        /// GDT frames.
        pub gdt: [Durable<Mfn>; 14],
        /// LDT: linear base and entries.
        pub ldt_base: Durable<Gva>,
        /// LDT entries.
        pub ldt_entries: Durable<u32>,
        spare: Durable<u32>,
        /// LDT frames.
        pub ldt: [Durable<Mfn>; 16],
        /// DR0 to DR7.
        pub debug: [Durable<u64>; 8],
        /// Callbacks, by type.
        pub callbacks: [Callback; CALLBACKS],
        /// Trap table, by vector.
        pub traps: [Trap; 256],
        /// A page table that an update or a change of roots of this vCPU left, and that is still to be unvalidated if
        /// nobody else holds it (`pv_mmu::Mmu::settle`); 0 for none.
        pub debt: Durable<Mfn>,
    }
}

/// Of [`Context::fpu_saved`]: in the CPU.
pub const IN_CPU: u8 = 0;
/// All in memory.
pub const SAVED: u8 = 1;
/// All in memory, but the extended state, which is that after a reset.
pub const FRESH: u8 = 2;

/// Offset of the end of the frame, where the processor begins to push.
const FRAME_END: usize = offset_of!(Context, registers) + size_of::<Registers>();
const_assert_eq!(FRAME_END % 16, 0);
const_assert_eq!(offset_of!(Context, stack), 0);
const_assert_eq!(size_of::<Context>() % 16, 0);

/// Bits of [`Context::copy_fault`]. They are found again after a crash: a commit that was to write to the guest
/// is not repeated.
pub mod fault {
    /// A result: the hypercall's own becomes `-EFAULT`.
    pub const RESULT: u8 = 1;
}

/// A PV guest's two rings in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// User mode.
    User = 0,
    /// Kernel mode.
    Kernel = 1,
}

impl Context {
    /// A new vCPU gets this context: what its first state does not set is as in one that was never used.
    pub fn reset(&self, tx: &mut vault::Tx<'_>) {
        tx.set(&self.io_ports, 0);
        tx.set(&self.io_bitmap, Gva(0));
        tx.set(&self.tsc_aux, 0);
        tx.set(&self.gdt_entries, 0);
        tx.set(&self.ldt_entries, 0);
        self.failures.set(0);
        self.copy_fault.set(0);
        self.fault_address.set(0);
        self.info.set(0);
        self.fpu_saved.set(FRESH);
    }

    pub(crate) const MODE_AT: usize = offset_of!(Context, mode);
    /// Offset of the frame's end in a context.
    pub const FRAME_END: usize = FRAME_END;

    /// The mode it runs in.
    #[inline(always)]
    pub fn mode(&self) -> Mode {
        if self.mode.get() == Mode::Kernel as u8 { Mode::Kernel } else { Mode::User }
    }

    /// Changes the mode of a vCPU that does not run, or as part of a [transfer](crate::complete).
    #[inline(always)]
    pub fn set_mode(&self, mode: Mode) {
        self.mode.set(mode as u8);
    }

    /// The root table of the present mode.
    pub fn root(&self) -> Mfn {
        match self.mode() {
            Mode::Kernel => self.root_kernel.get(),
            Mode::User => self.root_user.get(),
        }
    }
}

/// The contexts, by vCPU slot.
#[derive(Clone, Copy)]
pub struct Region {
    contexts: &'static [Context],
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({} contexts)", self.contexts.len())
    }
}

impl Region {
    /// Carves the contexts. `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, vcpus: usize) -> Option<Self> {
        Some(Self { contexts: arena.carve(vcpus)? })
    }

    /// The context of a slot.
    #[inline(always)]
    pub fn context(&self, slot: VcpuSlot) -> &'static Context {
        &self.contexts[slot.0 as usize]
    }

    /// The slot of one of these contexts.
    #[inline(always)]
    pub fn slot_of(&self, context: &Context) -> VcpuSlot {
        let offset = core::ptr::from_ref(context).addr() - self.contexts.as_ptr().addr();
        VcpuSlot((offset / size_of::<Context>()) as u32)
    }
}
