//! Prefixes, ModRM operands and immediates of 64-bit code (AMD64 manual volume 3, chapter 1).

use crate::{Gpr, MAX_INSTRUCTION_LENGTH, Refusal, Registers, Segment, Width};

/// Reads instruction bytes in order. Running out is a [`Refusal`], never a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte; bytes past the architectural limit are never looked at.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let limit = bytes.len().min(MAX_INSTRUCTION_LENGTH);
        Self { bytes: bytes.get(..limit).unwrap_or(bytes), position: 0 }
    }

    /// Bytes consumed so far (at most 15).
    pub(crate) fn length(&self) -> u8 {
        u8::try_from(self.position).unwrap_or(u8::MAX)
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    pub(crate) fn skip(&mut self, count: usize) {
        self.position = self.position.saturating_add(count);
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Refusal> {
        let byte = self.peek().ok_or(Refusal::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let chunk = self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<N>());
        let array = *chunk.ok_or(Refusal::Truncated)?;
        self.position += N;
        Ok(array)
    }

    /// A byte, sign-extended.
    pub(crate) fn signed_byte(&mut self) -> Result<u64, Refusal> {
        Ok(i64::from(self.byte()?.cast_signed()).cast_unsigned())
    }

    /// Four bytes, sign-extended.
    pub(crate) fn signed_dword(&mut self) -> Result<u64, Refusal> {
        Ok(i64::from(i32::from_le_bytes(self.array()?)).cast_unsigned())
    }

    /// An address-sized offset, as the moffs forms of MOV carry it.
    pub(crate) fn offset(&mut self, addr32: bool) -> Result<u64, Refusal> {
        if addr32 {
            Ok(u32::from_le_bytes(self.array()?).into())
        } else {
            Ok(u64::from_le_bytes(self.array()?))
        }
    }

    /// An immediate of an operand of `width`; a 64-bit operand takes a sign-extended 32-bit immediate.
    pub(crate) fn immediate(&mut self, width: Width) -> Result<u64, Refusal> {
        match width {
            Width::Byte => self.signed_byte(),
            Width::Word => Ok(i64::from(i16::from_le_bytes(self.array()?)).cast_unsigned()),
            Width::Dword | Width::Qword => self.signed_dword(),
        }
    }
}

/// A REPNE or REP prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// F2.
    NotEqual,
    /// F3.
    Equal,
}

/// Legacy prefixes and REX.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prefixes {
    pub(crate) lock: bool,
    pub(crate) repeat: Option<Repeat>,
    /// 66: 16-bit operands unless REX.W is set.
    pub(crate) operand16: bool,
    /// 67: 32-bit addresses.
    pub(crate) addr32: bool,
    pub(crate) segment: Segment,
    /// The REX byte, 0 when there is none.
    pub(crate) rex: u8,
}

impl Prefixes {
    /// Consumes all prefixes. A REX that is not the last one before the opcode has no effect. CS, DS, ES
    /// and SS overrides are ignored in 64-bit mode and do not cancel an earlier FS or GS.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Refusal> {
        let mut prefixes = Self::default();
        loop {
            let byte = cursor.peek().ok_or(Refusal::Truncated)?;
            let rex = if let 0x40..=0x4f = byte { byte } else { 0 };
            match byte {
                0x40..=0x4f | 0x26 | 0x2e | 0x36 | 0x3e => {}
                0x64 => prefixes.segment = Segment::Fs,
                0x65 => prefixes.segment = Segment::Gs,
                0x66 => prefixes.operand16 = true,
                0x67 => prefixes.addr32 = true,
                0xf0 => prefixes.lock = true,
                0xf2 => prefixes.repeat = Some(Repeat::NotEqual),
                0xf3 => prefixes.repeat = Some(Repeat::Equal),
                _ => return Ok(prefixes),
            }
            prefixes.rex = rex;
            cursor.skip(1);
        }
    }

    /// Whether a byte may stand before an opcode.
    const fn is_prefix(byte: u8) -> bool {
        matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
    }

    pub(crate) fn rex_w(&self) -> bool {
        self.rex & 8 != 0
    }

    fn rex_bit(&self, bit: u8) -> u8 {
        (self.rex >> bit & 1) << 3
    }

    /// Operand width of an opcode whose lowest bit tells a byte operand from a full-size one.
    pub(crate) fn width(&self, opcode: u8) -> Width {
        if opcode & 1 == 0 {
            Width::Byte
        } else if self.rex_w() {
            Width::Qword
        } else if self.operand16 {
            Width::Word
        } else {
            Width::Dword
        }
    }
}

/// Whether an instruction names FS or GS: only then is a segment's base looked at.
pub fn names_segment(bytes: &[u8]) -> bool {
    bytes.iter().take_while(|byte| Prefixes::is_prefix(**byte)).any(|byte| matches!(byte, 0x64 | 0x65))
}

/// A register operand, which for byte operands without REX may be AH, CH, DH or BH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegisterOperand {
    pub(crate) gpr: Gpr,
    /// Bits 15:8 of `gpr` instead of bits 7:0.
    high_byte: bool,
}

impl RegisterOperand {
    pub(crate) const ACCUMULATOR: Self = Self::whole(Gpr::RAX);

    /// All or the low part of a register.
    pub(crate) const fn whole(gpr: Gpr) -> Self {
        Self { gpr, high_byte: false }
    }

    fn new(number: u8, width: Width, prefixes: &Prefixes) -> Self {
        let high_byte = width == Width::Byte && prefixes.rex == 0 && matches!(number, 4..=7);
        Self { gpr: Gpr::new(if high_byte { number - 4 } else { number }), high_byte }
    }

    /// The operand's value, zero-extended.
    pub(crate) fn read(self, regs: &Registers, width: Width) -> u64 {
        let shift = if self.high_byte { 8 } else { 0 };
        regs.get(self.gpr) >> shift & width.mask()
    }

    /// The whole register after `value` is written to the operand.
    pub(crate) fn merged(self, regs: &Registers, width: Width, value: u64) -> u64 {
        let old = regs.get(self.gpr);
        if self.high_byte { old & !0xff00 | (value & 0xff) << 8 } else { width.merge(old, value) }
    }
}

/// The base of a memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    None,
    Register(Gpr),
    /// Address of the next instruction.
    Rip,
}

/// A memory operand before its address is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    base: Base,
    index: Option<Gpr>,
    scale: u8,
    displacement: u64,
    addr32: bool,
    segment: Segment,
}

impl Memory {
    /// A memory operand that is one register, as the string instructions use.
    pub(crate) fn register(gpr: Gpr, segment: Segment, addr32: bool) -> Self {
        Self { base: Base::Register(gpr), index: None, scale: 0, displacement: 0, addr32, segment }
    }

    /// A memory operand that is a constant.
    pub(crate) fn absolute(address: u64, prefixes: &Prefixes) -> Self {
        let Prefixes { addr32, segment, .. } = *prefixes;
        Self { base: Base::None, index: None, scale: 0, displacement: address, addr32, segment }
    }

    /// The linear address, `extra` bytes further (bit strings index beyond their operand). `next_rip`
    /// is the address behind the instruction.
    pub(crate) fn linear(&self, regs: &Registers, next_rip: u64, extra: u64) -> u64 {
        let base = match self.base {
            Base::None => 0,
            Base::Register(gpr) => regs.get(gpr),
            Base::Rip => next_rip,
        };
        let index = self.index.map_or(0, |gpr| regs.get(gpr) << self.scale);
        let sum = base.wrapping_add(index).wrapping_add(self.displacement).wrapping_add(extra);
        let offset = if self.addr32 { sum & 0xffff_ffff } else { sum };
        offset.wrapping_add(regs.segment_base(self.segment))
    }
}

/// The parts of a ModRM byte. `memory` is `None` for a register operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModRm {
    /// The `reg` field without REX.R: an opcode extension.
    pub(crate) extension: u8,
    /// The `reg` field with REX.R.
    pub(crate) reg: u8,
    /// The `rm` field with REX.B, meaningful for register operands.
    pub(crate) rm: u8,
    pub(crate) memory: Option<Memory>,
}

impl ModRm {
    pub(crate) fn parse(cursor: &mut Cursor<'_>, prefixes: &Prefixes) -> Result<Self, Refusal> {
        let byte = cursor.byte()?;
        let (mode, extension, low) = (byte >> 6, byte >> 3 & 7, byte & 7);
        let memory = if mode == 3 { None } else { Some(Self::memory(cursor, prefixes, mode, low)?) };
        let (reg, rm) = (extension | prefixes.rex_bit(2), low | prefixes.rex_bit(0));
        Ok(Self { extension, reg, rm, memory })
    }

    /// MOV to and from control and debug registers: the mode bits are ignored, no operand bytes follow.
    pub(crate) fn parse_registers(cursor: &mut Cursor<'_>, prefixes: &Prefixes) -> Result<Self, Refusal> {
        let byte = cursor.byte()?;
        let (extension, low) = (byte >> 3 & 7, byte & 7);
        let (reg, rm) = (extension | prefixes.rex_bit(2), low | prefixes.rex_bit(0));
        Ok(Self { extension, reg, rm, memory: None })
    }

    fn memory(cursor: &mut Cursor<'_>, prefixes: &Prefixes, mode: u8, low: u8) -> Result<Memory, Refusal> {
        let (mut base, mut index, mut scale) = (Base::Register(Gpr::new(low | prefixes.rex_bit(0))), None, 0);
        let mut wide_displacement = mode == 2;
        if low == 4 {
            let sib = cursor.byte()?;
            scale = sib >> 6;
            let number = sib >> 3 & 7 | prefixes.rex_bit(1);
            index = (number != 4).then_some(Gpr::new(number));
            base = Base::Register(Gpr::new(sib & 7 | prefixes.rex_bit(0)));
            if mode == 0 && sib & 7 == 5 {
                base = Base::None;
                wide_displacement = true;
            }
        } else if mode == 0 && low == 5 {
            base = Base::Rip;
            wide_displacement = true;
        }
        let displacement = match (wide_displacement, mode) {
            (true, _) => cursor.signed_dword()?,
            (false, 1) => cursor.signed_byte()?,
            _ => 0,
        };
        let Prefixes { addr32, segment, .. } = *prefixes;
        Ok(Memory { base, index, scale, displacement, addr32, segment })
    }

    /// The `reg` field as a general-purpose operand.
    pub(crate) fn register(&self, width: Width, prefixes: &Prefixes) -> RegisterOperand {
        RegisterOperand::new(self.reg, width, prefixes)
    }
}
