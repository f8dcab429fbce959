//! This CPU's local APIC, in xAPIC or x2APIC mode behind one interface (Intel SDM volume 3, chapter 11).
#![expect(unsafe_code, reason = "device registers")]

use crate::{control, layout};

/// How the registers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Memory-mapped at [`layout::LOCAL_APIC`], 8-bit identifiers.
    XApic,
    /// Model-specific registers, 32-bit identifiers.
    X2Apic,
}

/// An interrupt one CPU sends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipi {
    /// An ordinary interrupt with this vector, 16 to 255.
    Fixed(u8),
    /// Non-maskable.
    Nmi,
    /// To the wait-for-start-up state.
    Init,
    /// From there, in real mode, at this page number.
    Startup(u8),
}

impl Ipi {
    /// The low word of the interrupt command register: delivery mode, vector, level assert.
    pub const fn command(self) -> u32 {
        const ASSERT: u32 = 1 << 14;
        ASSERT
            | match self {
                Self::Fixed(vector) => vector as u32,
                Self::Nmi => 4 << 8,
                Self::Init => 5 << 8,
                Self::Startup(page) => 6 << 8 | page as u32,
            }
    }
}

/// What a LINT pin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Nothing.
    Masked,
    /// NMI.
    Nmi,
    /// Interrupts of the 8259 pair.
    External,
}

/// A set of interrupt vectors: the in-service or request register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors(pub [u32; 8]);

impl Vectors {
    /// True if `vector` is in the set.
    pub fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] & (1 << (vector & 31)) != 0
    }

    /// True if no vector is.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }

    /// The vectors, highest priority (highest number) first.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255).rev().filter(|&vector| self.contains(vector))
    }
}

const APIC_BASE: u32 = x86::msr::IA32_APIC_BASE;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const X2APIC_FIRST: u32 = 0x800;

const ID: u32 = 0x20;
const VERSION: u32 = 0x30;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xb0;
const LOGICAL_DESTINATION: u32 = 0xd0;
const DESTINATION_FORMAT: u32 = 0xe0;
const SPURIOUS: u32 = 0xf0;
const IN_SERVICE: u32 = 0x100;
const REQUEST: u32 = 0x200;
const ERROR_STATUS: u32 = 0x280;
const LVT_CMCI: u32 = 0x2f0;
const COMMAND_LOW: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_THERMAL: u32 = 0x330;
const LVT_COUNTER: u32 = 0x340;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
/// Timer mode in the LVT: the deadline register.
const TSC_DEADLINE: u32 = 2 << 17;
/// IA32_TSC_DEADLINE.
const DEADLINE: u32 = 0x6e0;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const DELIVERY_PENDING: u32 = 1 << 12;
const SELF: u32 = 1 << 18;
const ALL_BUT_SELF: u32 = 3 << 18;
const DIVIDE_BY_1: u32 = 0b1011;
/// Polls before a pending command is overtaken; each is an uncached read.
const MAX_COMMAND_POLLS: u32 = 100_000;

/// The local APIC of whichever CPU runs this.
#[derive(Clone, Copy, Debug)]
pub struct LocalApic {
    mode: Mode,
}

impl LocalApic {
    /// The mode the firmware left this CPU's APIC in.
    pub fn firmware_mode() -> Mode {
        // SAFETY: every x86-64 CPU has the register.
        let base = unsafe { control::read_msr(APIC_BASE) };
        if base & BASE_X2APIC != 0 { Mode::X2Apic } else { Mode::XApic }
    }

    /// The APICs, used in `mode`.
    ///
    /// # Safety
    /// In xAPIC mode [`layout::LOCAL_APIC`] maps the APIC's registers, uncached; every CPU calls [`Self::enable`]
    /// before anything else.
    pub const unsafe fn new(mode: Mode) -> Self {
        Self { mode }
    }

    /// The mode in use.
    pub const fn mode(self) -> Mode {
        self.mode
    }

    /// Switches this CPU's APIC to the mode and on: everything local masked, priority 0, no error pending, spurious
    /// interrupts at `spurious`. Interrupts in service stay so: see [`Self::in_service`].
    pub fn enable(self, spurious: u8) {
        // SAFETY: as in `firmware_mode`.
        let base = unsafe { control::read_msr(APIC_BASE) };
        let wanted = base | BASE_ENABLE | if self.mode == Mode::X2Apic { BASE_X2APIC } else { 0 };
        if wanted != base {
            // SAFETY: the APIC stays where it is; from xAPIC to x2APIC is a legal change (11.12.5).
            unsafe { control::write_msr(APIC_BASE, wanted) };
        }
        for entry in [LVT_TIMER, LVT_LINT0, LVT_LINT1, LVT_ERROR] {
            self.write(entry, MASKED);
        }
        let highest = (self.read(VERSION) >> 16) & 0xff;
        for (entry, number) in [(LVT_COUNTER, 4), (LVT_THERMAL, 5), (LVT_CMCI, 6)] {
            if highest >= number {
                self.write(entry, MASKED);
            }
        }
        if self.mode == Mode::XApic {
            self.write(DESTINATION_FORMAT, u32::MAX);
            self.write(LOGICAL_DESTINATION, 0);
        }
        self.write(TASK_PRIORITY, 0);
        self.write(SPURIOUS, SOFTWARE_ENABLE | u32::from(spurious));
        self.take_errors();
    }

    /// This CPU's APIC identifier.
    pub fn id(self) -> u32 {
        let id = self.read(ID);
        if self.mode == Mode::X2Apic { id } else { id >> 24 }
    }

    /// Ends the interrupt in service with the highest priority.
    #[inline]
    pub fn end_of_interrupt(self) {
        self.write(END_OF_INTERRUPT, 0);
    }

    /// Sends `ipi` to the CPU with APIC identifier `target`.
    ///
    /// # Safety
    /// [`Ipi::Init`] and [`Ipi::Startup`] take the target's control away: it owns nothing that others wait for, and the
    /// page is start-up code. For the others its IDT has a handler.
    pub unsafe fn send(self, ipi: Ipi, target: u32) {
        self.command(ipi.command(), target);
    }

    /// Sends `ipi` to all CPUs but this one.
    ///
    /// # Safety
    /// As [`Self::send`], for each of them, those included that were never started.
    pub unsafe fn send_to_others(self, ipi: Ipi) {
        self.command(ipi.command() | ALL_BUT_SELF, 0);
    }

    /// Sends this CPU an ordinary interrupt. An NMI's handler may do so in the middle of another command: of the
    /// registers this one needs the last, which begins it, alone.
    pub fn send_to_self(self, vector: u8) {
        let command = Ipi::Fixed(vector).command() | SELF;
        match self.mode {
            Mode::XApic => self.write(COMMAND_LOW, command),
            Mode::X2Apic => self.command(command, 0),
        }
    }

    fn command(self, command: u32, target: u32) {
        if self.mode == Mode::X2Apic {
            // Stores before the command shall be seen by its receiver (11.12.3: the write is not serialising).
            // SAFETY: two fences.
            unsafe { core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags)) };
            let value = u64::from(target) << 32 | u64::from(command);
            // SAFETY: the command register of x2APIC mode; the caller of `send` promised the rest.
            unsafe { control::write_msr(X2APIC_FIRST + (COMMAND_LOW >> 4), value) };
            return;
        }
        let mut polls = 0;
        while self.read(COMMAND_LOW) & DELIVERY_PENDING != 0 && polls < MAX_COMMAND_POLLS {
            polls += 1;
            core::hint::spin_loop();
        }
        self.write(COMMAND_HIGH, target << 24);
        self.write(COMMAND_LOW, command);
    }

    /// Makes the timer's interrupts come at `vector` (one shot, divisor 1); it is stopped until [`Self::start_timer`].
    pub fn set_timer_vector(self, vector: u8) {
        self.write(INITIAL_COUNT, 0);
        self.write(DIVIDE, DIVIDE_BY_1);
        self.write(LVT_TIMER, u32::from(vector));
    }

    /// True if the timer can wait for a value of the time-stamp counter (CPUID 1 ECX bit 24).
    pub fn has_deadline() -> bool {
        raw_cpuid::CpuId::new().get_feature_info().is_some_and(|features| features.has_tsc_deadline())
    }

    /// Makes the timer's interrupts come at `vector` when the time-stamp counter reaches
    /// [`Self::set_deadline`]'s value (11.5.4.1).
    pub fn set_deadline_vector(self, vector: u8) {
        self.write(LVT_TIMER, u32::from(vector) | TSC_DEADLINE);
        // The mode is set before the first deadline is.
        // SAFETY: a fence.
        unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
    }

    /// Interrupts once at this time stamp, at once if it has passed; 0: not at all.
    #[inline]
    pub fn set_deadline(self, stamp: u64) {
        // SAFETY: the register of the mode that `set_deadline_vector` set, which CPUID reports.
        unsafe { control::write_msr(DEADLINE, stamp) };
    }

    /// Interrupts once after `ticks`, at least 1; see [`crate::clock::ticks_for`].
    #[inline]
    pub fn start_timer(self, ticks: u32) {
        self.write(INITIAL_COUNT, ticks.max(1));
    }

    /// No timer interrupt from now on; one already requested still comes.
    #[inline]
    pub fn stop_timer(self) {
        self.write(INITIAL_COUNT, 0);
    }

    /// Ticks left of the running shot.
    pub fn timer_left(self) -> u32 {
        self.read(CURRENT_COUNT)
    }

    /// Lets the timer count down from its maximum without an interrupt: for calibration.
    pub fn start_silent_count(self) {
        self.write(LVT_TIMER, MASKED);
        self.write(DIVIDE, DIVIDE_BY_1);
        self.write(INITIAL_COUNT, u32::MAX);
    }

    /// Sets what LINT0 or LINT1 (`lint` 0 or 1) does.
    pub fn set_pin(self, lint: u8, pin: Pin) {
        let entry = match pin {
            Pin::Masked => MASKED,
            Pin::Nmi => 4 << 8,
            Pin::External => 7 << 8,
        };
        self.write(if lint == 0 { LVT_LINT0 } else { LVT_LINT1 }, entry);
    }

    /// Reports APIC errors at `vector`; `None`: not at all.
    pub fn set_error_vector(self, vector: Option<u8>) {
        self.take_errors();
        self.write(LVT_ERROR, vector.map_or(MASKED, u32::from));
    }

    /// The errors since the last call (11.5.3).
    pub fn take_errors(self) -> u32 {
        self.write(ERROR_STATUS, 0);
        self.read(ERROR_STATUS)
    }

    /// Vectors taken and not ended.
    pub fn in_service(self) -> Vectors {
        self.vectors(IN_SERVICE)
    }

    /// Vectors arrived and not taken.
    pub fn requested(self) -> Vectors {
        self.vectors(REQUEST)
    }

    fn vectors(self, first: u32) -> Vectors {
        let mut words = [0; 8];
        for (word, register) in words.iter_mut().zip((first..).step_by(0x10)) {
            *word = self.read(register);
        }
        Vectors(words)
    }

    #[inline]
    fn read(self, register: u32) -> u32 {
        match self.mode {
            // SAFETY: `new` promised the mapping; a register's offset is within its page.
            Mode::XApic => unsafe { pointer(register).read_volatile() },
            // SAFETY: `enable` switched this CPU to x2APIC mode.
            Mode::X2Apic => (unsafe { control::read_msr(X2APIC_FIRST + (register >> 4)) }) as u32,
        }
    }

    #[inline]
    fn write(self, register: u32, value: u32) {
        match self.mode {
            // SAFETY: as in `read`.
            Mode::XApic => unsafe { pointer(register).write_volatile(value) },
            // SAFETY: as in `read`.
            Mode::X2Apic => unsafe { control::write_msr(X2APIC_FIRST + (register >> 4), u64::from(value)) },
        }
    }
}

fn pointer(register: u32) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(layout::LOCAL_APIC as usize + register as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_manuals() {
        assert_eq!(Ipi::Fixed(0xfd).command(), 0x40fd);
        assert_eq!(Ipi::Nmi.command(), 0x4400);
        assert_eq!(Ipi::Init.command(), 0x4500);
        assert_eq!(Ipi::Startup(8).command(), 0x4608);
    }

    #[test]
    fn vectors_come_highest_first() {
        let set = Vectors([0, 1, 0, 0, 0, 0, 1 << 4, 1 << 31]);
        assert!(set.iter().eq([255, 196, 32]) && !set.is_empty() && Vectors::default().is_empty());
    }
}
