//! Integer arithmetic with flags (AMD64 manual volume 3, the entries of each instruction).

use crate::Width;
use crate::rflags::{AF, CF, OF, PF, SF, STATUS, ZF};

/// A read-modify-write of memory with one source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alu {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
    /// Add one, carry kept.
    Inc,
    /// Subtract one, carry kept.
    Dec,
    Not,
    Neg,
    /// Set, reset and complement a bit; the source is its number.
    Bts,
    Btr,
    Btc,
}

impl Alu {
    /// The operation that bits 5:3 of the classic opcodes and of 80/81/83 name; 7 (CMP) writes nothing.
    pub(crate) fn classic(code: u8) -> Option<Self> {
        [Self::Add, Self::Or, Self::Adc, Self::Sbb, Self::And, Self::Sub, Self::Xor]
            .get(usize::from(code))
            .copied()
    }

    /// Result and RFLAGS of `old op source`. Flags that the manual leaves undefined come out as current
    /// processors leave them: AF zero after logic, all but CF unchanged after a bit operation.
    pub(crate) fn apply(self, width: Width, old: u64, source: u64, flags: u64) -> (u64, u64) {
        let carry = flags & CF;
        let (old, source) = (old & width.mask(), source & width.mask());
        match self {
            Self::Add => add(width, old, source, 0, flags),
            Self::Adc => add(width, old, source, carry, flags),
            Self::Sub => subtract(width, old, source, 0, flags),
            Self::Sbb => subtract(width, old, source, carry, flags),
            Self::And => logic(width, old & source, flags),
            Self::Or => logic(width, old | source, flags),
            Self::Xor => logic(width, old ^ source, flags),
            Self::Inc => keep_carry(add(width, old, 1, 0, flags), carry),
            Self::Dec => keep_carry(subtract(width, old, 1, 0, flags), carry),
            Self::Neg => subtract(width, 0, old, 0, flags),
            Self::Not => (!old & width.mask(), flags),
            Self::Bts | Self::Btr | Self::Btc => {
                let bit = 1 << (source & u64::from(width.bits() - 1));
                let new = match self {
                    Self::Bts => old | bit,
                    Self::Btr => old & !bit,
                    _ => old ^ bit,
                };
                (new, flags & !CF | if old & bit != 0 { CF } else { 0 })
            }
        }
    }
}

fn keep_carry((result, flags): (u64, u64), carry: u64) -> (u64, u64) {
    (result, flags & !CF | carry)
}

fn result_flags(width: Width, result: u64) -> u64 {
    let parity = if (result & 0xff).count_ones().is_multiple_of(2) { PF } else { 0 };
    let zero = if result == 0 { ZF } else { 0 };
    let sign = if result & width.sign() != 0 { SF } else { 0 };
    parity | zero | sign
}

fn logic(width: Width, result: u64, flags: u64) -> (u64, u64) {
    (result, flags & !STATUS | result_flags(width, result))
}

/// Flags that follow from the operands: `carries` has a bit set where the sum carried (or borrowed) out.
fn arithmetic_flags(width: Width, carries: u64, overflow: u64, result: u64, flags: u64) -> u64 {
    let carry = if carries & width.sign() != 0 { CF } else { 0 };
    let auxiliary = if carries & 8 != 0 { AF } else { 0 };
    let overflow = if overflow & width.sign() != 0 { OF } else { 0 };
    flags & !STATUS | carry | auxiliary | overflow | result_flags(width, result)
}

fn add(width: Width, a: u64, b: u64, carry: u64, flags: u64) -> (u64, u64) {
    let result = a.wrapping_add(b).wrapping_add(carry) & width.mask();
    let carries = a & b | (a | b) & !result;
    (result, arithmetic_flags(width, carries, (a ^ result) & (b ^ result), result, flags))
}

/// `a - b - borrow`.
pub(crate) fn subtract(width: Width, a: u64, b: u64, borrow: u64, flags: u64) -> (u64, u64) {
    let result = a.wrapping_sub(b).wrapping_sub(borrow) & width.mask();
    let borrows = !a & b | (!a | b) & result;
    (result, arithmetic_flags(width, borrows, (a ^ b) & (a ^ result), result, flags))
}
