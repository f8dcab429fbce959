//! Test support: another decoder, and arithmetic done bit by bit, to compare ours with.

use std::vec::Vec;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use proptest::prelude::*;

use crate::{Registers, Width, rflags};

/// Decodes the same bytes with the other decoder.
pub(crate) fn decode(bytes: &[u8], regs: &Registers) -> Instruction {
    Decoder::with_ip(64, &bytes[..bytes.len().min(15)], regs.rip, DecoderOptions::NONE).decode()
}

/// A register's value as the other decoder names it, segment bases included.
pub(crate) fn register(regs: &Registers, register: Register) -> Option<u64> {
    match register {
        Register::FS => Some(regs.fs_base),
        Register::GS => Some(regs.gs_base),
        Register::ES | Register::CS | Register::SS | Register::DS => Some(0),
        Register::AH | Register::CH | Register::DH | Register::BH => {
            Some(regs.gpr[register as usize - Register::AH as usize] >> 8 & 0xff)
        }
        _ if register.is_gpr() => {
            let size = register.size();
            let value = regs.gpr[register.full_register() as usize - Register::RAX as usize];
            Some(if size == 8 { value } else { value & ((1 << (8 * size)) - 1) })
        }
        _ => None,
    }
}

/// Linear address of operand 0. The other decoder does not follow a bit number out of the operand.
pub(crate) fn address(instruction: &Instruction, regs: &Registers) -> Option<u64> {
    use Mnemonic as M;
    let address = instruction.virtual_address(0, 0, |name, _, _| register(regs, name))?;
    if !matches!(instruction.mnemonic(), M::Bts | M::Btr | M::Btc)
        || instruction.op1_kind() != OpKind::Register
    {
        return Some(address);
    }
    let number = register(regs, instruction.op1_register())?;
    let bytes = match instruction.op1_register().size() {
        2 => i64::from(number as i16).div_euclid(16) * 2,
        4 => i64::from(number as i32).div_euclid(32) * 4,
        _ => (number as i64).div_euclid(64) * 8,
    };
    let segment = register(regs, instruction.memory_segment())?;
    let offset = address.wrapping_sub(segment).wrapping_add_signed(bytes);
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    let absolute = base == Register::None && index == Register::None;
    let addr32 = base.size() == 4 || index.size() == 4 || absolute && instruction.memory_displ_size() == 4;
    Some(if addr32 { offset & 0xffff_ffff } else { offset }.wrapping_add(segment))
}

/// Any registers, with small and extreme values more often than chance would have them.
pub(crate) fn registers() -> impl Strategy<Value = Registers> {
    let value = prop_oneof![
        any::<u64>(),
        0..64u64,
        Just(u64::MAX),
        Just(0x8000_0000),
        any::<u8>().prop_map(u64::from)
    ];
    let gpr = prop::array::uniform16(value);
    (gpr, any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(gpr, rip, flags, fs_base, gs_base)| Registers {
            gpr,
            rip,
            rflags: flags & 0x1f_ffff | 2,
            fs_base,
            gs_base,
        },
    )
}

/// Bytes that look like an instruction: some prefixes, one of `opcodes`, anything after.
pub(crate) fn code(opcodes: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let prefix =
        prop::sample::select(&[0xf0, 0xf2, 0xf3, 0x66, 0x67, 0x64, 0x65, 0x2e, 0x3e, 0x48, 0x41][..]);
    let rex = prop_oneof![Just(None), (0x40..0x50u8).prop_map(Some)];
    let opcode = prop_oneof![
        8 => prop::sample::select(opcodes).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| std::vec![byte]),
        1 => any::<u8>().prop_map(|byte| std::vec![0x0f, byte]),
    ];
    (prop::collection::vec(prefix, 0..3), rex, opcode, any::<[u8; 14]>(), 0..16usize).prop_map(
        |(mut bytes, rex, opcode, tail, cut)| {
            bytes.extend(rex);
            bytes.extend(opcode);
            bytes.extend(tail);
            bytes.truncate(if cut < 8 { 15 } else { cut });
            bytes
        },
    )
}

/// `a + b + carry` by a chain of one-bit adders: sum and flags CF, AF, OF, SF, ZF, PF.
pub(crate) fn ripple_add(width: Width, a: u64, b: u64, carry: bool) -> (u64, u64) {
    let (mut sum, mut carry, mut flags, mut into_sign) = (0u64, carry, 0, false);
    for bit in 0..width.bits() {
        let (x, y) = (a >> bit & 1 == 1, b >> bit & 1 == 1);
        into_sign = carry;
        if x ^ y ^ carry {
            sum |= 1 << bit;
        }
        carry = [x, y, carry].into_iter().filter(|&one| one).count() >= 2;
        if bit == 3 && carry {
            flags |= rflags::AF;
        }
    }
    if carry {
        flags |= rflags::CF;
    }
    if carry != into_sign {
        flags |= rflags::OF;
    }
    (sum, flags | result_flags(width, sum))
}

/// `a - b - borrow` as `a + !b + !borrow`, with the carries turned into borrows.
pub(crate) fn ripple_subtract(width: Width, a: u64, b: u64, borrow: bool) -> (u64, u64) {
    let (difference, flags) = ripple_add(width, a, !b, !borrow);
    (difference, flags ^ rflags::CF ^ rflags::AF)
}

/// SF, ZF and PF of a result.
pub(crate) fn result_flags(width: Width, result: u64) -> u64 {
    let mut flags = 0;
    if (0..8).filter(|bit| result >> bit & 1 == 1).count() % 2 == 0 {
        flags |= rflags::PF;
    }
    if (0..width.bits()).all(|bit| result >> bit & 1 == 0) {
        flags |= rflags::ZF;
    }
    if result >> (width.bits() - 1) & 1 == 1 {
        flags |= rflags::SF;
    }
    flags
}
