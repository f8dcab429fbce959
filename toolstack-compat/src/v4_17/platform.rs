//! `platform_op` of Xen 4.17 (public/platform.h, interface version 0x03000001).

use super::member::{member, put};
use crate::platform::{Answer, EfiInfo, Firmware, PowerManagement, Request};
use xen_abi::Errno;
use xen_abi::platform::{
    FwDiskInfo, FwEfiMem, FwEfiVendor, PlatformOp, XEN_CORE_PARKING_GET, XEN_CORE_PARKING_SET,
    XEN_FW_DISK_INFO, XEN_FW_DISK_MBR_SIGNATURE, XEN_FW_EFI_APPLE_PROPERTIES, XEN_FW_EFI_CONFIG_TABLE,
    XEN_FW_EFI_INFO, XEN_FW_EFI_MEM_INFO, XEN_FW_EFI_PCI_ROM, XEN_FW_EFI_RT_VERSION, XEN_FW_EFI_VENDOR,
    XEN_FW_EFI_VERSION, XEN_FW_KBD_SHIFT_FLAGS, XEN_FW_VBEDDC_INFO, XEN_PCPU_FLAGS_INVALID,
    XEN_PCPU_FLAGS_ONLINE, XEN_PM_CX, XEN_PM_PDC, XEN_PM_PX, XEN_PM_TX, XENPF_ADD_MEMTYPE, XENPF_CHANGE_FREQ,
    XENPF_CORE_PARKING, XENPF_CPU_HOTADD, XENPF_CPU_OFFLINE, XENPF_CPU_ONLINE, XENPF_DEL_MEMTYPE,
    XENPF_EFI_RUNTIME_CALL, XENPF_ENTER_ACPI_SLEEP, XENPF_FIRMWARE_INFO, XENPF_GET_CPU_VERSION,
    XENPF_GET_CPUINFO, XENPF_GET_SYMBOL, XENPF_INTERFACE_VERSION, XENPF_MEM_HOTADD, XENPF_MICROCODE_UPDATE,
    XENPF_PLATFORM_QUIRK, XENPF_READ_MEMTYPE, XENPF_RESOURCE_OP, XENPF_SET_PROCESSOR_PMINFO, XENPF_SETTIME32,
    XENPF_SETTIME64, XenpfAddMemtype, XenpfChangeFreq, XenpfCoreParking, XenpfCpuHotadd, XenpfCpuOl,
    XenpfDelMemtype, XenpfEnterAcpiSleep, XenpfFirmwareInfo, XenpfMemHotadd, XenpfMicrocodeUpdate,
    XenpfPcpuVersion, XenpfPcpuinfo, XenpfPlatformQuirk, XenpfReadMemtype, XenpfResourceOp,
    XenpfSetProcessorPminfo, XenpfSettime32, XenpfSettime64, XenpfSymdata,
};
use zerocopy::{FromBytes, IntoBytes};

/// Decodes an argument.
///
/// # Errors
/// `EACCES`: of another interface version; `EINVAL`: impossible values.
pub fn decode(op: &PlatformOp) -> Result<Request, Errno> {
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    Ok(match op.cmd {
        XENPF_SETTIME32 => {
            let m: XenpfSettime32 = member(&op.u)?;
            Request::SetTime { seconds: m.secs.into(), nanoseconds: m.nsecs, system_time: m.system_time }
        }
        XENPF_SETTIME64 => {
            let m: XenpfSettime64 = member(&op.u)?;
            if m.mbz != 0 {
                return Err(Errno::EINVAL);
            }
            Request::SetTime { seconds: m.secs, nanoseconds: m.nsecs, system_time: m.system_time }
        }
        XENPF_FIRMWARE_INFO => Request::Firmware(firmware(&member(&op.u)?)),
        XENPF_GET_CPUINFO => Request::CpuInfo { cpu: member::<XenpfPcpuinfo>(&op.u)?.xen_cpuid },
        XENPF_GET_CPU_VERSION => Request::CpuVersion { cpu: member::<XenpfPcpuVersion>(&op.u)?.xen_cpuid },
        XENPF_ENTER_ACPI_SLEEP => {
            let m: XenpfEnterAcpiSleep = member(&op.u)?;
            Request::Sleep { state: m.sleep_state, pm1a: m.val_a, pm1b: m.val_b, flags: m.flags }
        }
        XENPF_SET_PROCESSOR_PMINFO => Request::PowerManagement(power_management(&member(&op.u)?)),
        XENPF_CPU_ONLINE => Request::CpuOnline { cpu: member::<XenpfCpuOl>(&op.u)?.cpuid },
        XENPF_CPU_OFFLINE => Request::CpuOffline { cpu: member::<XenpfCpuOl>(&op.u)?.cpuid },
        XENPF_CORE_PARKING => {
            let m: XenpfCoreParking = member(&op.u)?;
            match m.type_ {
                XEN_CORE_PARKING_GET => Request::ParkedCpus,
                XEN_CORE_PARKING_SET => Request::ParkCpus { count: m.idle_nums },
                _ => return Err(Errno::EINVAL),
            }
        }
        XENPF_EFI_RUNTIME_CALL => Request::Efi(member(&op.u)?),
        XENPF_READ_MEMTYPE => Request::MemoryType { index: member::<XenpfReadMemtype>(&op.u)?.reg },
        XENPF_ADD_MEMTYPE => {
            let m: XenpfAddMemtype = member(&op.u)?;
            Request::AddMemoryType { mfn: m.mfn, frames: m.nr_mfns, kind: m.type_ }
        }
        XENPF_DEL_MEMTYPE => {
            let m: XenpfDelMemtype = member(&op.u)?;
            Request::RemoveMemoryType { handle: m.handle, index: m.reg }
        }
        XENPF_GET_SYMBOL => {
            let m: XenpfSymdata = member(&op.u)?;
            Request::Symbol { index: m.symnum, name: m.name, bytes: m.namelen }
        }
        XENPF_RESOURCE_OP => Request::Resources { count: member::<XenpfResourceOp>(&op.u)?.nr_entries },
        XENPF_CPU_HOTADD => Request::CpuAdd { apic_id: member::<XenpfCpuHotadd>(&op.u)?.apic_id },
        XENPF_MEM_HOTADD => {
            let m: XenpfMemHotadd = member(&op.u)?;
            Request::MemoryAdd { start: m.spfn, end: m.epfn }
        }
        XENPF_MICROCODE_UPDATE => {
            let m: XenpfMicrocodeUpdate = member(&op.u)?;
            Request::Microcode { image: m.data, len: m.length }
        }
        XENPF_PLATFORM_QUIRK => Request::Quirk { id: member::<XenpfPlatformQuirk>(&op.u)?.quirk_id },
        XENPF_CHANGE_FREQ => {
            let m: XenpfChangeFreq = member(&op.u)?;
            Request::FrequencyChange { cpu: m.cpu, hertz: m.freq }
        }
        command => Request::Other { command },
    })
}

fn firmware(info: &XenpfFirmwareInfo) -> Firmware {
    let index = info.index;
    match info.type_ {
        XEN_FW_DISK_INFO => Firmware::Disk { index, parameters: info.u[1] },
        XEN_FW_DISK_MBR_SIGNATURE => Firmware::DiskSignature { index },
        XEN_FW_VBEDDC_INFO => Firmware::Monitor { index, block: info.u[1] },
        XEN_FW_EFI_INFO => Firmware::Efi(efi_info(info)),
        XEN_FW_KBD_SHIFT_FLAGS => Firmware::Keyboard { index },
        _ => Firmware::Other,
    }
}

fn efi_info(info: &XenpfFirmwareInfo) -> EfiInfo {
    let bytes = info.u.as_bytes();
    match info.index {
        XEN_FW_EFI_VERSION => EfiInfo::Version,
        XEN_FW_EFI_CONFIG_TABLE => EfiInfo::ConfigTable,
        XEN_FW_EFI_VENDOR => FwEfiVendor::read_from_prefix(bytes)
            .map_or(EfiInfo::Other, |(m, _)| EfiInfo::Vendor { name: m.name, bytes: m.bufsz }),
        XEN_FW_EFI_MEM_INFO => FwEfiMem::read_from_prefix(bytes)
            .map_or(EfiInfo::Other, |(m, _)| EfiInfo::Memory { address: m.addr, size: m.size }),
        XEN_FW_EFI_RT_VERSION => EfiInfo::RuntimeVersion,
        XEN_FW_EFI_PCI_ROM => EfiInfo::OptionRom,
        XEN_FW_EFI_APPLE_PROPERTIES => EfiInfo::AppleProperties,
        _ => EfiInfo::Other,
    }
}

fn power_management(info: &XenpfSetProcessorPminfo) -> PowerManagement {
    match info.type_ {
        XEN_PM_CX | XEN_PM_PX => PowerManagement::States { acpi_id: info.id },
        XEN_PM_TX => PowerManagement::Throttling,
        XEN_PM_PDC => PowerManagement::Capabilities { at: info.u[0] },
        _ => PowerManagement::Other,
    }
}

/// Changes the words of a firmware answer.
fn put_firmware(op: &mut PlatformOp, change: impl FnOnce(&mut [u64; 4])) {
    let Ok(mut m) = member::<XenpfFirmwareInfo>(&op.u) else { return };
    change(&mut m.u);
    put(&mut op.u, &m);
}

/// Puts an answer into the argument it belongs to.
pub fn encode(op: &mut PlatformOp, answer: &Answer) {
    match *answer {
        Answer::None => {}
        Answer::CpuInfo { max_present, found } => {
            let Ok(mut m) = member::<XenpfPcpuinfo>(&op.u) else { return };
            m.max_present = max_present;
            m.flags = XEN_PCPU_FLAGS_INVALID;
            if let Some((apic_id, acpi_id)) = found {
                (m.flags, m.apic_id, m.acpi_id) = (XEN_PCPU_FLAGS_ONLINE, apic_id, acpi_id);
            }
            put(&mut op.u, &m);
        }
        Answer::CpuVersion { max_present, vendor, family, model, stepping } => {
            let Ok(mut m) = member::<XenpfPcpuVersion>(&op.u) else { return };
            (m.max_present, m.vendor_id) = (max_present, vendor);
            (m.family, m.model, m.stepping) = (family, model, stepping);
            put(&mut op.u, &m);
        }
        Answer::MemoryType { mfn, frames, kind } => {
            let Ok(mut m) = member::<XenpfReadMemtype>(&op.u) else { return };
            (m.mfn, m.nr_mfns, m.type_) = (mfn, frames, kind);
            put(&mut op.u, &m);
        }
        Answer::NoSymbol => {
            let Ok(mut m) = member::<XenpfSymdata>(&op.u) else { return };
            (m.namelen, m.type_, m.address) = (1, 0, 0);
            put(&mut op.u, &m);
        }
        Answer::Efi(call) => put(&mut op.u, &call),
        Answer::EfiVersion { version } => {
            put_firmware(op, |u| u[0] = u[0] & !0xffff_ffff | u64::from(version))
        }
        Answer::EfiConfigTable { address, entries } => put_firmware(op, |u| {
            u[0] = address;
            u[1] = u[1] & !0xffff_ffff | u64::from(entries);
        }),
        Answer::EfiVendor { revision } => {
            put_firmware(op, |u| u[0] = u[0] & !0xffff_ffff | u64::from(revision))
        }
        Answer::EfiMemory { size, attributes, kind } => put_firmware(op, |u| {
            u[1] = size;
            u[2] = attributes;
            u[3] = u[3] & !0xffff_ffff | u64::from(kind);
        }),
        Answer::Disk { device, version, interface_support, max_cylinder, max_head, sectors } => {
            put_firmware(op, |u| {
                let disk = FwDiskInfo {
                    device,
                    version,
                    interface_support,
                    legacy_max_cylinder: max_cylinder,
                    legacy_max_head: max_head,
                    legacy_sectors_per_track: sectors,
                    edd_params: u[1],
                };
                u.as_mut_bytes()[..size_of_val(&disk)].copy_from_slice(disk.as_bytes());
            });
        }
        Answer::DiskSignature { device, signature } => {
            put_firmware(op, |u| u[0] = u[0] & 0xffff_ff00 | u64::from(device) | u64::from(signature) << 32);
        }
        Answer::Monitor { capabilities, transfer_time } => {
            let found = u64::from(u16::from_le_bytes([capabilities, transfer_time]));
            put_firmware(op, |u| u[0] = u[0] & !0xffff | found);
        }
        Answer::Keyboard { flags } => {
            put_firmware(op, |u| u[0] = u[0] & !0xff | u64::from(flags));
        }
        Answer::Parked { count } => {
            let Ok(mut m) = member::<XenpfCoreParking>(&op.u) else { return };
            m.idle_nums = count;
            put(&mut op.u, &m);
        }
    }
}
