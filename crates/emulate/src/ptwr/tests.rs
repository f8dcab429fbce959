//! Page-table writes against the other decoder and a model that works on bytes and single bits.

mod model;

use iced_x86::{Instruction, OpKind};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use self::model::{is_supported, model, width_of};
use super::{Outcome, PLAIN_LENGTH, Plain, WriteKind, decode, decode_store, forms, plain};
use crate::decode::Cursor;
use crate::oracle;
use crate::rflags::{CF, OF, PF, SF, ZF};
use crate::{Refusal, RegisterUpdate, Registers, Width};
use ids::Gva;

const OPCODES: &[&[u8]] = &[
    &[0x00],
    &[0x01],
    &[0x08],
    &[0x09],
    &[0x10],
    &[0x11],
    &[0x18],
    &[0x19],
    &[0x20],
    &[0x21],
    &[0x28],
    &[0x29],
    &[0x30],
    &[0x31],
    &[0x38],
    &[0x39],
    &[0x80],
    &[0x81],
    &[0x82],
    &[0x83],
    &[0x86],
    &[0x87],
    &[0x88],
    &[0x89],
    &[0x8c],
    &[0xa2],
    &[0xa3],
    &[0xaa],
    &[0xab],
    &[0xc6],
    &[0xc7],
    &[0xf6],
    &[0xf7],
    &[0xfe],
    &[0xff],
    &[0x0f, 0xab],
    &[0x0f, 0xb0],
    &[0x0f, 0xb1],
    &[0x0f, 0xb3],
    &[0x0f, 0xba],
    &[0x0f, 0xbb],
    &[0x0f, 0xc0],
    &[0x0f, 0xc1],
    &[0x0f, 0xc3],
    &[0x0f, 0xc7],
];

/// Compares an outcome with the model, the entry being `current`.
fn compare(
    outcome: &Outcome,
    instruction: &Instruction,
    regs: &Registers,
    address: u64,
    current: u64,
) -> Result<(), TestCaseError> {
    let width = width_of(instruction);
    let first = usize::from(address.to_le_bytes()[0] & 7);
    let count = usize::from(width.bytes().to_le_bytes()[0]);
    let mut old = [0; 8];
    old[..count].copy_from_slice(&current.to_le_bytes()[first..first + count]);
    let model = model(instruction, regs, u64::from_le_bytes(old));

    let mut after = *regs;
    outcome.registers.apply(&mut after);
    prop_assert_eq!(after.gpr, model.regs.gpr);
    prop_assert_eq!(after.rip, model.regs.rip);
    prop_assert_eq!(after.rflags & !model.undefined, model.flags & !model.undefined);
    prop_assert_eq!(outcome.write.map(|write| write.kind), model.kind);
    if let Some(write) = outcome.write {
        let mut bytes = current.to_le_bytes();
        bytes[first..first + count].copy_from_slice(&model.new.to_le_bytes()[..count]);
        prop_assert_eq!(write.new, u64::from_le_bytes(bytes));
        prop_assert_eq!(write.entry.0, address & !7);
        prop_assert_eq!(usize::from(write.offset), first);
        prop_assert_eq!(write.width, width);
        let blind = write.kind == WriteKind::Store && width == Width::Qword;
        prop_assert_eq!(write.expected, (!blind).then_some(current));
    }
    Ok(())
}

/// Moves the operand onto an aligned address by adjusting its base register, where that is possible.
fn aligned(instruction: &Instruction, regs: &Registers) -> Registers {
    let mut regs = *regs;
    let Some(address) = oracle::address(instruction, &regs) else { return regs };
    let excess = address % width_of(instruction).bytes();
    let base = match instruction.op0_kind() {
        OpKind::Memory => instruction.memory_base(),
        _ => iced_x86::Register::RDI,
    };
    if base.is_gpr() {
        let gpr = &mut regs.gpr[base.full_register() as usize - iced_x86::Register::RAX as usize];
        *gpr = gpr.wrapping_sub(excess);
    }
    regs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_are_refused_or_decoded(bytes in any::<[u8; 15]>(), regs in oracle::registers(), fault: u64, pte: u64) {
        if let Ok(operation) = decode(&bytes, &regs, Gva(fault)) {
            operation.evaluate(pte, &regs);
        }
        if let Ok(operation) = forms::decode(&mut Cursor::new(&bytes), &regs) {
            operation.evaluate(pte, &regs);
        }
    }

    #[test]
    fn agrees_with_the_model(bytes in oracle::code(OPCODES), regs in oracle::registers(), pte: u64, equal: bool) {
        let instruction = oracle::decode(&bytes, &regs);
        let regs = if is_supported(&instruction) { aligned(&instruction, &regs) } else { regs };
        let ours = forms::decode(&mut Cursor::new(&bytes), &regs);
        if instruction.is_invalid() || !is_supported(&instruction) {
            prop_assert!(ours.is_err(), "accepted {instruction:?}: {ours:?}");
            return Ok(());
        }
        let address = oracle::address(&instruction, &regs).expect("address");
        let ours = match ours {
            Err(Refusal::AddressMismatch) if regs.gpr[1] & 0xffff_ffff == 0 => return Ok(()),
            other => other.map_err(|refusal| TestCaseError::fail(std::format!("{refusal:?} {instruction:?}")))?,
        };
        prop_assert_eq!(ours.address().0, address, "{:?}", instruction);
        prop_assert_eq!(usize::from(ours.length()), instruction.len());
        prop_assert_eq!(decode(&bytes, &regs, Gva(address ^ 64)), Err(Refusal::AddressMismatch));
        let placed = decode(&bytes, &regs, Gva(address));
        if !address.is_multiple_of(width_of(&instruction).bytes()) {
            prop_assert_eq!(placed, Err(Refusal::Misaligned));
            return Ok(());
        }
        // Let comparisons of CMPXCHG succeed half the time.
        let pte = if equal { (0..8 / width_of(&instruction).bytes()).fold(0, |pte, index| {
            pte | (regs.gpr[0] & width_of(&instruction).mask()) << (index * 8 * width_of(&instruction).bytes())
        }) } else { pte };
        compare(&ours.evaluate(pte, &regs), &instruction, &regs, address, pte)?;
    }
}

/// The two hottest forms with every REX, ModRM and SIB.
#[test]
fn every_operand_form_of_the_hottest_instructions() {
    let mut regs = Registers { rip: 0xffff_ffff_8100_0000, rflags: 2, ..Registers::default() };
    for (gpr, number) in regs.gpr.iter_mut().zip(1u64..) {
        *gpr = (number << 60).wrapping_add(0x1_2340_0000 * number);
    }
    for rex in 0x40..=0x4f {
        for (modrm, sib) in (0..0xc0).flat_map(|modrm| (0..=0xff).map(move |sib| (modrm, sib))) {
            let displaced = [modrm, sib, 0x98, 0xff, 0xff, 0x7f, 0x80, 0x42, 0x42];
            let xchg = [&[rex, 0x87][..], &displaced].concat();
            let and = [&[0xf0, rex, 0x80][..], &[modrm & !0x38 | 4 << 3], &displaced[1..]].concat();
            for bytes in [xchg, and] {
                let theirs = oracle::decode(&bytes, &regs);
                let ours = forms::decode(&mut Cursor::new(&bytes), &regs).expect("supported");
                assert_eq!(Some(ours.address().0), oracle::address(&theirs, &regs), "{bytes:x?}");
                assert_eq!(usize::from(ours.length()), theirs.len());
            }
        }
    }
}

/// What is told by its bytes does what the decoder says, and all such are told.
#[test]
fn plain_forms_do_as_decoded() {
    let mut regs = Registers { rip: 0x1000, rflags: 2, ..Registers::default() };
    for (gpr, number) in regs.gpr.iter_mut().zip(1u64..) {
        *gpr = 0x1_2340_0008 * number;
    }
    let mut told = 0;
    for (rex, opcode) in (0x40..=0x4f).flat_map(|rex| (0x86..=0x8a).map(move |opcode| (rex, opcode))) {
        for modrm in 0..=0xff {
            let bytes = [rex, opcode, modrm, 0x20, 0, 0, 0, 0];
            let Ok(operation) = forms::decode(&mut Cursor::new(&bytes), &regs) else {
                assert!((0..=0xffu64).all(|at| plain(bytes, |gpr| regs.get(gpr), Gva(8 * at)).is_none()));
                continue;
            };
            let found = plain(bytes, |gpr| regs.get(gpr), operation.address());
            assert_eq!(plain(bytes, |gpr| regs.get(gpr), Gva(operation.address ^ 64)), None);
            let simple = rex & 8 != 0 && matches!(opcode, 0x87 | 0x89) && modrm < 0x40 && modrm & 6 != 4;
            assert_eq!(found.is_some(), simple && operation.address().0.is_multiple_of(8), "{bytes:x?}");
            let Some(Plain { value, receives }) = found else { continue };
            told += 1;
            let outcome = operation.evaluate(0x77, &regs);
            assert_eq!(outcome.write.map(|write| write.new), Some(value));
            let done = RegisterUpdate::advance(&regs, PLAIN_LENGTH as u8);
            let done = receives.map_or(done, |gpr| done.with(gpr, 0x77));
            assert_eq!(outcome.registers, done, "{bytes:x?}");
        }
    }
    assert!(told > 500, "{told}");
}

/// Runs one instruction whose operand is at `address` against an entry.
fn run(bytes: &[u8], regs: &Registers, address: u64, pte: u64) -> Outcome {
    decode(bytes, regs, Gva(address)).expect("supported").evaluate(pte, regs)
}

fn after(outcome: &Outcome, regs: &Registers) -> Registers {
    let mut regs = *regs;
    outcome.registers.apply(&mut regs);
    regs
}

#[test]
fn xchg_with_zero_clears_the_entry_and_returns_it() {
    let mut regs = Registers { rip: 0x1000, rflags: 0x202, ..Registers::default() };
    regs.gpr[3] = 0xffff_8880_1234_5018; // xchg %rax,(%rbx)
    let outcome = run(&[0x48, 0x87, 0x03], &regs, regs.gpr[3], 0x8000_0001_2345_6067);
    let write = outcome.write.expect("a write");
    assert_eq!((write.new, write.expected, write.kind), (0, Some(0x8000_0001_2345_6067), WriteKind::Xchg));
    let after = after(&outcome, &regs);
    assert_eq!((after.gpr[0], after.rip, after.rflags), (0x8000_0001_2345_6067, 0x1003, 0x202));
}

#[test]
fn lock_andb_clears_the_writable_bit() {
    let mut regs = Registers { rip: 0x1000, rflags: 0x202 | OF | CF, ..Registers::default() };
    regs.gpr[7] = 0x5008; // lock andb $0xfd,(%rdi)
    let outcome = run(&[0xf0, 0x80, 0x27, 0xfd], &regs, 0x5008, 0x1_2345_6067);
    let write = outcome.write.expect("a write");
    assert_eq!((write.new, write.kind, write.width), (0x1_2345_6065, WriteKind::Rmw, Width::Byte));
    // 0x65 has four ones: even parity.
    assert_eq!(after(&outcome, &regs).rflags, 0x202 | PF);
}

#[test]
fn mov_stores_blindly() {
    let mut regs = Registers::default();
    (regs.gpr[7], regs.gpr[6]) = (0x5008, 0x77); // mov %rsi,(%rdi)
    let write = run(&[0x48, 0x89, 0x37], &regs, 0x5008, 1).write.expect("a write");
    assert_eq!((write.new, write.expected, write.kind), (0x77, None, WriteKind::Store));
    // movl $0x11223344,4(%rdi): the upper half of the entry
    let write = run(&[0xc7, 0x47, 4, 0x44, 0x33, 0x22, 0x11], &regs, 0x500c, 0xaaaa_aaaa_bbbb_bbbb).write;
    let write = write.expect("a write");
    assert_eq!((write.new, write.offset, write.entry), (0x1122_3344_bbbb_bbbb, 4, Gva(0x5008)));
    assert_eq!(write.expected, Some(0xaaaa_aaaa_bbbb_bbbb));
}

#[test]
fn btr_by_number_and_by_register() {
    let mut regs = Registers { rflags: 2, ..Registers::default() };
    (regs.gpr[7], regs.gpr[0]) = (0x5000, 64 + 5);
    // lock btrq $5,(%rdi)
    let outcome = run(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 5], &regs, 0x5000, 0x67);
    assert_eq!(outcome.write.map(|write| write.new), Some(0x47));
    assert_eq!(after(&outcome, &regs).rflags, 2 | CF);
    // lock btrq %rax,(%rdi): bit 69 is bit 5 of the next entry
    let bytes = [0xf0, 0x48, 0x0f, 0xb3, 0x07];
    assert_eq!(run(&bytes, &regs, 0x5008, 0x67).write.map(|write| write.new), Some(0x47));
    regs.gpr[0] = u64::MAX; // bit -1 is bit 63 of the entry before
    assert_eq!(run(&bytes, &regs, 0x4ff8, 1 << 63 | 7).write.map(|write| write.new), Some(7));
}

#[test]
fn cmpxchg_both_ways() {
    let mut regs = Registers { rflags: 2, ..Registers::default() };
    (regs.gpr[7], regs.gpr[0], regs.gpr[6]) = (0x5000, 0x67, 0x65);
    let bytes = [0xf0, 0x48, 0x0f, 0xb1, 0x37]; // lock cmpxchg %rsi,(%rdi)
    let outcome = run(&bytes, &regs, 0x5000, 0x67);
    assert_eq!(
        outcome.write.map(|w| (w.new, w.expected, w.kind)),
        Some((0x65, Some(0x67), WriteKind::Cmpxchg))
    );
    assert_eq!(after(&outcome, &regs).rflags, 2 | ZF | PF);
    let outcome = run(&bytes, &regs, 0x5000, 0x47);
    assert_eq!(outcome.write, None);
    let after = after(&outcome, &regs);
    assert_eq!((after.gpr[0], after.rflags & (ZF | SF | CF)), (0x47, 0));
}

#[test]
fn repeated_stos_goes_one_step_at_a_time() {
    let mut regs = Registers { rip: 0x1000, rflags: 2, ..Registers::default() };
    (regs.gpr[7], regs.gpr[1]) = (0x5000, 2);
    let bytes = [0xf3, 0x48, 0xab];
    let first = run(&bytes, &regs, 0x5000, 1);
    assert_eq!(first.write.map(|write| (write.new, write.expected)), Some((0, None)));
    let regs = after(&first, &regs);
    assert_eq!((regs.gpr[7], regs.gpr[1], regs.rip), (0x5008, 1, 0x1000));
    let regs = after(&run(&bytes, &regs, 0x5008, 1), &regs);
    assert_eq!((regs.gpr[7], regs.gpr[1], regs.rip), (0x5010, 0, 0x1003));
    assert_eq!(decode(&bytes, &regs, Gva(0x5010)), Err(Refusal::AddressMismatch));
}

#[test]
fn stores_of_all_widths_to_a_device() {
    let mut regs = Registers { rip: 0x1000, rflags: 2, ..Registers::default() };
    (regs.gpr[7], regs.gpr[0], regs.gpr[1]) = (0x5004, 0x1122_3344_5566_7788, 2);
    let store = |bytes: &[u8], at: u64, regs: &Registers| {
        decode_store(bytes, regs, Gva(at)).map(|s| (s.value, s.width.bytes(), s.registers.rip))
    };
    assert_eq!(store(&[0x88, 0x07], 0x5004, &regs), Ok((0x88, 1, 0x1002)));
    assert_eq!(store(&[0x66, 0x89, 0x07], 0x5004, &regs), Ok((0x7788, 2, 0x1003)));
    assert_eq!(store(&[0x89, 0x07], 0x5004, &regs), Ok((0x5566_7788, 4, 0x1002)));
    assert_eq!(store(&[0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], 0x5004, &regs), Ok((0xffff_ffff, 4, 0x1006)));
    assert_eq!(store(&[0x48, 0x89, 0x07], 0x5004, &regs), Err(Refusal::Misaligned));
    assert_eq!(store(&[0xf3, 0xab], 0x5004, &regs), Ok((0x5566_7788, 4, 0x1000)), "one of two");
    regs.gpr[7] = 0x5008;
    assert_eq!(store(&[0x48, 0x89, 0x07], 0x5008, &regs), Ok((0x1122_3344_5566_7788, 8, 0x1003)));
    for read in [&[0x87, 0x07][..], &[0x09, 0x07], &[0xf0, 0x0f, 0xb1, 0x37]] {
        assert_eq!(store(read, 0x5008, &regs), Err(Refusal::Unsupported));
    }
}

#[test]
fn refusals() {
    let mut regs = Registers::default();
    regs.gpr[7] = 0x5004;
    assert_eq!(decode(&[0x48, 0x87, 0x07], &regs, Gva(0x5004)), Err(Refusal::Misaligned));
    assert_eq!(decode(&[0x48, 0x87, 0x07], &regs, Gva(0x5000)), Err(Refusal::AddressMismatch));
    assert_eq!(decode(&[0x48, 0x87], &regs, Gva(0x5004)), Err(Refusal::Truncated));
    assert_eq!(decode(&[], &regs, Gva(0)), Err(Refusal::Truncated));
    assert_eq!(decode(&[0xf0, 0x89, 0x07], &regs, Gva(0x5004)), Err(Refusal::Unsupported));
    assert_eq!(decode(&[0x66; 15], &regs, Gva(0x5004)), Err(Refusal::Truncated));
    assert_eq!(decode(&[0x0f, 0xc7, 0x0f], &regs, Gva(0x5004)), Err(Refusal::Unsupported));
}
