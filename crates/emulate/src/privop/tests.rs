//! Privileged instructions: known answers, and the other decoder for lengths and names.

use iced_x86::Mnemonic;
use proptest::prelude::*;

use super::{Instruction, PrivOp, StringIo, decode, decode_forced, merge_in};
use crate::{Gpr, Refusal, Registers, Width, oracle, rflags};

const OPCODES: &[&[u8]] = &[
    &[0xe4],
    &[0xe5],
    &[0xe6],
    &[0xe7],
    &[0xec],
    &[0xed],
    &[0xee],
    &[0xef],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
    &[0xfa],
    &[0xfb],
    &[0xf4],
    &[0x0f, 0x01],
    &[0x0f, 0x01, 0xd1],
    &[0x0f, 0x01, 0xf8],
    &[0x0f, 0x01, 0xf9],
    &[0x0f, 0x06],
    &[0x0f, 0x08],
    &[0x0f, 0x09],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x31],
    &[0x0f, 0x32],
    &[0x0f, 0x33],
    &[0x0f, 0xa2],
    &[0x0f, 0x00],
];

fn regs() -> Registers {
    let mut regs = Registers { rip: 0x1000, rflags: 2, ..Registers::default() };
    (regs.gpr[0], regs.gpr[1], regs.gpr[2]) = (0x1122_3344_5566_7788, 0xc000_0101, 0xffff_ffff_1234_03f8);
    (regs.gpr[6], regs.gpr[7], regs.gpr[15]) = (0x6000, 0x7000, 0xf15);
    regs
}

fn op(bytes: &[u8]) -> (PrivOp, u8) {
    let Instruction { op, length } = decode(bytes, &regs()).expect("supported");
    (op, length)
}

#[test]
fn port_forms() {
    let value = 0x5566_7788;
    let out = |port, width, value| PrivOp::Out { port, width, value };
    assert_eq!(op(&[0xe4, 0x42]), (PrivOp::In { port: 0x42, width: Width::Byte }, 2));
    assert_eq!(op(&[0xe5, 0x42]), (PrivOp::In { port: 0x42, width: Width::Dword }, 2));
    assert_eq!(op(&[0xec]), (PrivOp::In { port: 0x3f8, width: Width::Byte }, 1));
    assert_eq!(op(&[0x66, 0xed]), (PrivOp::In { port: 0x3f8, width: Width::Word }, 2));
    assert_eq!(op(&[0x48, 0xed]), (PrivOp::In { port: 0x3f8, width: Width::Dword }, 2));
    assert_eq!(op(&[0xe6, 0x80]), (out(0x80, Width::Byte, value & 0xff), 2));
    assert_eq!(op(&[0xef]), (out(0x3f8, Width::Dword, value), 1));
    assert_eq!(op(&[0x66, 0xef]), (out(0x3f8, Width::Word, value & 0xffff), 2));
}

#[test]
fn register_forms() {
    let value = 0x1234_03f8_5566_7788;
    let destination = Gpr::new(15);
    assert_eq!(op(&[0x0f, 0x30]), (PrivOp::Wrmsr { index: 0xc000_0101, value }, 2));
    assert_eq!(op(&[0x0f, 0x32]), (PrivOp::Rdmsr { index: 0xc000_0101 }, 2));
    assert_eq!(op(&[0x0f, 0x01, 0xd1]), (PrivOp::Xsetbv { index: 0xc000_0101, value }, 3));
    assert_eq!(op(&[0x41, 0x0f, 0x20, 0xc7]), (PrivOp::ReadCr { number: 0, destination }, 4));
    assert_eq!(op(&[0x41, 0x0f, 0x22, 0xe7]), (PrivOp::WriteCr { number: 4, value: 0xf15 }, 4));
    assert_eq!(op(&[0x44, 0x0f, 0x22, 0xc0]), (PrivOp::WriteCr { number: 8, value: regs().gpr[0] }, 4));
    assert_eq!(op(&[0x41, 0x0f, 0x21, 0xff]), (PrivOp::ReadDr { number: 7, destination }, 4));
    assert_eq!(op(&[0x0f, 0x23, 0xf0]), (PrivOp::WriteDr { number: 6, value: regs().gpr[0] }, 3));
}

#[test]
fn plain_forms() {
    for (bytes, expected) in [
        (&[0xfa][..], PrivOp::Cli),
        (&[0xfb], PrivOp::Sti),
        (&[0x0f, 0x06], PrivOp::Clts),
        (&[0x0f, 0x08], PrivOp::Invd),
        (&[0x0f, 0x09], PrivOp::Wbinvd),
        (&[0xf3, 0x0f, 0x09], PrivOp::Wbnoinvd),
        (&[0x0f, 0x31], PrivOp::Rdtsc),
        (&[0x0f, 0x01, 0xf9], PrivOp::Rdtscp),
        (&[0x0f, 0x33], PrivOp::Rdpmc { index: 0xc000_0101 }),
        (&[0x0f, 0xa2], PrivOp::Cpuid { leaf: 0x5566_7788, subleaf: 0xc000_0101, forced: false }),
    ] {
        assert_eq!(op(bytes), (expected, bytes.len().to_le_bytes()[0]));
    }
}

#[test]
fn what_a_guest_must_ask_for_by_hypercall_is_reflected() {
    for bytes in [
        &[0xf4][..],               // hlt
        &[0x0f, 0x01, 0x10],       // lgdt
        &[0x0f, 0x01, 0x38],       // invlpg
        &[0x0f, 0x01, 0xf8],       // swapgs
        &[0x0f, 0x07],             // sysret
        &[0x48, 0xcf],             // iretq
        &[0x0f, 0x00, 0xd8],       // ltr
        &[0x44, 0x0f, 0x21, 0xc0], // dr8
        &[0x0f, 0x20, 0xc8],       // cr1
        &[0xf0, 0x0f, 0x20, 0xc0], // lock mov cr0
        &[0x8e, 0xd8],             // mov to ds
    ] {
        assert_eq!(decode(bytes, &regs()), Err(Refusal::Unsupported));
    }
}

#[test]
fn forced_cpuid() {
    let bytes = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
    let instruction = decode_forced(&bytes, &regs()).expect("the prefix");
    assert_eq!(instruction.op, PrivOp::Cpuid { leaf: 0x5566_7788, subleaf: 0xc000_0101, forced: true });
    let mut after = regs();
    instruction.done(&regs()).with_cpuid(1, 2, 3, 4).apply(&mut after);
    assert_eq!((after.rip, after.gpr[0], after.gpr[3], after.gpr[1], after.gpr[2]), (0x1007, 1, 2, 3, 4));
    assert_eq!(decode_forced(&bytes[..6], &regs()), Err(Refusal::Truncated));
    assert_eq!(decode_forced(&[0x0f, 0x0b], &regs()), Err(Refusal::Unsupported));
    assert_eq!(
        decode_forced(&[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0x31], &regs()),
        Err(Refusal::Unsupported)
    );
    assert!(decode_forced(&[], &regs()).is_err());
}

fn string(bytes: &[u8], regs: &Registers) -> (StringIo, u8) {
    match decode(bytes, regs) {
        Ok(Instruction { op: PrivOp::Ins(string) | PrivOp::Outs(string), length }) => (string, length),
        other => panic!("not a string: {other:?}"),
    }
}

#[test]
fn string_forms_can_be_cut() {
    let mut regs = regs();
    regs.gpr[1] = 5;
    let (ins, length) = string(&[0xf3, 0x66, 0x6d], &regs);
    assert_eq!(
        (ins.port, ins.width, ins.address, ins.count, ins.backward),
        (0x3f8, Width::Word, 0x7000, 5, false)
    );
    let mut partial = regs;
    ins.advance(&regs, length, 2).apply(&mut partial);
    assert_eq!((partial.gpr[1], partial.gpr[7], partial.rip), (3, 0x7004, 0x1000));
    let mut complete = regs;
    ins.advance(&regs, length, 5).apply(&mut complete);
    assert_eq!((complete.gpr[1], complete.gpr[7], complete.rip), (0, 0x700a, 0x1003));

    regs.gpr[1] = 0;
    let (empty, length) = string(&[0xf3, 0x6e], &regs);
    let mut after = regs;
    empty.advance(&regs, length, 0).apply(&mut after);
    assert_eq!((empty.count, after.gpr, after.rip), (0, regs.gpr, 0x1002));

    regs.rflags |= rflags::DF;
    regs.gs_base = 0x10_0000;
    let (outs, length) = string(&[0x65, 0x67, 0x6f], &regs);
    assert_eq!((outs.address, outs.count, outs.backward), (0x10_6000, 1, true));
    let mut after = regs;
    outs.advance(&regs, length, 1).apply(&mut after);
    assert_eq!((after.gpr[6], after.gpr[1], after.rip), (0x5ffc, 0, 0x1003));
}

#[test]
fn results_of_in_by_width() {
    let rax = 0x1122_3344_5566_7788;
    assert_eq!(merge_in(rax, Width::Byte, 0xffff_ff01), 0x1122_3344_5566_7701);
    assert_eq!(merge_in(rax, Width::Word, 0xffff_0102), 0x1122_3344_5566_0102);
    assert_eq!(merge_in(rax, Width::Dword, 0xffff_ffff), 0xffff_ffff);
}

fn is_supported(instruction: &iced_x86::Instruction) -> bool {
    use Mnemonic as M;
    use iced_x86::Register as R;
    let special = [instruction.op0_register(), instruction.op1_register()];
    match instruction.mnemonic() {
        M::In
        | M::Out
        | M::Insb
        | M::Insw
        | M::Insd
        | M::Outsb
        | M::Outsw
        | M::Outsd
        | M::Cli
        | M::Sti
        | M::Rdmsr
        | M::Wrmsr
        | M::Clts
        | M::Invd
        | M::Wbinvd
        | M::Wbnoinvd
        | M::Xsetbv
        | M::Rdtsc
        | M::Rdtscp
        | M::Rdpmc
        | M::Cpuid => true,
        M::Mov => special.into_iter().any(|register| {
            matches!(register, R::CR0 | R::CR2 | R::CR3 | R::CR4 | R::CR8)
                || (register.is_dr() && register as usize - (R::DR0 as usize) < 8)
        }),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_are_refused_or_decoded(bytes in any::<[u8; 15]>(), regs in oracle::registers()) {
        let _ = decode(&bytes, &regs);
        let _ = decode_forced(&bytes, &regs);
    }

    #[test]
    fn agrees_with_the_other_decoder(bytes in oracle::code(OPCODES), regs in oracle::registers()) {
        let theirs = oracle::decode(&bytes, &regs);
        match decode(&bytes, &regs) {
            Ok(ours) => {
                prop_assert!(is_supported(&theirs), "{:?} is {:?}", ours, theirs);
                prop_assert_eq!(usize::from(ours.length), theirs.len());
                let width = match ours.op {
                    PrivOp::In { width, .. } => Some((width, theirs.op0_register().size())),
                    PrivOp::Out { width, .. } => Some((width, theirs.op1_register().size())),
                    PrivOp::Ins(string) | PrivOp::Outs(string) => Some((string.width, theirs.memory_size().size())),
                    _ => None,
                };
                if let Some((ours, theirs)) = width {
                    prop_assert_eq!(ours.bytes(), theirs as u64);
                }
            }
            Err(refusal) => prop_assert!(!is_supported(&theirs), "{:?} for {:?}", refusal, theirs),
        }
    }
}
