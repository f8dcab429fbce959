//! Privileged instructions of a PV guest kernel, which runs in ring 3 and so traps on each.
//!
//! [`decode`] says *what* the guest asked for; whether it may, and what it gets, is the caller's policy.
//! The caller completes the instruction with [`RegisterUpdate`] ([`Instruction::done`] moves past it).
//! What is not here (HLT, LGDT, LIDT, LTR, INVLPG, SWAPGS, SYSRET, …) a PV kernel must ask for by
//! hypercall: the #GP goes back to it.

#[cfg(test)]
mod tests;

use crate::decode::{Cursor, Memory, ModRm, Prefixes, Repeat};
use crate::{Gpr, Refusal, RegisterUpdate, Registers, Segment, Width, rflags};

/// INS or OUTS: `count` elements from `address` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringIo {
    /// I/O port (DX).
    pub port: u16,
    /// Byte, word or dword.
    pub width: Width,
    /// Linear address of the first element.
    pub address: u64,
    /// Elements still to move: RCX under a REP prefix (may be 0), else 1.
    pub count: u64,
    /// Whether each element lies below the one before (RFLAGS.DF).
    pub backward: bool,
    pointer: Gpr,
    repeat: bool,
    addr32: bool,
}

impl StringIo {
    /// The registers once `moved` (at most `count`) elements have been moved: pointer and count advanced;
    /// RIP moves past the instruction only when none are left, so a long transfer can be cut anywhere.
    pub fn advance(&self, regs: &Registers, length: u8, moved: u64) -> RegisterUpdate {
        let moved = moved.min(self.count);
        let width = if self.addr32 { Width::Dword } else { Width::Qword };
        let distance = moved.wrapping_mul(self.width.bytes());
        let old = regs.get(self.pointer);
        let pointer = if self.backward { old.wrapping_sub(distance) } else { old.wrapping_add(distance) };
        let mut update = RegisterUpdate::advance(regs, length);
        if moved != 0 {
            update = update.with(self.pointer, width.merge(old, pointer));
            if self.repeat {
                update = update.with(Gpr::RCX, width.merge(0, self.count - moved));
            }
        }
        if moved != self.count {
            update.rip = regs.rip;
        }
        update
    }
}

/// A privileged operation with its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivOp {
    /// Read a port into the accumulator: see [`merge_in`].
    In {
        /// I/O port.
        port: u16,
        /// Byte, word or dword.
        width: Width,
    },
    /// Write a port.
    Out {
        /// I/O port.
        port: u16,
        /// Byte, word or dword.
        width: Width,
        /// The value, zero-extended.
        value: u32,
    },
    /// Read a port into memory.
    Ins(StringIo),
    /// Write a port from memory.
    Outs(StringIo),
    /// Clear the interrupt flag.
    Cli,
    /// Set the interrupt flag.
    Sti,
    /// Read a model-specific register into EDX:EAX.
    Rdmsr {
        /// MSR number (ECX).
        index: u32,
    },
    /// Write a model-specific register.
    Wrmsr {
        /// MSR number (ECX).
        index: u32,
        /// EDX:EAX.
        value: u64,
    },
    /// Read a control register: 0, 2, 3, 4 or 8.
    ReadCr {
        /// Its number.
        number: u8,
        /// Where the value goes.
        destination: Gpr,
    },
    /// Write a control register: 0, 2, 3, 4 or 8.
    WriteCr {
        /// Its number.
        number: u8,
        /// The value.
        value: u64,
    },
    /// Read a debug register, 0 to 7 (4 and 5 mean 6 and 7 while the guest's CR4.DE is clear).
    ReadDr {
        /// Its number.
        number: u8,
        /// Where the value goes.
        destination: Gpr,
    },
    /// Write a debug register, 0 to 7.
    WriteDr {
        /// Its number.
        number: u8,
        /// The value.
        value: u64,
    },
    /// Clear CR0.TS.
    Clts,
    /// Write back and invalidate caches.
    Wbinvd,
    /// Write back caches without invalidating.
    Wbnoinvd,
    /// Invalidate caches without writing back.
    Invd,
    /// Write an extended control register.
    Xsetbv {
        /// Its number (ECX); 0 is XCR0.
        index: u32,
        /// EDX:EAX.
        value: u64,
    },
    /// Read the time-stamp counter into EDX:EAX.
    Rdtsc,
    /// Read the time-stamp counter into EDX:EAX and TSC_AUX into ECX.
    Rdtscp,
    /// Read a performance counter into EDX:EAX.
    Rdpmc {
        /// Its number (ECX).
        index: u32,
    },
    /// Identify the processor.
    Cpuid {
        /// EAX.
        leaf: u32,
        /// ECX.
        subleaf: u32,
        /// Behind the forced-emulation prefix (#UD) instead of by CPUID faulting (#GP).
        forced: bool,
    },
}

/// A decoded privileged instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub op: PrivOp,
    /// Bytes it occupies.
    pub length: u8,
}

impl Instruction {
    /// The registers after the instruction when it changes no other; add its results to this.
    pub fn done(&self, regs: &Registers) -> RegisterUpdate {
        RegisterUpdate::advance(regs, self.length)
    }
}

/// RAX after a port read of `width` returned `value`.
pub const fn merge_in(rax: u64, width: Width, value: u32) -> u64 {
    width.merge(rax, value as u64)
}

/// `ud2; .ascii "xen"`, the prefix by which a PV guest asks for the hypervisor's CPUID (public
/// arch-x86/xen.h, `XEN_EMULATE_PREFIX`).
const FORCED_EMULATION_PREFIX: [u8; 5] = [0x0f, 0x0b, b'x', b'e', b'n'];

/// Decodes what raised #UD: CPUID behind the forced-emulation prefix, the only instruction it is for.
///
/// # Errors
/// Anything else: the #UD is the guest's own.
pub fn decode_forced(bytes: &[u8], regs: &Registers) -> Result<Instruction, Refusal> {
    let rest = bytes.strip_prefix(&FORCED_EMULATION_PREFIX).ok_or(Refusal::Unsupported)?;
    match rest {
        [0x0f, 0xa2, ..] => Ok(Instruction { op: cpuid(regs, true), length: 7 }),
        [] | [0x0f] => Err(Refusal::Truncated),
        _ => Err(Refusal::Unsupported),
    }
}

/// Decodes the instruction at `regs.rip` that raised #GP with error code 0.
///
/// # Errors
/// Any [`Refusal`]: the #GP goes to the guest.
pub fn decode(bytes: &[u8], regs: &Registers) -> Result<Instruction, Refusal> {
    let mut cursor = Cursor::new(bytes);
    let prefixes = Prefixes::parse(&mut cursor)?;
    if prefixes.lock {
        return Err(Refusal::Unsupported);
    }
    let op = match cursor.byte()? {
        0x0f => secondary(&mut cursor, &prefixes, regs)?,
        opcode => primary(&mut cursor, &prefixes, opcode, regs)?,
    };
    Ok(Instruction { op, length: cursor.length() })
}

/// Operand width of a port instruction: never 64 bits.
fn port_width(prefixes: &Prefixes, opcode: u8) -> Width {
    match prefixes.width(opcode) {
        Width::Qword => Width::Dword,
        width => width,
    }
}

fn low_dword(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn low_word(value: u64) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn primary(
    cursor: &mut Cursor<'_>,
    prefixes: &Prefixes,
    opcode: u8,
    regs: &Registers,
) -> Result<PrivOp, Refusal> {
    let width = port_width(prefixes, opcode);
    let value = low_dword(regs.get(Gpr::RAX) & width.mask());
    let dx = low_word(regs.get(Gpr::RDX));
    Ok(match opcode {
        0xe4 | 0xe5 => PrivOp::In { port: cursor.byte()?.into(), width },
        0xe6 | 0xe7 => PrivOp::Out { port: cursor.byte()?.into(), width, value },
        0xec | 0xed => PrivOp::In { port: dx, width },
        0xee | 0xef => PrivOp::Out { port: dx, width, value },
        0x6c | 0x6d => PrivOp::Ins(string_io(prefixes, width, Gpr::RDI, Segment::Flat, regs)),
        0x6e | 0x6f => PrivOp::Outs(string_io(prefixes, width, Gpr::RSI, prefixes.segment, regs)),
        0xfa => PrivOp::Cli,
        0xfb => PrivOp::Sti,
        _ => return Err(Refusal::Unsupported),
    })
}

fn string_io(
    prefixes: &Prefixes,
    width: Width,
    pointer: Gpr,
    segment: Segment,
    regs: &Registers,
) -> StringIo {
    let (repeat, addr32) = (prefixes.repeat.is_some(), prefixes.addr32);
    let limit = if addr32 { Width::Dword.mask() } else { Width::Qword.mask() };
    StringIo {
        port: low_word(regs.get(Gpr::RDX)),
        width,
        address: Memory::register(pointer, segment, addr32).linear(regs, 0, 0),
        count: if repeat { regs.get(Gpr::RCX) & limit } else { 1 },
        backward: regs.rflags & rflags::DF != 0,
        pointer,
        repeat,
        addr32,
    }
}

fn cpuid(regs: &Registers, forced: bool) -> PrivOp {
    PrivOp::Cpuid { leaf: low_dword(regs.get(Gpr::RAX)), subleaf: low_dword(regs.get(Gpr::RCX)), forced }
}

fn secondary(cursor: &mut Cursor<'_>, prefixes: &Prefixes, regs: &Registers) -> Result<PrivOp, Refusal> {
    let index = low_dword(regs.get(Gpr::RCX));
    let value = regs.edx_eax();
    Ok(match cursor.byte()? {
        0x01 => match cursor.byte()? {
            0xd1 if prefixes.repeat.is_none() && !prefixes.operand16 => PrivOp::Xsetbv { index, value },
            0xf9 => PrivOp::Rdtscp,
            _ => return Err(Refusal::Unsupported),
        },
        0x06 => PrivOp::Clts,
        0x08 => PrivOp::Invd,
        0x09 if prefixes.repeat == Some(Repeat::Equal) => PrivOp::Wbnoinvd,
        0x09 => PrivOp::Wbinvd,
        opcode @ 0x20..=0x23 => special_register(cursor, prefixes, opcode, regs)?,
        0x30 => PrivOp::Wrmsr { index, value },
        0x31 => PrivOp::Rdtsc,
        0x32 => PrivOp::Rdmsr { index },
        0x33 => PrivOp::Rdpmc { index },
        0xa2 => cpuid(regs, false),
        _ => return Err(Refusal::Unsupported),
    })
}

/// MOV to and from control and debug registers.
fn special_register(
    cursor: &mut Cursor<'_>,
    prefixes: &Prefixes,
    opcode: u8,
    regs: &Registers,
) -> Result<PrivOp, Refusal> {
    let ModRm { reg: number, rm, .. } = ModRm::parse_registers(cursor, prefixes)?;
    let gpr = Gpr::new(rm);
    let exists = if opcode & 1 == 0 { matches!(number, 0 | 2 | 3 | 4 | 8) } else { number < 8 };
    if !exists {
        return Err(Refusal::Unsupported);
    }
    Ok(match opcode {
        0x20 => PrivOp::ReadCr { number, destination: gpr },
        0x21 => PrivOp::ReadDr { number, destination: gpr },
        0x22 => PrivOp::WriteCr { number, value: regs.get(gpr) },
        _ => PrivOp::WriteDr { number, value: regs.get(gpr) },
    })
}
