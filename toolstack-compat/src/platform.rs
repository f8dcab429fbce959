//! Requests of `platform_op`, whatever the release.

use xen_abi::platform::XenpfEfiRuntimeCall;

/// What Dom0 asks of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of public/platform.h, named as there")]
pub enum Request {
    /// The wall clock was `seconds` and `nanoseconds` when system time was `system_time`.
    SetTime { seconds: u64, nanoseconds: u32, system_time: u64 },
    /// What the firmware left behind.
    Firmware(Firmware),
    /// A physical CPU's state and identifiers.
    CpuInfo { cpu: u32 },
    /// A physical CPU's model.
    CpuVersion { cpu: u32 },
    /// Enters a sleep state by writing the two PM1 control values.
    Sleep { state: u32, pm1a: u16, pm1b: u16, flags: u32 },
    /// Power management data of a processor.
    PowerManagement(PowerManagement),
    /// Brings a CPU up.
    CpuOnline { cpu: u32 },
    /// Takes a CPU down.
    CpuOffline { cpu: u32 },
    /// How many CPUs are parked.
    ParkedCpus,
    /// Parks CPUs.
    ParkCpus { count: u32 },
    /// Calls an EFI runtime service.
    Efi(XenpfEfiRuntimeCall),
    /// A range of memory with a type of its own.
    MemoryType { index: u32 },
    /// A new range of memory with a type of its own, in frames.
    AddMemoryType { mfn: u64, frames: u64, kind: u32 },
    /// The end of such a range.
    RemoveMemoryType { handle: u32, index: u32 },
    /// A name in the hypervisor's image: guest address and bytes of a buffer for it.
    Symbol { index: u32, name: u64, bytes: u32 },
    /// A CPU that was plugged in.
    CpuAdd { apic_id: u32 },
    /// Reads and writes of registers.
    Resources { count: u32 },
    /// Memory that was plugged in, in frames.
    MemoryAdd { start: u64, end: u64 },
    /// Loads microcode.
    Microcode { image: u64, len: u32 },
    /// Reports a quirk of the board.
    Quirk { id: u32 },
    /// A frequency change of a CPU that Dom0 made itself.
    FrequencyChange { cpu: u32, hertz: u64 },
    /// A request that this hypervisor has no part for.
    Other { command: u32 },
}

/// Kinds of firmware information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of public/platform.h, named as there")]
pub enum Firmware {
    /// A BIOS disk: guest address of a buffer for its parameters, which begins with its length.
    Disk { index: u32, parameters: u64 },
    /// The signature of a BIOS disk.
    DiskSignature { index: u32 },
    /// What the screen's BIOS read of the monitor: guest address for 128 bytes.
    Monitor { index: u32, block: u64 },
    /// What EFI says of itself.
    Efi(EfiInfo),
    /// The keyboard's shift state.
    Keyboard { index: u32 },
    /// None of these.
    Other,
}

/// What of EFI is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of public/platform.h, named as there")]
pub enum EfiInfo {
    /// The version of the interface.
    Version,
    /// The configuration table.
    ConfigTable,
    /// The vendor: guest address and bytes of a buffer for its name.
    Vendor { name: u64, bytes: u32 },
    /// What memory at `address` is for.
    Memory { address: u64, size: u64 },
    /// The version of the runtime services.
    RuntimeVersion,
    /// The image of a PCI device's option ROM.
    OptionRom,
    /// Properties of devices in Apple's machines.
    AppleProperties,
    /// None of these.
    Other,
}

/// Kinds of power management data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of public/platform.h, named as there")]
pub enum PowerManagement {
    /// Performance or idle states.
    States { acpi_id: u32 },
    /// Throttling states.
    Throttling,
    /// Capabilities to be agreed on: guest address of three words.
    Capabilities { at: u64 },
    /// None of these.
    Other,
}

/// What goes back into the argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of public/platform.h, named as there")]
pub enum Answer {
    /// Nothing.
    None,
    /// Of [`Request::CpuInfo`]; `found`: APIC and ACPI identifiers of a CPU that is online.
    CpuInfo { max_present: u32, found: Option<(u32, u32)> },
    /// Of [`Request::CpuVersion`].
    CpuVersion { max_present: u32, vendor: [u8; 12], family: u32, model: u32, stepping: u32 },
    /// Of [`Request::MemoryType`].
    MemoryType { mfn: u64, frames: u64, kind: u32 },
    /// Of [`Request::Symbol`]: no more.
    NoSymbol,
    /// Of [`Request::Efi`].
    Efi(XenpfEfiRuntimeCall),
    /// Of [`EfiInfo::Version`] and [`EfiInfo::RuntimeVersion`].
    EfiVersion { version: u32 },
    /// Of [`EfiInfo::ConfigTable`].
    EfiConfigTable { address: u64, entries: u32 },
    /// Of [`EfiInfo::Vendor`].
    EfiVendor { revision: u32 },
    /// Of [`EfiInfo::Memory`]: bytes of the range asked about that are alike.
    EfiMemory { size: u64, attributes: u64, kind: u32 },
    /// Of [`Firmware::Disk`].
    Disk { device: u8, version: u8, interface_support: u16, max_cylinder: u16, max_head: u8, sectors: u8 },
    /// Of [`Firmware::DiskSignature`].
    DiskSignature { device: u8, signature: u32 },
    /// Of [`Firmware::Monitor`].
    Monitor { capabilities: u8, transfer_time: u8 },
    /// Of [`Firmware::Keyboard`].
    Keyboard { flags: u8 },
    /// Of [`Request::ParkedCpus`].
    Parked { count: u32 },
}
