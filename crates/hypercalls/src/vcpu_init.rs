//! The first state of a PV vCPU, from a `vcpu_guest_context`.
//!
//! Several transactions, each of which may be repeated: what an earlier run has taken (descriptor tables,
//! roots) is found in the context and replaced or kept; `initialised` is set by the last one. A vCPU that has a state
//! may get another one with the same tables.

mod fpu;
mod layout;
mod read;
mod registers;
mod replace;
mod roots;

pub(crate) use fpu::MXCSR_BITS;
pub(crate) use read::read;
pub(crate) use replace::replace_state;

use crate::assist;
use crate::call::{Call, fault, mmu_restart, timer_errno};
use crate::descriptors::{MAX_GDT_ENTRIES, check, ldt_frames, replace};
use cpu_policy::control::{is_canonical, write_breakpoint, write_cr4, write_dr6, write_dr7};
use cpu_policy::descriptor::{fix_selector, is_ldt_okay};
use domains::{Domain, Vcpu, VcpuState};
use frames::{Frames, Owner};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn, VcpuId, VcpuSlot};
use layout::{FPU_WORDS, HEAD_AT, Head, TAIL_AT, TRAPS_AT, Tail};
use pv_cpu::{Context, Mode};
use vault::{Apply, Effect, LockWord, Tx, kind};
use xen_abi::Errno;
use xen_abi::arch::{
    TrapInfo, VGCF_FAILSAFE_DISABLES_EVENTS, VGCF_IN_KERNEL, VGCF_ONLINE, VGCF_SYSCALL_DISABLES_EVENTS,
};
use xen_abi::callback::{CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_SYSCALL};
use zerocopy::{FromBytes, IntoBytes};

/// Trap table entries set by one transaction (three undo entries each).
const TRAPS_AT_ONCE: usize = 64;
const EFLAGS_IOPL: u64 = 3 << 12;
const CR0_TS: u64 = 1 << 3;
const DR7_INITIAL: u64 = 0x400;
/// XCR0 after a reset: the x87 unit alone.
const XCR0_INITIAL: u64 = 1;

/// The vCPU that is initialised.
struct Target {
    domain: DomainSlot,
    owner: &'static Domain,
    record: &'static Vcpu,
    context: &'static Context,
    lock: &'static LockWord,
    /// For the domain's end, which nothing else may come between.
    ends: bool,
    /// It has a state already, and its domain may not run.
    again: bool,
}

/// Initialises vCPU `vcpu` of `domain` from the `vcpu_guest_context` at `at`; `done` runs in the last
/// transaction.
///
/// # Errors
/// `EEXIST`: it is initialised already; `EFAULT`; `EINVAL`: what the context asks for cannot be;
/// `ERESTART`: the call has to be run again.
pub(crate) fn initialise<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: VcpuSlot,
    at: Gva,
    done: impl FnOnce(&mut Tx<'static>),
) -> Result<(), Errno> {
    let state = call.state;
    let record = state.domains.vcpu(vcpu);
    let (context, lock) = (state.contexts.context(vcpu), state.domain_locks.of(domain));
    let owner = state.domains.domain(domain);
    let target = Target { domain, owner, record, context, lock, ends: false, again: false };
    if record.initialised.get() {
        // Not there comes before not wanted.
        let _: (Head, Tail) = (part(call, at, HEAD_AT)?, part(call, at, TAIL_AT)?);
        return Err(Errno::EEXIST);
    }
    let result = prepare(call, &target, at).and_then(|parts| finish(call, &target, vcpu, &parts, done));
    match result {
        Err(errno) if errno != Errno::ERESTART && errno != Errno::EEXIST => {
            release(call, &target)?;
            Err(errno)
        }
        result => result,
    }
}

/// The last transaction, with `done`.
fn finish<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    vcpu: VcpuSlot,
    parts: &Parts,
    done: impl FnOnce(&mut Tx<'static>),
) -> Result<(), Errno> {
    let (state, now, record) = (call.state, call.now(), target.record);
    // Only what the domain's processor has may be switched on.
    let hardware = target.owner.privileged.get();
    let cr4 = write_cr4(0, parts.tail.control[4], &state.policies.of(target.domain, hardware));
    call.j.transaction(|tx| {
        target.begin(tx)?;
        complete(state, target, tx, &parts.head, &parts.tail, cr4);
        fpu::set(state, vcpu, target.context, parts);
        match (parts.head.flags & VGCF_ONLINE != 0, record.state()) {
            (true, VcpuState::Down) => {
                record.set_state(tx, VcpuState::Runnable);
                state.timers().set_runstate(tx, vcpu, timers::State::Runnable, now).map_err(timer_errno)?;
                tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
            }
            (false, VcpuState::Runnable | VcpuState::Blocked | VcpuState::Polling) => {
                record.set_state(tx, VcpuState::Down);
                state.timers().stop_poll(tx, vcpu).map_err(timer_errno)?;
                state.timers().set_runstate(tx, vcpu, timers::State::Offline, now).map_err(timer_errno)?;
            }
            _ => {}
        }
        done(tx);
        Ok(())
    })
}

impl Target {
    /// Locks the vCPU, which must not have been initialised meanwhile, nor, if it was before, have gone on.
    fn begin(&self, tx: &mut Tx<'static>) -> Result<(), Errno> {
        tx.lock(self.lock);
        if self.owner.is_ending() != self.ends {
            return Err(Errno::EINVAL);
        }
        match (self.record.initialised.get(), self.again) {
            (true, true) if self.owner.may_run() => Err(Errno::ERESTART),
            (initialised, again) if initialised == again => Ok(()),
            (true, _) => Err(Errno::EEXIST),
            (false, _) => Err(Errno::EINVAL),
        }
    }
}

/// A part of the context that the guest gave.
fn part<M: GuestMemory + 'static, A: Apply, T: FromBytes + IntoBytes>(
    call: &Call<'_, M, A>,
    context: Gva,
    offset: u64,
) -> Result<T, Errno> {
    let at = context.0.checked_add(offset).map(Gva).ok_or(Errno::EFAULT)?;
    call.memory.read(at).map_err(fault)
}

/// What the guest gave, but for its trap table.
struct Parts {
    fpu: [u64; FPU_WORDS],
    head: Head,
    tail: Tail,
}

fn parts<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> Result<Parts, Errno> {
    Ok(Parts { fpu: part(call, at, 0)?, head: part(call, at, HEAD_AT)?, tail: part(call, at, TAIL_AT)? })
}

/// All but the last transaction.
fn prepare<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    at: Gva,
) -> Result<Parts, Errno> {
    let all = parts(call, at)?;
    let (head, tail) = (&all.head, &all.tail);
    let ldt_entries = validate(head, tail)?;
    set_traps(call, target, at.0.checked_add(TRAPS_AT).map(Gva).ok_or(Errno::EFAULT)?)?;
    set_gdt(call, target, tail)?;
    roots::set(call, target, &target.context.root_kernel, Mfn(tail.control[3] >> 12), false)?;
    roots::set(call, target, &target.context.root_user, Mfn(tail.control[1] >> 12), true)?;
    set_ldt(call, target, tail.ldt_base, ldt_entries)?;
    Ok(all)
}

/// Checks what does not depend on frames; returns the LDT's entries.
fn validate(head: &Head, tail: &Tail) -> Result<u32, Errno> {
    let addresses = [
        head.regs.rip,
        head.regs.rsp,
        tail.kernel_sp,
        tail.fs_base,
        tail.gs_base_kernel,
        tail.gs_base_user,
        tail.event,
        tail.failsafe,
        tail.syscall,
    ];
    let ldt_entries = u32::try_from(tail.ldt_entries).map_err(|_| Errno::EINVAL)?;
    let without_user_tables = head.flags & VGCF_IN_KERNEL == 0 && tail.control[1] == 0;
    if !addresses.into_iter().all(is_canonical)
        || !is_ldt_okay(tail.ldt_base, ldt_entries)
        || tail.gdt_entries > MAX_GDT_ENTRIES
        || without_user_tables
    {
        return Err(Errno::EINVAL);
    }
    Ok(ldt_entries)
}

fn set_traps<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    at: Gva,
) -> Result<(), Errno> {
    let memory = call.memory;
    for (index, traps) in target.context.traps.chunks(TRAPS_AT_ONCE).enumerate() {
        let at = at.0 + (index * TRAPS_AT_ONCE * size_of::<TrapInfo>()) as u64;
        call.j.transaction(|tx| {
            target.begin(tx)?;
            for (offset, trap) in (0..).step_by(size_of::<TrapInfo>()).zip(traps) {
                let info: TrapInfo = memory.read(Gva(at + offset)).map_err(fault)?;
                if !is_canonical(info.address) {
                    return Err(Errno::EINVAL);
                }
                tx.set(&trap.address, Gva(info.address));
                tx.set(&trap.cs, fix_selector(info.cs));
                tx.set(&trap.flags, info.flags);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn set_gdt<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    tail: &Tail,
) -> Result<(), Errno> {
    let count = tail.gdt_entries.div_ceil(512) as usize;
    let frames = tail.gdt_frames.map(Mfn);
    let entries = tail.gdt_entries as u32;
    let context = target.context;
    take_descriptors(call, target, &frames[..count], |tx| {
        replace(tx, &context.gdt, &frames[..count]);
        tx.set(&context.gdt_entries, entries);
    })
}

fn set_ldt<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    base: u64,
    entries: u32,
) -> Result<(), Errno> {
    let context = target.context;
    let (frames, count) = ldt_frames(call.memory, context.root_kernel.get(), base, entries)?;
    take_descriptors(call, target, &frames[..count], |tx| {
        replace(tx, &context.ldt, &frames[..count]);
        tx.set(&context.ldt_base, Gva(base));
        tx.set(&context.ldt_entries, entries);
    })
}

/// Takes references to frames as descriptor tables for the vCPU.
fn take_descriptors<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    frames: &[Mfn],
    install: impl Fn(&mut Tx<'static>),
) -> Result<(), Errno> {
    let mut late = false;
    let mut step = |tx: &mut Tx<'static>| match target.begin(tx) {
        Ok(()) => install(tx),
        // Somebody else initialised it: not for this one then.
        Err(_) => {
            frames.iter().for_each(|mfn| tx.publish(Frames::put_typed(*mfn)));
            late = true;
        }
    };
    let (mmu, owner) = (call.state.mmu(call.memory), Owner::domain(target.domain));
    mmu.get_descriptors(call.j, frames, owner, &check, &mut step).map_err(mmu_restart)?;
    if late { Err(Errno::EEXIST) } else { Ok(()) }
}

/// The last transaction: plain state, and the vCPU exists.
fn complete(
    state: &'static domain::State,
    target: &Target,
    tx: &mut Tx<'static>,
    head: &Head,
    tail: &Tail,
    cr4: u64,
) {
    let context = target.context;
    registers::set(context, &head.regs, tail);
    let mode = if head.flags & VGCF_IN_KERNEL != 0 { Mode::Kernel } else { Mode::User };
    context.set_mode(mode);
    context.gs_mode.set(mode as u8);
    let masks = |flag| head.flags & flag != 0;
    for (kind, callback) in context.callbacks.iter().enumerate() {
        let (address, mask) = match kind as u16 {
            CALLBACKTYPE_EVENT => (tail.event, false),
            CALLBACKTYPE_FAILSAFE => (tail.failsafe, masks(VGCF_FAILSAFE_DISABLES_EVENTS)),
            CALLBACKTYPE_SYSCALL => (tail.syscall, masks(VGCF_SYSCALL_DISABLES_EVENTS)),
            _ => (0, false),
        };
        tx.set(&callback.address, Gva(address));
        tx.set(&callback.mask, mask);
    }
    tx.set(&context.kernel_ss, u64::from(fix_selector(tail.kernel_ss as u16)));
    tx.set(&context.kernel_sp, tail.kernel_sp);
    tx.set(&context.task_switched, tail.control[0] & CR0_TS != 0);
    tx.set(&context.iopl, ((head.regs.rflags & EFLAGS_IOPL) >> 12) as u8);
    context.in_nmi.set(false);
    tx.set(&context.cr4, cr4);
    if !target.again {
        tx.set(&context.xcr0, XCR0_INITIAL);
    }
    for (number, word) in context.debug.iter().enumerate() {
        let value = tail.debug[number];
        // As on Xen a value that cannot be is left out.
        tx.set(
            word,
            match number {
                0..=3 => write_breakpoint(value).unwrap_or(0),
                6 => write_dr6(value),
                7 => write_dr7(value, cr4).map_or(DR7_INITIAL, |dr7| dr7.value),
                _ => 0,
            },
        );
    }
    if target.record.id.get() == VcpuId(0) {
        tx.set(&state.domains.domain(target.domain).assists, tail.assists & assist::VALID);
    }
    tx.set(&target.record.initialised, true);
}

/// A step of the end of a vCPU that nobody runs: gives back its descriptor tables and page tables. False: it had none.
///
/// # Errors
/// `ERESTART`.
pub(crate) fn end<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: VcpuSlot,
) -> Result<bool, Errno> {
    let state = call.state;
    let record = state.domains.vcpu(vcpu);
    let (context, lock) = (state.contexts.context(vcpu), state.domain_locks.of(domain));
    let owner = state.domains.domain(domain);
    let target = Target { domain, owner, record, context, lock, ends: true, again: false };
    let roots = [&context.root_kernel, &context.root_user, &context.debt];
    let is_used = |words: &[vault::Durable<Mfn>]| words.iter().any(|word| word.get() != Mfn(0));
    let had_some =
        roots.iter().any(|word| word.get() != Mfn(0)) || is_used(&context.gdt) || is_used(&context.ldt);
    if record.initialised.get() {
        call.j.change(|tx| {
            tx.lock(lock);
            tx.set(&record.initialised, false);
            record.set_state(tx, VcpuState::Down);
        });
    }
    if had_some {
        roots::settle(call, &target)?;
        release(call, &target)?;
        roots::settle(call, &target)?;
    }
    Ok(had_some)
}

/// Gives back what a refused initialisation took.
fn release<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
) -> Result<(), Errno> {
    let context = target.context;
    call.j.transaction(|tx| {
        target.begin(tx)?;
        replace(tx, &context.gdt, &[]);
        replace(tx, &context.ldt, &[]);
        tx.set(&context.gdt_entries, 0);
        tx.set(&context.ldt_entries, 0);
        Ok(())
    })?;
    roots::release(call, target)
}
