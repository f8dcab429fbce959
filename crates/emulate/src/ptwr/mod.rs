//! Writes to read-only level-1 page tables.
//!
//! A PV guest keeps its page tables mapped read-only, yet changes entries with ordinary instructions; each
//! faults and is carried out here, entry by entry, with the validation of an `mmu_update`. In two steps,
//! because the entry may change between reading and writing it:
//!
//! 1. [`decode`] turns bytes and registers into an [`Operation`], once per fault;
//! 2. [`Operation::evaluate`] turns the entry's current value into an [`Outcome`]: the new entry and the
//!    guest's registers afterwards. If the entry no longer has the [`PteWrite::expected`] value when it is
//!    written, read it again and evaluate again.
//!
//! Nothing of the guest changes until the caller applies the outcome.
//!
//! The hottest form by far is the 64-bit XCHG (42,000 in one domain creation): it and the MOV like it are told by their
//! bytes ([`plain`]), in a tenth of the decoder's instructions, and what they do does not depend on the entry.

mod forms;
#[cfg(test)]
mod tests;

use ids::Gva;

use crate::alu::{self, Alu};
use crate::decode::{Cursor, RegisterOperand};
use crate::{Gpr, Refusal, RegisterUpdate, Registers, Width, rflags};

/// Bytes in a page-table entry.
const PTE_SIZE: u64 = 8;

/// How the instruction touches the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// The old value plays no part (MOV, MOVNTI, STOS).
    Store,
    /// The old value goes to a register (XCHG).
    Xchg,
    /// Written because the old value was the one the guest named (CMPXCHG).
    Cmpxchg,
    /// The new value depends on the old (AND, BTR, XADD, …).
    Rmw,
}

/// The write to make, always of the whole entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PteWrite {
    /// Linear address of the entry, 8-byte aligned.
    pub entry: Gva,
    /// First byte of the entry that the guest's instruction writes (0 to 7).
    pub offset: u8,
    /// Bytes the guest's instruction writes.
    pub width: Width,
    /// Value the entry must still have when it is written; `None` for a plain 8-byte store, which holds
    /// whatever the entry was.
    pub expected: Option<u64>,
    /// The new entry as the guest wants it; still to be validated and adjusted.
    pub new: u64,
    /// How the instruction touches the entry.
    pub kind: WriteKind,
}

/// What one attempt comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The write to commit first; `None` when the guest's own comparison failed.
    pub write: Option<PteWrite>,
    /// The guest's registers once the write is committed.
    pub registers: RegisterUpdate,
}

/// A store that goes elsewhere than to a page-table entry: to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value, in the low bits.
    pub value: u64,
    /// Its width.
    pub width: Width,
    /// The guest's registers once it is written.
    pub registers: RegisterUpdate,
}

/// Where the source operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Immediate(u64),
    Register(RegisterOperand),
}

impl Source {
    fn read(self, regs: &Registers, width: Width) -> u64 {
        match self {
            Self::Immediate(value) => value & width.mask(),
            Self::Register(operand) => operand.read(regs, width),
        }
    }
}

/// What is done to the memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Store(Source),
    Xchg(RegisterOperand),
    Xadd(RegisterOperand),
    Cmpxchg(RegisterOperand),
    Alu(Alu, Source),
    /// STOS: one iteration.
    Stos {
        repeat: bool,
        addr32: bool,
    },
}

/// A decoded write to a page-table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    action: Action,
    width: Width,
    address: u64,
    length: u8,
}

/// Decodes the instruction at `regs.rip` that faulted writing to linear address `fault`.
///
/// `bytes` are the (up to 15) bytes copied from there; fewer when the next page is not readable.
///
/// # Errors
/// Any [`Refusal`] means that the access is not ours to carry out.
pub fn decode(bytes: &[u8], regs: &Registers, fault: Gva) -> Result<Operation, Refusal> {
    forms::decode(&mut Cursor::new(bytes), regs)?.placed_at(fault)
}

/// As [`decode`], for a store that goes to a device: what it writes, and the guest's registers afterwards.
///
/// # Errors
/// As [`decode`]; [`Refusal::Unsupported`] also where the old value plays a part.
pub fn decode_store(bytes: &[u8], regs: &Registers, fault: Gva) -> Result<Stored, Refusal> {
    let operation = forms::decode(&mut Cursor::new(bytes), regs)?.placed_at(fault)?;
    let (width, done) = (operation.width, RegisterUpdate::advance(regs, operation.length));
    let (value, registers) = match operation.action {
        Action::Store(source) => (source.read(regs, width), done),
        Action::Stos { repeat, addr32 } => (
            RegisterOperand::ACCUMULATOR.read(regs, width),
            stos_registers(done, regs, width, repeat, addr32),
        ),
        _ => return Err(Refusal::Unsupported),
    };
    Ok(Stored { value, width, registers })
}

/// A whole entry stored or exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// The new entry as the guest wants it.
    pub value: u64,
    /// The register that gets the old entry.
    pub receives: Option<Gpr>,
}

/// Bytes of every [`Plain`] instruction.
pub const PLAIN_LENGTH: u64 = 3;

/// A 64-bit XCHG or MOV to memory whose address is one register, without displacement (REX.W, 87 or 89 /r), at `fault`.
/// `None`: it is something else.
#[inline(always)]
pub fn plain(bytes: [u8; 8], register: impl Fn(Gpr) -> u64, fault: Gva) -> Option<Plain> {
    let [rex @ 0x48..=0x4f, opcode @ (0x87 | 0x89), modrm @ 0..=0x3f, ..] = bytes else { return None };
    // 4: an index follows; 5: relative to RIP.
    if modrm & 6 == 4 || !fault.0.is_multiple_of(PTE_SIZE) {
        return None;
    }
    let base = Gpr::new(modrm & 7 | (rex & 1) << 3);
    if register(base) != fault.0 {
        return None;
    }
    let source = Gpr::new(modrm >> 3 | (rex & 4) << 1);
    Some(Plain { value: register(source), receives: (opcode == 0x87).then_some(source) })
}

impl Operation {
    /// Whether the entry's old value plays no part: a plain store of all of it.
    pub const fn is_store(&self) -> bool {
        matches!(self.action, Action::Store(_) | Action::Stos { .. }) && matches!(self.width, Width::Qword)
    }

    /// Linear address of the first byte written.
    pub fn address(&self) -> Gva {
        Gva(self.address)
    }

    /// Linear address of the page-table entry written.
    pub fn entry(&self) -> Gva {
        Gva(self.address & !(PTE_SIZE - 1))
    }

    /// Bytes the instruction occupies.
    pub fn length(&self) -> u8 {
        self.length
    }

    fn placed_at(self, fault: Gva) -> Result<Self, Refusal> {
        if self.address != fault.0 {
            Err(Refusal::AddressMismatch)
        } else if !self.address.is_multiple_of(self.width.bytes()) {
            Err(Refusal::Misaligned)
        } else {
            Ok(self)
        }
    }

    fn offset(&self) -> u8 {
        (self.address % PTE_SIZE).to_le_bytes()[0]
    }

    /// The instruction's result, were the entry `current` and the guest's registers `regs` (those given
    /// to [`decode`]).
    pub fn evaluate(&self, current: u64, regs: &Registers) -> Outcome {
        let width = self.width;
        let old = current >> (8 * u32::from(self.offset())) & width.mask();
        let done = RegisterUpdate::advance(regs, self.length);
        match self.action {
            Action::Store(source) => self.stored(current, source.read(regs, width), done),
            Action::Stos { repeat, addr32 } => {
                let value = RegisterOperand::ACCUMULATOR.read(regs, width);
                self.stored(current, value, stos_registers(done, regs, width, repeat, addr32))
            }
            Action::Xchg(operand) => {
                let registers = done.with(operand.gpr, operand.merged(regs, width, old));
                self.replaced(current, operand.read(regs, width), WriteKind::Xchg, registers)
            }
            Action::Xadd(operand) => {
                let (new, flags) = Alu::Add.apply(width, old, operand.read(regs, width), done.rflags);
                let registers = done.with(operand.gpr, operand.merged(regs, width, old));
                self.replaced(current, new, WriteKind::Rmw, RegisterUpdate { rflags: flags, ..registers })
            }
            Action::Cmpxchg(operand) => self.compare_exchange(current, old, operand, regs, done),
            Action::Alu(operation, source) => {
                let (new, flags) = operation.apply(width, old, source.read(regs, width), done.rflags);
                self.replaced(current, new, WriteKind::Rmw, RegisterUpdate { rflags: flags, ..done })
            }
        }
    }

    /// A failed comparison writes nothing: the processor rewrites the old value, which nobody can see.
    fn compare_exchange(
        &self,
        current: u64,
        old: u64,
        operand: RegisterOperand,
        regs: &Registers,
        done: RegisterUpdate,
    ) -> Outcome {
        let accumulator = RegisterOperand::ACCUMULATOR;
        let wanted = accumulator.read(regs, self.width);
        let (_, flags) = alu::subtract(self.width, wanted, old, 0, done.rflags);
        let done = RegisterUpdate { rflags: flags, ..done };
        if wanted == old {
            return self.replaced(current, operand.read(regs, self.width), WriteKind::Cmpxchg, done);
        }
        let registers = done.with(Gpr::RAX, accumulator.merged(regs, self.width, old));
        Outcome { write: None, registers }
    }

    fn stored(&self, current: u64, value: u64, registers: RegisterUpdate) -> Outcome {
        let mut outcome = self.replaced(current, value, WriteKind::Store, registers);
        if let (Some(write), Width::Qword) = (&mut outcome.write, self.width) {
            write.expected = None;
        }
        outcome
    }

    /// Widens the result to the whole entry: bytes the guest did not write keep their current value.
    fn replaced(&self, current: u64, value: u64, kind: WriteKind, registers: RegisterUpdate) -> Outcome {
        let shift = 8 * u32::from(self.offset());
        let mask = self.width.mask() << shift;
        let new = current & !mask | value << shift & mask;
        let (entry, offset, width) = (self.entry(), self.offset(), self.width);
        Outcome {
            write: Some(PteWrite { entry, offset, width, expected: Some(current), new, kind }),
            registers,
        }
    }
}

/// RDI, RCX and RIP after one iteration; RIP moves on only when a repeated STOS has run out.
fn stos_registers(
    done: RegisterUpdate,
    regs: &Registers,
    width: Width,
    repeat: bool,
    addr32: bool,
) -> RegisterUpdate {
    let address_width = if addr32 { Width::Dword } else { Width::Qword };
    let rdi = regs.get(Gpr::RDI);
    let moved = if regs.rflags & rflags::DF == 0 {
        rdi.wrapping_add(width.bytes())
    } else {
        rdi.wrapping_sub(width.bytes())
    };
    let done = done.with(Gpr::RDI, address_width.merge(rdi, moved));
    if !repeat {
        return done;
    }
    let remaining = address_width.merge(0, regs.get(Gpr::RCX).wrapping_sub(1));
    let rip = if remaining == 0 { done.rip } else { regs.rip };
    RegisterUpdate { rip, ..done }.with(Gpr::RCX, remaining)
}
