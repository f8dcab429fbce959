//! `platform_op`: what Dom0's kernel asks of the machine.

use crate::call::{Call, CallResult, Outcome, fault, timer_errno};
use crate::{efi, firmware};
use boot_info::BootFacts;
use guest_memory::GuestMemory;
use ids::{FRAME_SHIFT, Gva};
use toolstack_compat::platform::{Answer, PowerManagement, Request};
use toolstack_compat::v4_17::platform::{decode, encode};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::hypercall::PLATFORM_OP;
use xen_abi::platform::{
    PlatformOp, QUIRK_IOAPIC_BAD_REGSEL, QUIRK_IOAPIC_GOOD_REGSEL, QUIRK_NOIRQBALANCING,
    XENPF_ACPI_SLEEP_EXTENDED,
};

/// What a POWER effect does: write two PM1 control values.
const BY_PM1: u32 = 0;
/// Sleep states that end in this machine being off; the others would have to wake it up again.
const SOFT_OFF: core::ops::RangeInclusive<u32> = 4..=5;
/// Set in a PM1 control value that puts the machine to sleep (ACPI 6.5, 4.8.3.2.1).
const SLEEP_ENABLE: u16 = 1 << 13;
/// Revision and length of a `_PDC` buffer, and the processor capabilities that an operating system may
/// name in it (Intel Processor Vendor-Specific ACPI, 4).
const PDC_REVISION: u32 = 1;
const PDC_CAPABILITIES: u32 = 0xbff;

/// The hypercall: argument.
pub(crate) fn platform_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let at = Gva(call.args[0]);
    let mut op: PlatformOp = call.memory.read(at).map_err(fault)?;
    let request = call.privileged_request(decode(&op))?;
    let answer = match request {
        Request::SetTime { seconds, nanoseconds, system_time } => {
            return set_time(call, seconds, nanoseconds, system_time);
        }
        Request::Sleep { state, pm1a, pm1b, flags } => return sleep(call, state, [pm1a, pm1b], flags),
        Request::Firmware(kind) => return firmware::info(call, at, op, kind),
        Request::CpuInfo { cpu } => cpu_info(call.state.facts, cpu),
        Request::CpuVersion { cpu } => cpu_version(call.state.facts, cpu),
        Request::PowerManagement(kind) => power_management(call, kind)?,
        // All that can run do.
        Request::CpuOnline { cpu } if (cpu as usize) < call.state.facts.cpus().len() => Answer::None,
        Request::CpuOnline { .. } => return Err(Errno::EINVAL),
        Request::CpuOffline { cpu } if cpu as usize >= call.state.facts.cpus().len() => {
            return Err(Errno::EINVAL);
        }
        Request::CpuOffline { .. } => {
            return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EOPNOTSUPP);
        }
        Request::ParkedCpus => Answer::Parked { count: 0 },
        Request::ParkCpus { count: 0 } => Answer::None,
        Request::ParkCpus { .. } => {
            return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EOPNOTSUPP);
        }
        Request::Quirk { id: QUIRK_NOIRQBALANCING | QUIRK_IOAPIC_BAD_REGSEL | QUIRK_IOAPIC_GOOD_REGSEL } => {
            Answer::None
        }
        Request::Quirk { .. } => return Err(Errno::EINVAL),
        // Dom0's kernel does not control frequencies.
        Request::FrequencyChange { .. } => return Err(Errno::ENOSYS),
        Request::Efi(request) => return efi::runtime_call(call, at, op, request),
        Request::MemoryType { index } => memory_type(call.state.facts, index)?,
        Request::AddMemoryType { mfn, frames, kind } => {
            check_memory_type(call.state.facts, mfn, frames, kind)?;
            return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EOPNOTSUPP);
        }
        Request::RemoveMemoryType { handle, index } => {
            let types = &call.state.facts.cpu.memory_types;
            match types.get(index as usize) {
                Some((_, mask)) if handle == 0 && mask & VALID != 0 => {
                    return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EOPNOTSUPP);
                }
                _ => return Err(Errno::EINVAL),
            }
        }
        // The image has no names: the list is at its end at once.
        Request::Symbol { index: 0, name, bytes } => {
            if bytes > 0 {
                call.memory.write(Gva(name), &0_u8).map_err(fault)?;
            }
            Answer::NoSymbol
        }
        Request::Symbol { .. } => return Err(Errno::ERANGE),
        Request::CpuAdd { apic_id } if call.state.facts.cpus().iter().any(|cpu| cpu.apic_id == apic_id) => {
            return Err(Errno::EEXIST);
        }
        Request::CpuAdd { .. } => return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EOPNOTSUPP),
        Request::MemoryAdd { start, end } if start >= end => return Err(Errno::EINVAL),
        Request::MemoryAdd { .. } => return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EOPNOTSUPP),
        Request::Resources { count: 0 } => Answer::None,
        Request::Resources { .. } => return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::ENOSYS),
        Request::Microcode { len: 0, .. } => return Err(Errno::ENOENT),
        Request::Microcode { .. } => return call.unsupported(PLATFORM_OP, op.cmd.into(), Errno::EINVAL),
        Request::Other { command } => return call.unsupported(PLATFORM_OP, command.into(), Errno::ENOSYS),
    };
    if answer != Answer::None {
        encode(&mut op, &answer);
        call.memory.write(at, &op).map_err(fault)?;
    }
    Ok(Outcome::Value(0))
}

/// The durable wall clock is that of system time 0.
fn set_time<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    seconds: u64,
    nanoseconds: u32,
    system_time: u64,
) -> CallResult {
    let timers = call.state.timers();
    call.reply_after(|tx| {
        timers.set_wall_clock(tx, seconds, nanoseconds, system_time).map_err(timer_errno)?;
        tx.publish(Effect { kind: kind::WALL_CLOCK, x: 0, a: 0, b: 0 });
        Ok(())
    })
}

/// Off by the values that Dom0's ACPI interpreter found. Suspend to RAM is not there.
fn sleep<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    state: u32,
    [pm1a, pm1b]: [u16; 2],
    flags: u32,
) -> CallResult {
    if flags & XENPF_ACPI_SLEEP_EXTENDED != 0 {
        // The machine would need sleep control registers.
        return Err(Errno::EPERM);
    }
    let registers = call.state.facts.acpi.fadt.as_ref();
    if registers.and_then(|fadt| fadt.pm1a_control.as_ref()).is_none() {
        return Err(Errno::EPERM);
    }
    if flags != 0 || pm1b != 0 && (pm1a ^ pm1b) & SLEEP_ENABLE != 0 {
        return Err(Errno::EINVAL);
    }
    match state {
        0 => return Err(Errno::EINVAL),
        1..=3 => return call.unsupported(PLATFORM_OP, 51, Errno::EOPNOTSUPP),
        state if !SOFT_OFF.contains(&state) => return Err(Errno::EINVAL),
        _ => {}
    }
    call.reply_after(|tx| {
        tx.publish(Effect { kind: kind::POWER, x: BY_PM1, a: pm1a.into(), b: pm1b.into() });
        Ok(())
    })
}

/// In a range's mask: it is used.
const VALID: u64 = 1 << 11;

/// Refuses what no processor has: a range that is no power of two or not aligned to its size, a type that there is
/// not, or one that contradicts another range (AMD APM volume 2, 7.7).
fn check_memory_type(facts: &BootFacts, mfn: u64, frames: u64, kind: u32) -> Result<(), Errno> {
    const KINDS: [u32; 5] = [UNCACHED, 1, WRITE_THROUGH, 5, WRITE_BACK];
    let end = mfn.checked_add(frames).ok_or(Errno::EINVAL)?;
    let too_far = end > 1 << facts.cpu.physical_bits.clamp(32, 52).saturating_sub(12);
    if !KINDS.contains(&kind) || !frames.is_power_of_two() || !mfn.is_multiple_of(frames) || too_far {
        return Err(Errno::EINVAL);
    }
    for index in 0..facts.cpu.memory_types.len() as u32 {
        let Ok(Answer::MemoryType { mfn: other, frames: len, kind: old }) = memory_type(facts, index) else {
            continue;
        };
        let apart = len == 0 || other + len <= mfn || end <= other;
        let nested = other >= mfn && other + len <= end || other <= mfn && other + len >= end;
        if !apart && (!nested || !go_together(kind, old)) {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

const UNCACHED: u32 = 0;
const WRITE_THROUGH: u32 = 4;
const WRITE_BACK: u32 = 6;

/// Whether ranges of these types may overlap: uncached wins, then write-through.
fn go_together(one: u32, other: u32) -> bool {
    one == other
        || [one, other].contains(&UNCACHED)
        || [[WRITE_THROUGH, WRITE_BACK], [WRITE_BACK, WRITE_THROUGH]].contains(&[one, other])
}

/// A memory type range in frames, as the firmware left it; an unused one is empty.
fn memory_type(facts: &BootFacts, index: u32) -> Result<Answer, Errno> {
    let (base, mask) = *facts.cpu.memory_types.get(index as usize).ok_or(Errno::EINVAL)?;
    if mask & VALID == 0 {
        return Ok(Answer::MemoryType { mfn: 0, frames: 0, kind: 0 });
    }
    let frames =
        1_u64 << u32::from(facts.cpu.physical_bits).clamp(FRAME_SHIFT, 52).saturating_sub(FRAME_SHIFT);
    // The mask has the bits that addresses of the range share: what it leaves free is the range's length.
    let len = !(mask >> FRAME_SHIFT) & (frames - 1);
    let kind = (base & 0xff) as u32;
    Ok(Answer::MemoryType { mfn: base >> FRAME_SHIFT & (frames - 1), frames: len + 1, kind })
}

fn max_present(facts: &BootFacts) -> u32 {
    (facts.cpus().len() as u32).saturating_sub(1)
}

fn cpu_info(facts: &BootFacts, cpu: u32) -> Answer {
    let found = facts.cpus().get(cpu as usize).map(|cpu| (cpu.apic_id, cpu.acpi_id));
    Answer::CpuInfo { max_present: max_present(facts), found }
}

fn cpu_version(facts: &BootFacts, cpu: u32) -> Answer {
    let max_present = max_present(facts);
    if cpu as usize >= facts.cpus().len() {
        return Answer::CpuVersion { max_present, vendor: [0; 12], family: 0, model: 0, stepping: 0 };
    }
    let (family, model, stepping) = facts.cpu.model();
    Answer::CpuVersion { max_present, vendor: facts.cpu.vendor, family, model, stepping }
}

/// The hypervisor manages no power states: it listens to what there is, and leaves the agreed capabilities to Dom0.
fn power_management<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    kind: PowerManagement,
) -> Result<Answer, Errno> {
    match kind {
        // Dom0's driver reads them from the tables of each processor, whether anybody uses them or not.
        PowerManagement::States { acpi_id } => {
            let listed = call.state.facts.cpus().iter().any(|cpu| cpu.acpi_id == acpi_id);
            if listed { Ok(Answer::None) } else { Err(Errno::EINVAL) }
        }
        PowerManagement::Throttling => Err(Errno::ENOSYS),
        PowerManagement::Capabilities { at } => {
            let [revision, count, bits]: [u32; 3] = call.memory.read(Gva(at)).map_err(fault)?;
            if revision != PDC_REVISION || count == 0 {
                return Err(Errno::EINVAL);
            }
            call.memory.write(Gva(at.wrapping_add(8)), &(bits & PDC_CAPABILITIES)).map_err(fault)?;
            Ok(Answer::None)
        }
        PowerManagement::Other => Err(Errno::EINVAL),
    }
}
