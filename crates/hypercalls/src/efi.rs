//! EFI for Dom0: what the firmware says of itself, and calls of its runtime services.

use crate::call::{Call, CallResult, fault};
use crate::event_channel::copy_back;
use alloc::vec::Vec;
use boot_info::EfiFacts;
use domain::{RuntimeCall, RuntimeServices};
use guest_memory::GuestMemory;
use ids::Gva;
use toolstack_compat::platform::{Answer, EfiInfo};
use toolstack_compat::v4_17::platform::encode;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::platform::{
    EfiGetTime, EfiNextVariableName, EfiVariable, EfiVariableInfo, PlatformOp,
    XEN_EFI_GET_NEXT_HIGH_MONOTONIC_COUNT, XEN_EFI_GET_NEXT_VARIABLE_NAME, XEN_EFI_GET_TIME,
    XEN_EFI_GET_TIME_SET_CLEARS_NS, XEN_EFI_GET_VARIABLE, XEN_EFI_GET_WAKEUP_TIME,
    XEN_EFI_GET_WAKEUP_TIME_ENABLED, XEN_EFI_GET_WAKEUP_TIME_PENDING, XEN_EFI_QUERY_CAPSULE_CAPABILITIES,
    XEN_EFI_QUERY_VARIABLE_INFO, XEN_EFI_SET_TIME, XEN_EFI_SET_VARIABLE, XEN_EFI_SET_WAKEUP_TIME,
    XEN_EFI_SET_WAKEUP_TIME_ENABLE, XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY, XEN_EFI_UPDATE_CAPSULE,
    XEN_EFI_VARINFO_BOOT_SNAPSHOT, XenpfEfiRuntimeCall, XenpfEfiTime,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// UTF-16 units of a variable's name, its end included: no firmware has longer ones.
const MAX_NAME: usize = 1024;
/// Bytes of a variable's data that a call may carry.
const MAX_DATA: u64 = 1 << 20;
/// Set in an `EFI_STATUS` that is an error.
const ERROR: u64 = 1 << 63;

/// `XEN_FW_EFI_INFO`.
///
/// # Errors
/// `ENOSYS`: this is no EFI machine; `ESRCH`, `ENODATA`: it does not say; `EINVAL`, `EFAULT`.
pub(crate) fn info<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    what: EfiInfo,
) -> Result<Answer, Errno> {
    let efi = &call.state.facts.efi;
    if efi.version == 0 {
        return Err(Errno::ENOSYS);
    }
    Ok(match what {
        EfiInfo::Version => Answer::EfiVersion { version: efi.version },
        EfiInfo::ConfigTable => Answer::EfiConfigTable { address: efi.tables.0, entries: efi.table_count },
        EfiInfo::Vendor { name, bytes } => {
            let fits = efi.vendor.len().min(bytes as usize / 2);
            call.memory.copy_out(Gva(name), efi.vendor[..fits].as_bytes()).map_err(fault)?;
            Answer::EfiVendor { revision: efi.firmware_revision }
        }
        EfiInfo::Memory { address, size } => memory(efi, address, size)?,
        EfiInfo::RuntimeVersion if call.state.efi.is_none() => return Err(Errno::EOPNOTSUPP),
        EfiInfo::RuntimeVersion => Answer::EfiVersion { version: efi.runtime_version },
        // Boot services, which knew, have ended before the hypervisor was entered.
        EfiInfo::OptionRom => return Err(Errno::ESRCH),
        EfiInfo::AppleProperties => return Err(Errno::ENODATA),
        EfiInfo::Other => return Err(Errno::EINVAL),
    })
}

/// The part of the range asked about that is of one kind.
fn memory(efi: &EfiFacts, address: u64, size: u64) -> Result<Answer, Errno> {
    let region = efi.region(address).ok_or(Errno::ESRCH)?;
    let left = region.end() - address;
    Ok(Answer::EfiMemory { size: size.min(left), attributes: region.attributes, kind: region.kind })
}

/// `XENPF_efi_runtime_call`: `op` is the argument, copied from `at`, `request` its part.
///
/// The results go back with the reply: they stand where the arguments were, which a repetition reads again. Data of a
/// variable is written before that, for it is no argument. A call of a service that a crash cuts is made again.
pub(crate) fn runtime_call<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: Gva,
    mut op: PlatformOp,
    mut request: XenpfEfiRuntimeCall,
) -> CallResult {
    if call.state.facts.efi.version == 0 {
        return Err(Errno::ENOSYS);
    }
    let allowed = match request.function {
        XEN_EFI_SET_WAKEUP_TIME => XEN_EFI_SET_WAKEUP_TIME_ENABLE | XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY,
        XEN_EFI_QUERY_VARIABLE_INFO => XEN_EFI_VARINFO_BOOT_SNAPSHOT,
        // There these are the variable's attributes.
        XEN_EFI_SET_VARIABLE => u32::MAX,
        _ => 0,
    };
    if request.misc & !allowed != 0 {
        return Err(Errno::EINVAL);
    }
    let services = call.state.efi.ok_or(Errno::EOPNOTSUPP);
    let mut next = None;
    match request.function {
        XEN_EFI_GET_TIME | XEN_EFI_SET_TIME | XEN_EFI_GET_WAKEUP_TIME | XEN_EFI_SET_WAKEUP_TIME => {
            time(services?, &mut request)?;
        }
        XEN_EFI_GET_NEXT_HIGH_MONOTONIC_COUNT => {
            let service = RuntimeCall::NextHighMonotonicCount(&mut request.misc);
            request.status = services?.call(service).map_err(unavailable)?;
        }
        XEN_EFI_GET_VARIABLE => get_variable(call.memory, services?, &mut request)?,
        XEN_EFI_SET_VARIABLE => set_variable(call.memory, services?, &mut request)?,
        XEN_EFI_GET_NEXT_VARIABLE_NAME => next = next_name(call.memory, services?, &mut request)?,
        XEN_EFI_QUERY_VARIABLE_INFO => variable_info(services?, &mut request)?,
        XEN_EFI_QUERY_CAPSULE_CAPABILITIES | XEN_EFI_UPDATE_CAPSULE => {
            let _ = services?;
            return Err(Errno::ENOSYS);
        }
        _ => return Err(Errno::ENOSYS),
    }
    encode(&mut op, &Answer::Efi(request));
    call.reply_after(|tx| {
        if let Some((to, name)) = next {
            copy_back(tx, to, &name[..])?;
        }
        copy_back(tx, at.0, &op)
    })
}

fn unavailable(_: domain::Unavailable) -> Errno {
    Errno::EOPNOTSUPP
}

/// The member of the union.
fn member<T: FromBytes>(request: &XenpfEfiRuntimeCall) -> Result<T, Errno> {
    T::read_from_prefix(request.u.as_bytes()).map(|(value, _)| value).map_err(|_| Errno::EINVAL)
}

fn put<T: IntoBytes + Immutable>(request: &mut XenpfEfiRuntimeCall, value: &T) {
    let bytes = value.as_bytes();
    request.u.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
}

fn is_success(status: u64) -> bool {
    status & ERROR == 0
}

fn time(services: &dyn RuntimeServices, request: &mut XenpfEfiRuntimeCall) -> Result<(), Errno> {
    let (mut time, flags): (XenpfEfiTime, u32) = (member(request)?, core::mem::take(&mut request.misc));
    let run = |service| services.call(service).map_err(unavailable);
    request.status = match request.function {
        XEN_EFI_GET_TIME => {
            let mut capabilities = [0; 3];
            let status = run(RuntimeCall::GetTime { time: &mut time, capabilities: &mut capabilities })?;
            let [resolution, accuracy, clears] = capabilities;
            put(request, &EfiGetTime { time, resolution, accuracy });
            if is_success(status) && clears & 0xff != 0 {
                request.misc = XEN_EFI_GET_TIME_SET_CLEARS_NS;
            }
            status
        }
        XEN_EFI_SET_TIME => run(RuntimeCall::SetTime(&time))?,
        XEN_EFI_GET_WAKEUP_TIME => {
            let (mut enabled, mut pending) = (0, 0);
            let status = run(RuntimeCall::GetWakeupTime {
                enabled: &mut enabled,
                pending: &mut pending,
                time: &mut time,
            })?;
            put(request, &time);
            if is_success(status) {
                let flag = |on: u8, flag| if on != 0 { flag } else { 0 };
                request.misc = flag(enabled, XEN_EFI_GET_WAKEUP_TIME_ENABLED)
                    | flag(pending, XEN_EFI_GET_WAKEUP_TIME_PENDING);
            }
            status
        }
        _ => run(RuntimeCall::SetWakeupTime {
            enable: flags & XEN_EFI_SET_WAKEUP_TIME_ENABLE != 0,
            time: (flags & XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY == 0).then_some(&time),
        })?,
    };
    Ok(())
}

/// Zeroed memory.
fn buffer<T: Clone + Default>(len: usize) -> Result<Vec<T>, Errno> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    buffer.resize(len, T::default());
    Ok(buffer)
}

/// Room for a variable's data.
fn room(size: u64) -> Result<Vec<u8>, Errno> {
    if size > MAX_DATA { Err(Errno::ENOMEM) } else { buffer(size as usize) }
}

/// A name, its end included, from the guest.
fn read_name(memory: &impl GuestMemory, at: u64) -> Result<Vec<u16>, Errno> {
    let mut name: Vec<u16> = Vec::new();
    while name.last() != Some(&0) {
        if name.len() == MAX_NAME {
            return Err(Errno::ENOMEM);
        }
        let unit = memory.read(Gva(at.wrapping_add(2 * name.len() as u64))).map_err(fault)?;
        name.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        name.push(unit);
    }
    Ok(name)
}

fn get_variable(
    memory: &impl GuestMemory,
    services: &dyn RuntimeServices,
    request: &mut XenpfEfiRuntimeCall,
) -> Result<(), Errno> {
    let mut variable: EfiVariable = member(request)?;
    let name = read_name(memory, variable.name)?;
    let mut data = room(variable.size)?;
    request.status = services
        .call(RuntimeCall::GetVariable {
            name: &name,
            vendor: &variable.vendor_guid,
            attributes: &mut request.misc,
            size: &mut variable.size,
            data: &mut data,
        })
        .map_err(unavailable)?;
    if is_success(request.status) {
        let len = data.len().min(usize::try_from(variable.size).unwrap_or(usize::MAX));
        memory.copy_out(Gva(variable.data), &data[..len]).map_err(fault)?;
    }
    put(request, &variable);
    Ok(())
}

fn set_variable(
    memory: &impl GuestMemory,
    services: &dyn RuntimeServices,
    request: &mut XenpfEfiRuntimeCall,
) -> Result<(), Errno> {
    let variable: EfiVariable = member(request)?;
    let name = read_name(memory, variable.name)?;
    let mut data = room(variable.size)?;
    memory.copy_in(Gva(variable.data), &mut data).map_err(fault)?;
    request.status = services
        .call(RuntimeCall::SetVariable {
            name: &name,
            vendor: &variable.vendor_guid,
            attributes: request.misc,
            data: &data,
        })
        .map_err(unavailable)?;
    Ok(())
}

/// What goes back beside the argument: the next name, and where to.
type NextName = Option<(u64, Vec<u8>)>;

fn next_name(
    memory: &impl GuestMemory,
    services: &dyn RuntimeServices,
    request: &mut XenpfEfiRuntimeCall,
) -> Result<NextName, Errno> {
    let mut next: EfiNextVariableName = member(request)?;
    let units = usize::try_from(next.size / 2).unwrap_or(MAX_NAME).min(MAX_NAME);
    let mut name: Vec<u16> = buffer(units)?;
    memory.copy_in(Gva(next.name), name.as_mut_bytes()).map_err(fault)?;
    request.status = services
        .call(RuntimeCall::NextVariableName {
            name: &mut name,
            size: &mut next.size,
            vendor: &mut next.vendor_guid,
        })
        .map_err(unavailable)?;
    put(request, &next);
    if !is_success(request.status) {
        return Ok(None);
    }
    let len = usize::try_from(next.size).unwrap_or(usize::MAX).min(2 * units);
    let mut bytes = buffer(len)?;
    bytes.copy_from_slice(&name.as_bytes()[..len]);
    Ok(Some((next.name, bytes)))
}

/// The room for variables. As it was at boot is not known: boot services had ended by then.
fn variable_info(services: &dyn RuntimeServices, request: &mut XenpfEfiRuntimeCall) -> Result<(), Errno> {
    let mut info: EfiVariableInfo = member(request)?;
    request.misc = 0;
    let mut sizes = <[u64; 3]>::new_zeroed();
    let service = RuntimeCall::QueryVariableInfo { attributes: info.attr, sizes: &mut sizes };
    request.status = services.call(service).map_err(unavailable)?;
    [info.max_store_size, info.remain_store_size, info.max_size] = sizes;
    put(request, &info);
    Ok(())
}
