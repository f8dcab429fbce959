//! Short cuts for the forms that make up nearly all page-table writes of Linux: the 64-bit XCHG that
//! clears an entry (42,000 in one domain creation), the LOCK AND that write-protects at fork, and MOV.

use super::{Action, Operation, Source};
use crate::alu::Alu;
use crate::decode::{Cursor, ModRm, Prefixes};
use crate::{Registers, Width};

/// Decodes the hot forms from their opcode bytes; anything else, or too few bytes, is `None`.
pub(super) fn decode(bytes: &[u8], regs: &Registers) -> Option<Operation> {
    match *bytes {
        [rex @ 0x48..=0x4f, opcode @ (0x87 | 0x89), ..] => {
            let mut cursor = Cursor::new(bytes);
            cursor.skip(2);
            let prefixes = Prefixes { rex, ..Prefixes::default() };
            let modrm = ModRm::parse(&mut cursor, &prefixes).ok()?;
            let register = modrm.register(Width::Qword, &prefixes);
            let action = if opcode == 0x87 {
                Action::Xchg(register)
            } else {
                Action::Store(Source::Register(register))
            };
            finish(&cursor, regs, &modrm, action, Width::Qword)
        }
        [0xf0, 0x80, ..] => lock_and(bytes, 2, 0, regs),
        [0xf0, rex @ 0x40..=0x4f, 0x80, ..] => lock_and(bytes, 3, rex, regs),
        _ => None,
    }
}

fn lock_and(bytes: &[u8], opcode_end: usize, rex: u8, regs: &Registers) -> Option<Operation> {
    let mut cursor = Cursor::new(bytes);
    cursor.skip(opcode_end);
    let modrm = ModRm::parse(&mut cursor, &Prefixes { rex, ..Prefixes::default() }).ok()?;
    if modrm.extension != 4 {
        return None;
    }
    let source = Source::Immediate(cursor.signed_byte().ok()?);
    finish(&cursor, regs, &modrm, Action::Alu(Alu::And, source), Width::Byte)
}

fn finish(
    cursor: &Cursor<'_>,
    regs: &Registers,
    modrm: &ModRm,
    action: Action,
    width: Width,
) -> Option<Operation> {
    let length = cursor.length();
    let address = modrm.memory?.linear(regs, regs.rip.wrapping_add(length.into()), 0);
    Some(Operation { action, width, address, length })
}
