//! The frame of an entry.

use vault::{GuestOwned, record};

/// Numbers of entries: the processor's vectors and those beyond.
pub mod vector {
    /// The processor's general protection fault.
    pub const PROTECTION: u32 = 13;
    /// The processor's page fault; its address is in the processor.
    pub const PAGE_FAULT: u32 = 14;
    /// `syscall` instruction: a hypercall or a system call.
    pub const SYSCALL: u32 = 256;
    /// The return to the guest faulted on its selectors.
    pub const BAD_RETURN: u32 = 257;
    /// The entry's end is decided: the guest goes on as its [`Transfer`](crate::Transfer) says.
    pub const TRANSFER: u32 = 258;
    /// A page fault whose address is in the context already.
    pub const KEPT_PAGE_FAULT: u32 = 259;
    /// The hypervisor's own: an event upcall is under way. Dispatched again it is nothing; it says whose work a
    /// failure hits.
    pub const UPCALL: u32 = 260;
    /// `sysenter` instruction. The processor keeps neither RIP, RSP nor CS: the stub puts 0, 0 and 3.
    pub const SYSENTER: u32 = 261;
    /// No entry: the last one is complete.
    pub const NONE: u32 = 512;
}

record! {
    /// Guest registers, in the order in which the entry code pushes them (as `cpu_user_regs` of
    /// public/arch-x86/xen.h begins).
    ///
    /// Lock: the vCPU's own CPU. Rebuild: nothing; guest-owned.
    pub struct Registers {
        /// Words 0 to 14: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi.
        words: [GuestOwned<u64>; 15],
        /// Error code of an exception; number of a hypercall or system call.
        pub error_code: GuestOwned<u32>,
        /// Vector of the entry: an exception, an interrupt, or one of [`vector`].
        pub vector: GuestOwned<u32>,
        /// rip, cs, rflags, rsp, ss.
        tail: [GuestOwned<u64>; 5],
    }
}

/// Names of the registers, as indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the processor's own names")]
pub enum Reg {
    R15,
    R14,
    R13,
    R12,
    Rbp,
    Rbx,
    R11,
    R10,
    R9,
    R8,
    Rax,
    Rcx,
    Rdx,
    Rsi,
    Rdi,
    Rip,
    Cs,
    Rflags,
    Rsp,
    Ss,
}

impl Reg {
    /// The general registers in hardware order (rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15).
    pub const HARDWARE: [Reg; 16] = [
        Reg::Rax,
        Reg::Rcx,
        Reg::Rdx,
        Reg::Rbx,
        Reg::Rsp,
        Reg::Rbp,
        Reg::Rsi,
        Reg::Rdi,
        Reg::R8,
        Reg::R9,
        Reg::R10,
        Reg::R11,
        Reg::R12,
        Reg::R13,
        Reg::R14,
        Reg::R15,
    ];
}

impl Registers {
    fn slot(&self, index: u32) -> &GuestOwned<u64> {
        match index {
            0..=14 => &self.words[index as usize],
            _ => &self.tail[(index as usize - 15).min(4)],
        }
    }

    /// A register's value.
    #[inline(always)]
    pub fn get(&self, register: Reg) -> u64 {
        self.slot(register as u32).get()
    }

    /// Gives a register a value: what a REGISTER effect does.
    #[inline(always)]
    pub fn set(&self, register: Reg, value: u64) {
        self.slot(register as u32).set(value);
    }

    /// As [`set`](Self::set), by index.
    #[inline(always)]
    pub fn set_index(&self, index: u32, value: u64) {
        match self.words.get(index as usize) {
            Some(word) => word.set(value),
            None => self.set_tail(index, value),
        }
    }

    /// Apart, for it is rare.
    #[cold]
    fn set_tail(&self, index: u32, value: u64) {
        self.slot(index).set(value);
    }

    /// All general registers in hardware order.
    pub fn general(&self) -> [u64; 16] {
        Reg::HARDWARE.map(|r| self.get(r))
    }

    /// The five arguments of a hypercall (rdi, rsi, rdx, r10, r8).
    #[inline(always)]
    pub fn arguments(&self) -> [u64; 5] {
        [Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::R10, Reg::R8].map(|r| self.get(r))
    }
}
