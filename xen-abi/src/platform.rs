//! Platform operations of the hardware domain (`platform.h`).

mod cpu;
mod efi;
mod firmware;
mod members;
mod pminfo;

pub use cpu::*;
pub use efi::*;
pub use firmware::*;
pub use members::*;
pub use pminfo::*;

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Values of [`PlatformOp::cmd`].
    XENPF_CMDS: u32;
    /// Sets the wall clock, 32-bit seconds.
    XENPF_SETTIME32 = 17, "XENPF_settime32";
    /// Adds an MTRR range.
    XENPF_ADD_MEMTYPE = 31, "XENPF_add_memtype";
    /// Deletes one.
    XENPF_DEL_MEMTYPE = 32, "XENPF_del_memtype";
    /// Reads one.
    XENPF_READ_MEMTYPE = 33, "XENPF_read_memtype";
    /// Loads microcode.
    XENPF_MICROCODE_UPDATE = 35, "XENPF_microcode_update";
    /// Reports a quirk.
    XENPF_PLATFORM_QUIRK = 39, "XENPF_platform_quirk";
    /// Reads a CPU's version.
    XENPF_GET_CPU_VERSION = 48, "XENPF_get_cpu_version";
    /// Calls EFI runtime services.
    XENPF_EFI_RUNTIME_CALL = 49, "XENPF_efi_runtime_call";
    /// Reads firmware information.
    XENPF_FIRMWARE_INFO = 50, "XENPF_firmware_info";
    /// Enters an ACPI sleep state.
    XENPF_ENTER_ACPI_SLEEP = 51, "XENPF_enter_acpi_sleep";
    /// Reports a frequency change.
    XENPF_CHANGE_FREQ = 52, "XENPF_change_freq";
    /// Reads idle times.
    XENPF_GETIDLETIME = 53, "XENPF_getidletime";
    /// Uploads processor power-management data.
    XENPF_SET_PROCESSOR_PMINFO = 54, "XENPF_set_processor_pminfo";
    /// Reads a CPU's state and ids.
    XENPF_GET_CPUINFO = 55, "XENPF_get_cpuinfo";
    /// Brings a CPU up.
    XENPF_CPU_ONLINE = 56, "XENPF_cpu_online";
    /// Takes a CPU down.
    XENPF_CPU_OFFLINE = 57, "XENPF_cpu_offline";
    /// Adds a CPU.
    XENPF_CPU_HOTADD = 58, "XENPF_cpu_hotadd";
    /// Adds memory.
    XENPF_MEM_HOTADD = 59, "XENPF_mem_hotadd";
    /// Parks cores.
    XENPF_CORE_PARKING = 60, "XENPF_core_parking";
    /// Accesses MSRs.
    XENPF_RESOURCE_OP = 61, "XENPF_resource_op";
    /// Sets the wall clock, 64-bit seconds.
    XENPF_SETTIME64 = 62, "XENPF_settime64";
    /// Reads hypervisor symbols.
    XENPF_GET_SYMBOL = 63, "XENPF_get_symbol";
}

constants! {
    /// Version and flags.
    XENPF_VALUES: u32;
    /// Value of [`PlatformOp::interface_version`].
    XENPF_INTERFACE_VERSION = 0x0300_0001, "XENPF_INTERFACE_VERSION";
    /// Do not balance interrupts.
    QUIRK_NOIRQBALANCING = 1, "QUIRK_NOIRQBALANCING";
    /// The I/O APIC needs its register selected each time.
    QUIRK_IOAPIC_BAD_REGSEL = 2, "QUIRK_IOAPIC_BAD_REGSEL";
    /// It does not.
    QUIRK_IOAPIC_GOOD_REGSEL = 3, "QUIRK_IOAPIC_GOOD_REGSEL";
    /// [`XenpfEnterAcpiSleep::flags`]: the values are sleep control and status.
    XENPF_ACPI_SLEEP_EXTENDED = 1, "XENPF_ACPI_SLEEP_EXTENDED";
    /// [`XenpfPcpuinfo::flags`]: the CPU is up.
    XEN_PCPU_FLAGS_ONLINE = 1, "XEN_PCPU_FLAGS_ONLINE";
    /// [`XenpfPcpuinfo::flags`]: there is no such CPU.
    XEN_PCPU_FLAGS_INVALID = 2, "XEN_PCPU_FLAGS_INVALID";
    /// [`XenpfCoreParking::type_`]: set.
    XEN_CORE_PARKING_SET = 1, "XEN_CORE_PARKING_SET";
    /// [`XenpfCoreParking::type_`]: get.
    XEN_CORE_PARKING_GET = 2, "XEN_CORE_PARKING_GET";
    /// [`XenpfResourceEntry::u`]: read an MSR.
    XEN_RESOURCE_OP_MSR_READ = 0, "XEN_RESOURCE_OP_MSR_READ";
    /// [`XenpfResourceEntry::u`]: write an MSR.
    XEN_RESOURCE_OP_MSR_WRITE = 1, "XEN_RESOURCE_OP_MSR_WRITE";
}

/// Argument of `platform_op`. C name: `xen_platform_op_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PlatformOp {
    /// One of [`XENPF_CMDS`].
    pub cmd: u32,
    /// [`XENPF_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Member by command, from its start (C: union `u`).
    pub u: [u64; 16],
}

const_assert_eq!(size_of::<PlatformOp>(), 136);
