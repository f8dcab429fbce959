//! The model: supported instructions by the other decoder's names, on bytes and single bits.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::oracle;
use crate::ptwr::WriteKind;
use crate::rflags::{AF, CF, DF, RF, STATUS};
use crate::{Registers, Width};

/// What the instruction does to its memory operand, worked out from the other decoder's view.
pub(super) struct Model {
    pub(super) kind: Option<WriteKind>,
    pub(super) new: u64,
    pub(super) flags: u64,
    pub(super) undefined: u64,
    pub(super) regs: Registers,
}

pub(super) fn is_supported(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let known = matches!(
        instruction.mnemonic(),
        M::Mov
            | M::Xchg
            | M::Xadd
            | M::Cmpxchg
            | M::Add
            | M::Or
            | M::Adc
            | M::Sbb
            | M::And
            | M::Sub
            | M::Xor
            | M::Inc
            | M::Dec
            | M::Not
            | M::Neg
            | M::Bts
            | M::Btr
            | M::Btc
            | M::Movnti
            | M::Stosb
            | M::Stosw
            | M::Stosd
            | M::Stosq
    );
    let memory = matches!(instruction.op0_kind(), OpKind::Memory | OpKind::MemoryESRDI | OpKind::MemoryESEDI);
    let segment =
        instruction.op1_kind() == OpKind::Register && instruction.op1_register().is_segment_register();
    known && memory && !segment
}

pub(super) fn width_of(instruction: &Instruction) -> Width {
    match instruction.memory_size().size() {
        1 => Width::Byte,
        2 => Width::Word,
        4 => Width::Dword,
        _ => Width::Qword,
    }
}

/// Writes to a register by the other decoder's name.
fn set(regs: &mut Registers, register: iced_x86::Register, value: u64) {
    use iced_x86::Register as R;
    if let R::AH | R::CH | R::DH | R::BH = register {
        let gpr = &mut regs.gpr[register as usize - R::AH as usize];
        let mut bytes = gpr.to_le_bytes();
        bytes[1] = value.to_le_bytes()[0];
        *gpr = u64::from_le_bytes(bytes);
        return;
    }
    let gpr = &mut regs.gpr[register.full_register() as usize - R::RAX as usize];
    let mut bytes = if register.size() < 4 { gpr.to_le_bytes() } else { [0; 8] };
    bytes[..register.size()].copy_from_slice(&value.to_le_bytes()[..register.size()]);
    *gpr = u64::from_le_bytes(bytes);
}

fn accumulator(width: Width) -> iced_x86::Register {
    use iced_x86::Register as R;
    match width {
        Width::Byte => R::AL,
        Width::Word => R::AX,
        Width::Dword => R::EAX,
        Width::Qword => R::RAX,
    }
}

pub(super) fn model(instruction: &Instruction, regs: &Registers, old: u64) -> Model {
    use Mnemonic as M;
    let width = width_of(instruction);
    let source_register = instruction.op1_register();
    let source = match instruction.op1_kind() {
        OpKind::Register => oracle::register(regs, source_register).unwrap_or(0),
        _ if instruction.op_count() < 2 => 0,
        _ => instruction.immediate(1) & width.mask(),
    };
    let carry = regs.rflags & CF != 0;
    let logic = |value: u64| (value & width.mask(), oracle::result_flags(width, value & width.mask()));
    let mut after = *regs;
    after.rip = instruction.next_ip();
    let (mut kind, mut undefined) = (Some(WriteKind::Rmw), 0);
    let kept = regs.rflags & STATUS;
    let bit = 1u64 << (source % u64::from(width.bits()));
    let bit_flags = kept & !CF | if old & bit != 0 { CF } else { 0 };
    let (new, flags) = match instruction.mnemonic() {
        M::Mov | M::Movnti => {
            kind = Some(WriteKind::Store);
            (source, kept)
        }
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => {
            kind = Some(WriteKind::Store);
            step_stos(instruction, regs, &mut after, width);
            (source, kept)
        }
        M::Xchg => {
            kind = Some(WriteKind::Xchg);
            set(&mut after, source_register, old);
            (source, kept)
        }
        M::Xadd => {
            set(&mut after, source_register, old);
            oracle::ripple_add(width, old, source, false)
        }
        M::Cmpxchg => {
            let wanted = oracle::register(regs, accumulator(width)).unwrap_or(0);
            kind = (wanted == old).then_some(WriteKind::Cmpxchg);
            if wanted != old {
                set(&mut after, accumulator(width), old);
            }
            (source, oracle::ripple_subtract(width, wanted, old, false).1)
        }
        M::Add => oracle::ripple_add(width, old, source, false),
        M::Adc => oracle::ripple_add(width, old, source, carry),
        M::Sub => oracle::ripple_subtract(width, old, source, false),
        M::Sbb => oracle::ripple_subtract(width, old, source, carry),
        M::Neg => oracle::ripple_subtract(width, 0, old, false),
        M::Inc | M::Dec => {
            let (new, flags) = if instruction.mnemonic() == M::Inc {
                oracle::ripple_add(width, old, 1, false)
            } else {
                oracle::ripple_subtract(width, old, 1, false)
            };
            (new, flags & !CF | kept & CF)
        }
        M::Not => (!old, kept),
        M::Bts => (old | bit, bit_flags),
        M::Btr => (old & !bit, bit_flags),
        M::Btc => (old ^ bit, bit_flags),
        other => {
            undefined = AF;
            logic(match other {
                M::And => old & source,
                M::Or => old | source,
                _ => old ^ source,
            })
        }
    };
    let flags = regs.rflags & !STATUS & !RF | flags;
    Model { kind, new, flags, undefined, regs: after }
}

fn step_stos(instruction: &Instruction, regs: &Registers, after: &mut Registers, width: Width) {
    let addr32 = instruction.op0_kind() == OpKind::MemoryESEDI;
    let narrow = |value: u64| if addr32 { value & 0xffff_ffff } else { value };
    let step = if regs.rflags & DF == 0 { width.bytes() } else { width.bytes().wrapping_neg() };
    after.gpr[7] = narrow(regs.gpr[7].wrapping_add(step));
    if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
        after.gpr[1] = narrow(regs.gpr[1].wrapping_sub(1));
        if after.gpr[1] != 0 {
            after.rip = regs.rip;
        }
    }
}
