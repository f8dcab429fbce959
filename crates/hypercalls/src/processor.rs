//! What the toolstack is told of processors, and the policies that it gives to domains.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::event_channel::copy_back;
use cpu_policy::cpuid::Leaf;
use cpu_policy::features::WORDS;
use cpu_policy::listing::MOST_LEAVES;
use cpu_policy::submission::{Refused, Submission, Why};
use cpu_policy::system::{Registers, Which};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva};
use toolstack_compat::processor::{PolicyFault, ProcessorRequest as Request, Records, SystemPolicy};
use toolstack_compat::v4_17::processor::{
    decode_domain, encode_domain, encode_fault, encode_features, encode_levelling, encode_policy, leaf,
    register,
};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::arch::{CpuidLeaf, MsrEntry};
use xen_abi::domctl::Domctl;
use xen_abi::sysctl::Sysctl;
use zerocopy::{Immutable, IntoBytes};

/// Carries out a request of `sysctl`, whose argument `op` the guest has at `at`.
pub(crate) fn machine<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    mut op: Sysctl,
    request: Request,
) -> CallResult {
    let mut result = Ok(());
    match request {
        Request::Levelling => {
            let faulting = call.state.policies.system.default().cpuid_faulting();
            encode_levelling(&mut op, faulting);
        }
        Request::Features { words: Records { at: 0, .. }, .. } => encode_features(&mut op, WORDS as u32)?,
        Request::Features { of, words } => {
            let of = which(of.ok_or(Errno::EINVAL)?)?;
            let count = words.count.min(WORDS as u32);
            let set = call.state.policies.system.features(of);
            call.memory.copy_out(Gva(words.at), set.0[..count as usize].as_bytes()).map_err(fault)?;
            encode_features(&mut op, count)?;
            if count < WORDS as u32 {
                result = Err(Errno::ENOBUFS);
            }
        }
        Request::Policy { of, leaves, registers } => {
            let (of, system) = (which(of)?, call.state.policies.system);
            let leaves = list_leaves(call, leaves, |each| system.each_leaf(of, each))?;
            let written = list_registers(call, registers, &system.registers(of));
            encode_policy(&mut op, leaves, written.ok())?;
            result = written.map(|_| ());
        }
    }
    // What was found out is told even where something is missing.
    answer(call, at, &op, result)
}

fn which(policy: SystemPolicy) -> Result<Which, Errno> {
    match policy {
        SystemPolicy::Raw => Ok(Which::Raw),
        SystemPolicy::Host => Ok(Which::Host),
        SystemPolicy::PvMax => Ok(Which::PvMax),
        SystemPolicy::PvDefault => Ok(Which::PvDefault),
        SystemPolicy::Hvm => Err(Errno::EOPNOTSUPP),
    }
}

/// Copies the argument back and replies.
fn answer<M: GuestMemory + 'static, A: Apply, T: IntoBytes + Immutable>(
    call: &mut Call<'_, M, A>,
    at: u64,
    op: &T,
    result: Result<(), Errno>,
) -> CallResult {
    let reply = call.reply;
    call.j.transaction(|tx| {
        copy_back(tx, at, op)?;
        reply.publish(tx, result.map_or_else(Errno::to_result, |()| 0));
        Ok(Outcome::Replied)
    })
}

/// Writes a record of the caller's list.
fn put<M: GuestMemory, T: IntoBytes + Immutable>(
    memory: &M,
    list: Records,
    index: u32,
    record: &T,
) -> Result<(), Errno> {
    if index >= list.count {
        return Err(Errno::ENOBUFS);
    }
    memory.write(Gva(list.at.wrapping_add(u64::from(index) * size_of::<T>() as u64)), record).map_err(fault)
}

type EachLeaf<'a> = &'a mut dyn FnMut(u32, u32, Leaf) -> Result<(), Errno>;

/// Writes the leaves that `each_leaf` has; how many, or how many there may be if none are wanted.
fn list_leaves<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    list: Records,
    each_leaf: impl FnOnce(EachLeaf<'_>) -> Result<(), Errno>,
) -> Result<u32, Errno> {
    if list.at == 0 {
        return Ok(MOST_LEAVES);
    }
    let mut count = 0;
    each_leaf(&mut |number, subleaf, Leaf { eax, ebx, ecx, edx }| {
        put(call.memory, list, count, &leaf(number, subleaf, [eax, ebx, ecx, edx]))?;
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// The same of registers.
fn list_registers<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    list: Records,
    registers: &Registers,
) -> Result<u32, Errno> {
    if list.at != 0 {
        for (place, (index, value)) in (0..).zip(registers.list()) {
            put(call.memory, list, place, &register(index, value))?;
        }
    }
    Ok(Registers::MOST)
}

/// `XEN_DOMCTL_get_cpu_policy` of the domain in `slot`.
pub(crate) fn get_policy<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    mut op: Domctl,
    slot: DomainSlot,
) -> CallResult {
    let [leaves, registers] = decode_domain(&op)?;
    let (policies, hardware) = (call.state.policies, is_hardware(call, slot));
    let policy = call.j.change(|tx| policies.hold(tx, slot, hardware));
    let leaves = list_leaves(call, leaves, |each| policy.each_leaf(each))?;
    let registers = list_registers(call, registers, &policy.registers())?;
    encode_domain(&mut op, leaves, registers)?;
    answer(call, at, &op, Ok(()))
}

fn is_hardware<M, A>(call: &Call<'_, M, A>, slot: DomainSlot) -> bool {
    call.state.domains.domain(slot).privileged.get()
}

/// Why a policy is not taken.
struct Untaken {
    errno: Errno,
    /// What the toolstack is told of it besides.
    fault: Option<PolicyFault>,
}

impl From<Errno> for Untaken {
    fn from(errno: Errno) -> Self {
        Self { errno, fault: Some(PolicyFault::NOWHERE) }
    }
}

impl From<Refused> for Untaken {
    fn from(Refused { why, leaf, subleaf, register }: Refused) -> Self {
        let errno = match why {
            Why::Unknown => Errno::ERANGE,
            Why::Invalid => Errno::EINVAL,
            Why::TooWide => Errno::EOVERFLOW,
        };
        Self { errno, fault: Some(PolicyFault { leaf, subleaf, register }) }
    }
}

/// `XEN_DOMCTL_set_cpu_policy` of the domain in `slot`: before it first runs, and never the caller's own.
pub(crate) fn set_policy<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    mut op: Domctl,
    slot: DomainSlot,
) -> CallResult {
    if slot == call.domain {
        return Err(Errno::EINVAL);
    }
    let lists = decode_domain(&op)?;
    let (policies, memory, reply) = (call.state.policies, call.memory, call.reply);
    let hardware = is_hardware(call, slot);
    let taken = call.j.transaction(|tx| {
        let present = policies.hold(tx, slot, hardware);
        if hardware || policies.is_fixed(slot) {
            return Err(Untaken { errno: Errno::EEXIST, fault: None });
        }
        let mut submission = Submission::over(&present);
        read(memory, lists, &mut submission)?;
        let policy = submission.finish(policies.system.max())?;
        policies.choose(tx, slot, &policy);
        reply.publish(tx, 0);
        Ok(Outcome::Replied)
    });
    match taken {
        Ok(outcome) => Ok(outcome),
        Err(Untaken { errno, fault: None }) => Err(errno),
        Err(Untaken { errno, fault: Some(fault) }) => {
            encode_fault(&mut op, &fault)?;
            answer(call, at, &op, Err(errno))
        }
    }
}

/// Reads leaves, then registers.
fn read<M: GuestMemory>(
    memory: &M,
    [leaves, registers]: [Records; 2],
    submission: &mut Submission,
) -> Result<(), Untaken> {
    let place =
        |list: Records, index: u32, bytes: usize| Gva(list.at.wrapping_add(u64::from(index) * bytes as u64));
    if leaves.count > MOST_LEAVES {
        return Err(Errno::E2BIG.into());
    }
    for index in 0..leaves.count {
        let leaf: CpuidLeaf = memory.read(place(leaves, index, size_of::<CpuidLeaf>())).map_err(fault)?;
        let value = Leaf { eax: leaf.a, ebx: leaf.b, ecx: leaf.c, edx: leaf.d };
        submission.leaf(leaf.leaf, leaf.subleaf, &value)?;
    }
    if registers.count > Registers::MOST {
        return Err(Errno::E2BIG.into());
    }
    for index in 0..registers.count {
        let entry: MsrEntry = memory.read(place(registers, index, size_of::<MsrEntry>())).map_err(fault)?;
        submission.register(entry.idx, entry.flags, entry.val)?;
    }
    Ok(())
}
