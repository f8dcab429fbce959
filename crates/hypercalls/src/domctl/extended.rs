//! The extended state of a vCPU (x87, SSE, AVX): two words, XCR0 and the components that were ever on, and an image in
//! XSAVE's plain format.
//!
//! What the toolstack gives is loaded into the processor, where a wrong header faults: header and MXCSR are checked or
//! cut on the copy that is stored, and the image in memory can be loaded at each step.

use super::vcpu_of;
use crate::call::{Call, CallResult, fault};
use crate::domctl::pause::{go_on, stopped};
use crate::event_channel::copy_back;
use crate::vcpu_init::MXCSR_BITS;
use cpu_policy::Policy;
use cpu_policy::control::write_xcr;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, VcpuSlot};
use pv_cpu::{COMPONENTS_WORD, FRESH, HEADER_END_WORD, MXCSR_WORD, SAVED};
use toolstack_compat::state::Bytes;
use toolstack_compat::v4_17::state::encode_extended;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::Domctl;

/// Words before the image.
const FIRST_WORDS: usize = 2;
const FIRST_BYTES: u64 = 8 * FIRST_WORDS as u64;
/// x87 and SSE, which an image always has.
const X87_SSE: u64 = 3;

/// What the domain could ever have.
fn policy<M, A>(call: &Call<'_, M, A>, domain: DomainSlot) -> cpu_policy::domains::Shown {
    let hardware = call.state.domains.domain(domain).privileged.get();
    call.state.policies.of(domain, hardware)
}

/// Components that a vCPU has, or had.
fn components<M, A>(call: &Call<'_, M, A>, domain: DomainSlot, vcpu: VcpuSlot) -> u64 {
    let (areas, context) = (&call.state.extended, call.state.contexts.context(vcpu));
    let has_some = context.fpu_saved.get() != FRESH && areas.is_saved(vcpu);
    let saved = if has_some { areas.word(vcpu, COMPONENTS_WORD) } else { 0 };
    let all = policy(call, domain).xcr0_mask();
    (context.xcr0.get() | saved) & all | X87_SSE
}

/// The state, or how large it is.
///
/// # Errors
/// `ESRCH`: no such vCPU; `EINVAL`: the caller, another size or format; `EFAULT`; `ERESTART`.
pub(super) fn get<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    (at, mut op): (u64, Domctl),
    domain: DomainSlot,
    vcpu: u32,
    (known, to): (u64, Bytes),
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu).map_err(|_| Errno::ESRCH)?;
    if slot == call.vcpu {
        return Err(Errno::EINVAL);
    }
    let cpu = &call.state.facts.cpu;
    let all = cpu.xcr0;
    if to.at == 0 || to.count == 0 && known == 0 {
        encode_extended(&mut op, all, FIRST_BYTES + u64::from(cpu.xsave_bytes))?;
        return call.reply_after(|tx| copy_back(tx, at, &op));
    }
    stopped(call, domain, |call| {
        let components = components(call, domain, slot);
        let size = FIRST_BYTES + u64::from(policy(call, domain).extended_bytes(components));
        if to.count < size || known != all {
            return Err(Errno::EINVAL);
        }
        encode_extended(&mut op, all, size)?;
        write_image(call, slot, components, Bytes { count: size, ..to })?;
        let state = call.state;
        call.reply_after(|tx| {
            go_on(state, tx, domain);
            copy_back(tx, at, &op)
        })
    })
}

fn write_image<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    vcpu: VcpuSlot,
    components: u64,
    to: Bytes,
) -> Result<(), Errno> {
    let (areas, context) = (&call.state.extended, call.state.contexts.context(vcpu));
    if context.fpu_saved.get() == FRESH {
        areas.forget(vcpu);
    }
    areas.settle(vcpu);
    let first = [context.xcr0.get(), components];
    for (index, place) in (to.at..).step_by(8).take((to.count / 8) as usize).enumerate() {
        let word = match index.checked_sub(FIRST_WORDS) {
            None => first[index],
            Some(COMPONENTS_WORD) => areas.word(vcpu, COMPONENTS_WORD) & components,
            Some(index) => areas.word(vcpu, index),
        };
        call.memory.write(Gva(place), &word).map_err(fault)?;
    }
    Ok(())
}

/// Another state for a vCPU.
///
/// # Errors
/// `ESRCH`: no such vCPU; `EINVAL`: the caller, or no state that its processor could have; `EOPNOTSUPP`: components that
/// there are not, or packed ones; `EIO`: what is reserved is not 0; `EFAULT`; `ERESTART`.
pub(super) fn set<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: u32,
    from: Bytes,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu).map_err(|_| Errno::ESRCH)?;
    if slot == call.vcpu {
        return Err(Errno::EINVAL);
    }
    stopped(call, domain, |call| {
        let policy = policy(call, domain);
        let header = check(call, &policy, from)?;
        let (state, context) = (call.state, call.state.contexts.context(slot));
        let lock = state.domain_locks.of(domain);
        if let Some(header) = header {
            take(call, slot, from, &header)?;
            return call.reply_after(|tx| {
                tx.lock(lock);
                tx.set(&context.xcr0, header.xcr0);
                go_on(state, tx, domain);
                Ok(())
            });
        }
        call.reply_after(|tx| {
            go_on(state, tx, domain);
            Ok(())
        })
    })
}

/// What says what an image has: checked.
struct Header {
    xcr0: u64,
    components: u64,
}

/// Reads the header and checks it. `None`: there is no image.
fn check<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    policy: &Policy,
    from: Bytes,
) -> Result<Option<Header>, Errno> {
    let most = FIRST_BYTES + u64::from(policy.extended_bytes(policy.xcr0_mask()));
    if from.count < FIRST_BYTES || from.count > most {
        return Err(Errno::EINVAL);
    }
    let word = |index: usize| -> Result<u64, Errno> {
        let at = from.at.checked_add(8 * index as u64).ok_or(Errno::EFAULT)?;
        call.memory.read(Gva(at)).map_err(fault)
    };
    let [xcr0, ever] = [word(0)?, word(1)?];
    if from.count == FIRST_BYTES {
        return if ever == 0 { Ok(None) } else { Err(Errno::EINVAL) };
    }
    if from.count < FIRST_BYTES + u64::from(policy.extended_bytes(ever & policy.xcr0_mask())) {
        return Err(Errno::EINVAL);
    }
    let components = word(FIRST_WORDS + COMPONENTS_WORD)?;
    // Whether it is packed; then what is reserved.
    if word(FIRST_WORDS + COMPONENTS_WORD + 1)? != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    for index in COMPONENTS_WORD + 2..HEADER_END_WORD {
        if word(FIRST_WORDS + index)? != 0 {
            return Err(Errno::EIO);
        }
    }
    if xcr0 & !ever != 0 || components & !ever != 0 {
        return Err(Errno::EINVAL);
    }
    let good = |value: u64| write_xcr(0, value, policy).is_ok();
    if !good(ever) || !good(xcr0) {
        return Err(Errno::EINVAL);
    }
    Ok(Some(Header { xcr0, components }))
}

/// Copies the image. It can be loaded at each step: until the header says what it has, it has nothing.
fn take<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    vcpu: VcpuSlot,
    from: Bytes,
    header: &Header,
) -> Result<(), Errno> {
    let (areas, context) = (&call.state.extended, call.state.contexts.context(vcpu));
    areas.forget(vcpu);
    areas.settle(vcpu);
    context.fpu_saved.set(SAVED);
    let words = (from.count / 8) as usize - FIRST_WORDS;
    for index in (0..words.min(areas.words())).filter(|i| !(COMPONENTS_WORD..HEADER_END_WORD).contains(i)) {
        let at = from.at + FIRST_BYTES + 8 * index as u64;
        let word: u64 = call.memory.read(Gva(at)).map_err(fault)?;
        let word = if index == MXCSR_WORD { word & MXCSR_BITS | MXCSR_BITS << 32 } else { word };
        areas.set_word(vcpu, index, word);
    }
    areas.set_word(vcpu, COMPONENTS_WORD, header.components);
    areas.set_saved(vcpu);
    Ok(())
}
