//! The instruction forms that may write a page-table entry, by opcode.

use super::{Action, Operation, Source};
use crate::alu::Alu;
use crate::decode::{Cursor, Memory, ModRm, Prefixes, RegisterOperand};
use crate::{Gpr, Refusal, Registers, Segment, Width};

/// Whether LOCK may stand before a form: elsewhere it raises #UD.
fn lockable(action: &Action) -> bool {
    !matches!(action, Action::Store(_) | Action::Stos { .. })
}

/// An instruction before its address is computed. `extra` is added to the address.
struct Form {
    action: Action,
    width: Width,
    memory: Memory,
    extra: u64,
}

/// Decodes any supported form.
pub(super) fn decode(cursor: &mut Cursor<'_>, regs: &Registers) -> Result<Operation, Refusal> {
    let prefixes = Prefixes::parse(cursor)?;
    let form = match cursor.byte()? {
        0x0f => {
            let opcode = cursor.byte()?;
            secondary(cursor, &prefixes, opcode, regs)?
        }
        opcode => primary(cursor, &prefixes, opcode, regs)?,
    };
    if prefixes.lock && !lockable(&form.action) {
        return Err(Refusal::Unsupported);
    }
    let length = cursor.length();
    let address = form.memory.linear(regs, regs.rip.wrapping_add(length.into()), form.extra);
    Ok(Operation { action: form.action, width: form.width, address, length })
}

/// One-byte opcodes.
fn primary(
    cursor: &mut Cursor<'_>,
    prefixes: &Prefixes,
    opcode: u8,
    regs: &Registers,
) -> Result<Form, Refusal> {
    let width = prefixes.width(opcode);
    match opcode {
        0xa2 | 0xa3 => {
            let memory = Memory::absolute(cursor.offset(prefixes.addr32)?, prefixes);
            let action = Action::Store(Source::Register(RegisterOperand::ACCUMULATOR));
            return Ok(Form { action, width, memory, extra: 0 });
        }
        0xaa | 0xab => return stos(prefixes, width, regs),
        // Listed here so that no operand is read for an opcode that has none.
        0x00..=0x3f if opcode & 7 < 2 => {}
        0x80 | 0x81 | 0x83 | 0x86..=0x89 | 0xc6 | 0xc7 | 0xf6 | 0xf7 | 0xfe | 0xff => {}
        _ => return Err(Refusal::Unsupported),
    }
    let modrm = ModRm::parse(cursor, prefixes)?;
    let memory = modrm.memory.ok_or(Refusal::Unsupported)?;
    let register = modrm.register(width, prefixes);
    let action = match (opcode, modrm.extension) {
        (0x86 | 0x87, _) => Some(Action::Xchg(register)),
        (0x88 | 0x89, _) => Some(Action::Store(Source::Register(register))),
        (0xc6 | 0xc7, 0) => Some(Action::Store(Source::Immediate(cursor.immediate(width)?))),
        (0x80 | 0x81, code) => {
            let immediate = Source::Immediate(cursor.immediate(width)?);
            Alu::classic(code).map(|alu| Action::Alu(alu, immediate))
        }
        (0x83, code) => {
            let immediate = Source::Immediate(cursor.signed_byte()?);
            Alu::classic(code).map(|alu| Action::Alu(alu, immediate))
        }
        (0xf6 | 0xf7, code) => unary([(2, Alu::Not), (3, Alu::Neg)], code),
        (0xfe | 0xff, code) => unary([(0, Alu::Inc), (1, Alu::Dec)], code),
        (_, _) => Alu::classic(opcode >> 3).map(|alu| Action::Alu(alu, Source::Register(register))),
    };
    Ok(Form { action: action.ok_or(Refusal::Unsupported)?, width, memory, extra: 0 })
}

fn unary(choices: [(u8, Alu); 2], code: u8) -> Option<Action> {
    let (_, alu) = choices.into_iter().find(|&(extension, _)| extension == code)?;
    Some(Action::Alu(alu, Source::Immediate(0)))
}

/// A repeated STOS whose count is zero touches no memory, so it cannot be what faulted.
fn stos(prefixes: &Prefixes, width: Width, regs: &Registers) -> Result<Form, Refusal> {
    let (repeat, addr32) = (prefixes.repeat.is_some(), prefixes.addr32);
    let count = regs.get(Gpr::RCX) & if addr32 { 0xffff_ffff } else { u64::MAX };
    if repeat && count == 0 {
        return Err(Refusal::AddressMismatch);
    }
    // The destination is ES:RDI and takes no segment override.
    let memory = Memory::register(Gpr::RDI, Segment::Flat, addr32);
    Ok(Form { action: Action::Stos { repeat, addr32 }, width, memory, extra: 0 })
}

/// Opcodes behind 0F.
fn secondary(
    cursor: &mut Cursor<'_>,
    prefixes: &Prefixes,
    opcode: u8,
    regs: &Registers,
) -> Result<Form, Refusal> {
    if !matches!(opcode, 0xab | 0xb0 | 0xb1 | 0xb3 | 0xba | 0xbb | 0xc0 | 0xc1 | 0xc3) {
        return Err(Refusal::Unsupported);
    }
    // The bit operations have no byte form: BA too works on full-size operands.
    let width = prefixes.width(if opcode == 0xba { 1 } else { opcode });
    let modrm = ModRm::parse(cursor, prefixes)?;
    let memory = modrm.memory.ok_or(Refusal::Unsupported)?;
    let register = modrm.register(width, prefixes);
    let (mut extra, source) = (0, Source::Register(register));
    let action = match (opcode, modrm.extension) {
        (0xb0 | 0xb1, _) => Action::Cmpxchg(register),
        (0xc0 | 0xc1, _) => Action::Xadd(register),
        // MOVNTI: other encodings share the opcode under a mandatory prefix.
        (0xc3, _) if prefixes.operand16 || prefixes.repeat.is_some() => return Err(Refusal::Unsupported),
        (0xc3, _) => Action::Store(source),
        (0xba, code @ 5..=7) => {
            let alu = [Alu::Bts, Alu::Btr, Alu::Btc][usize::from(code - 5)];
            Action::Alu(alu, Source::Immediate(cursor.byte()?.into()))
        }
        (0xba, _) => return Err(Refusal::Unsupported),
        (_, _) => {
            extra = bit_string_offset(register, width, regs);
            let alu = match opcode {
                0xab => Alu::Bts,
                0xb3 => Alu::Btr,
                _ => Alu::Btc,
            };
            Action::Alu(alu, source)
        }
    };
    Ok(Form { action, width, memory, extra })
}

/// A bit number in a register reaches beyond the operand: the signed bytes to the operand it lies in.
fn bit_string_offset(register: RegisterOperand, width: Width, regs: &Registers) -> u64 {
    let unused = 64 - width.bits();
    let number = (register.read(regs, width) << unused).cast_signed() >> unused;
    (number >> width.bits().trailing_zeros()).wrapping_mul(width.bytes().cast_signed()).cast_unsigned()
}
