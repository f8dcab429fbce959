//! The guest's registers as the decoder reads them, and the changes it asks for.

/// RFLAGS bits (AMD64 manual volume 2, section 3.1.6).
pub mod rflags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Carry out of bit 3.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Trap flag: single step.
    pub const TF: u64 = 1 << 8;
    /// Direction of string instructions.
    pub const DF: u64 = 1 << 10;
    /// Signed overflow.
    pub const OF: u64 = 1 << 11;
    /// Resume flag; cleared by every completed instruction.
    pub const RF: u64 = 1 << 16;
    /// The six flags that arithmetic changes.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// A general-purpose register by its hardware number (0 = RAX … 15 = R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr(u8);

impl Gpr {
    /// Accumulator.
    pub const RAX: Self = Self(0);
    /// Counter.
    pub const RCX: Self = Self(1);
    /// Data.
    pub const RDX: Self = Self(2);
    /// Base.
    pub const RBX: Self = Self(3);
    /// Source index.
    pub const RSI: Self = Self(6);
    /// Destination index.
    pub const RDI: Self = Self(7);

    /// The register with this number; only the low four bits count.
    pub const fn new(number: u8) -> Self {
        Self(number & 15)
    }

    /// The hardware number, 0 to 15.
    pub const fn number(self) -> usize {
        (self.0 & 15) as usize
    }
}

/// Width of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Dword,
    /// 64 bits.
    Qword,
}

impl Width {
    /// Bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// Bits: 8, 16, 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Byte => 8,
            Self::Word => 16,
            Self::Dword => 32,
            Self::Qword => 64,
        }
    }

    /// All ones in this width.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The most significant bit of this width.
    pub const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    /// `value` written over the low part of a register holding `old`: 32-bit results clear the upper
    /// half, 8- and 16-bit results keep the rest (AMD64 manual volume 1, section 3.1.2).
    pub const fn merge(self, old: u64, value: u64) -> u64 {
        match self {
            Self::Byte | Self::Word => old & !self.mask() | value & self.mask(),
            Self::Dword | Self::Qword => value & self.mask(),
        }
    }
}

/// A segment whose base takes part in a 64-bit address. The others have base 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Segment {
    /// Base 0 (CS, DS, ES, SS in 64-bit mode).
    #[default]
    Flat,
    /// FS.
    Fs,
    /// GS (the base that is active now).
    Gs,
}

/// A copy of the guest's integer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Registers {
    /// General-purpose registers in hardware order: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
    pub gpr: [u64; 16],
    /// Address of the instruction.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Base of FS; read only for an instruction with an FS override.
    pub fs_base: u64,
    /// Active base of GS; read only for an instruction with a GS override.
    pub gs_base: u64,
}

impl Registers {
    /// Value of a register.
    pub const fn get(&self, gpr: Gpr) -> u64 {
        self.gpr[gpr.number()]
    }

    /// EDX:EAX.
    pub(crate) const fn edx_eax(&self) -> u64 {
        (self.get(Gpr::RDX) << 32) | (self.get(Gpr::RAX) & 0xffff_ffff)
    }

    /// Base of a segment.
    pub const fn segment_base(&self, segment: Segment) -> u64 {
        match segment {
            Segment::Flat => 0,
            Segment::Fs => self.fs_base,
            Segment::Gs => self.gs_base,
        }
    }
}

/// A full 64-bit value for one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GprWrite {
    /// The register.
    pub gpr: Gpr,
    /// Its new value, all 64 bits (narrow results are merged already).
    pub value: u64,
}

/// The guest's registers after the instruction. RFLAGS.TF is left as it was: when it is set and the
/// instruction completed, the caller owes the guest a #DB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterUpdate {
    /// New RIP.
    pub rip: u64,
    /// New RFLAGS.
    pub rflags: u64,
    /// New register values, at most four.
    pub gprs: [Option<GprWrite>; 4],
}

impl RegisterUpdate {
    /// RIP moved past an instruction of `length` bytes, RF cleared, nothing else changed.
    pub const fn advance(regs: &Registers, length: u8) -> Self {
        Self { rip: regs.rip.wrapping_add(length as u64), rflags: regs.rflags & !rflags::RF, gprs: [None; 4] }
    }

    /// Adds a register to the update; a fifth one is not representable and no instruction here has one.
    #[must_use]
    pub fn with(mut self, gpr: Gpr, value: u64) -> Self {
        if let Some(slot) = self.gprs.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(GprWrite { gpr, value });
        }
        self
    }

    /// Adds a 64-bit value split over EDX:EAX, as RDMSR and RDTSC return it.
    #[must_use]
    pub fn with_edx_eax(self, value: u64) -> Self {
        let [.., third, fourth] = self.gprs;
        debug_assert!(self.gprs.iter().all(Option::is_none), "results come first");
        let low = GprWrite { gpr: Gpr::RAX, value: value & 0xffff_ffff };
        let high = GprWrite { gpr: Gpr::RDX, value: value >> 32 };
        Self { gprs: [Some(low), Some(high), third, fourth], ..self }
    }

    /// Adds the four results of CPUID.
    #[must_use]
    pub fn with_cpuid(self, eax: u32, ebx: u32, ecx: u32, edx: u32) -> Self {
        self.with(Gpr::RAX, eax.into())
            .with(Gpr::RBX, ebx.into())
            .with(Gpr::RCX, ecx.into())
            .with(Gpr::RDX, edx.into())
    }

    /// Carries the update out on a copy of the registers.
    pub fn apply(&self, regs: &mut Registers) {
        regs.rip = self.rip;
        regs.rflags = self.rflags;
        for write in self.gprs.iter().flatten() {
            regs.gpr[write.gpr.number()] = write.value;
        }
    }
}
