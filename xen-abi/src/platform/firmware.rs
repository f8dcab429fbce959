//! Member of `XENPF_firmware_info` (`platform.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Values of [`XenpfFirmwareInfo::type_`].
    XEN_FW_TYPES: u32;
    /// BIOS disk (EDD): [`FwDiskInfo`].
    XEN_FW_DISK_INFO = 1, "XEN_FW_DISK_INFO";
    /// MBR signature of a BIOS disk: [`FwDiskMbrSignature`].
    XEN_FW_DISK_MBR_SIGNATURE = 2, "XEN_FW_DISK_MBR_SIGNATURE";
    /// EDID read by the BIOS: [`FwVbeddcInfo`].
    XEN_FW_VBEDDC_INFO = 3, "XEN_FW_VBEDDC_INFO";
    /// EFI information.
    XEN_FW_EFI_INFO = 4, "XEN_FW_EFI_INFO";
    /// Keyboard shift state: first byte of `u`.
    XEN_FW_KBD_SHIFT_FLAGS = 5, "XEN_FW_KBD_SHIFT_FLAGS";
}

constants! {
    /// Values of [`XenpfFirmwareInfo::index`] with [`XEN_FW_EFI_INFO`].
    XEN_FW_EFI_INDEXES: u32;
    /// Version of EFI: u32.
    XEN_FW_EFI_VERSION = 0, "XEN_FW_EFI_VERSION";
    /// Configuration table: [`FwEfiCfg`].
    XEN_FW_EFI_CONFIG_TABLE = 1, "XEN_FW_EFI_CONFIG_TABLE";
    /// Firmware vendor: [`FwEfiVendor`].
    XEN_FW_EFI_VENDOR = 2, "XEN_FW_EFI_VENDOR";
    /// Memory descriptor: [`FwEfiMem`].
    XEN_FW_EFI_MEM_INFO = 3, "XEN_FW_EFI_MEM_INFO";
    /// Version of the runtime services: u32.
    XEN_FW_EFI_RT_VERSION = 4, "XEN_FW_EFI_RT_VERSION";
    /// Option ROM: [`FwEfiPciRom`].
    XEN_FW_EFI_PCI_ROM = 5, "XEN_FW_EFI_PCI_ROM";
    /// Apple device properties: [`FwEfiAppleProperties`].
    XEN_FW_EFI_APPLE_PROPERTIES = 6, "XEN_FW_EFI_APPLE_PROPERTIES";
}

/// Member of `XEN_FW_DISK_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwDiskInfo {
    /// BIOS disk number.
    pub device: u8,
    /// EDD version.
    pub version: u8,
    /// EDD interface bitmap.
    pub interface_support: u16,
    /// Largest cylinder.
    pub legacy_max_cylinder: u16,
    /// Largest head.
    pub legacy_max_head: u8,
    /// Sectors per track.
    pub legacy_sectors_per_track: u8,
    /// Address of the EDD parameters to write.
    pub edd_params: u64,
}

const_assert_eq!(size_of::<FwDiskInfo>(), 16);

/// Member of `XEN_FW_DISK_MBR_SIGNATURE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwDiskMbrSignature {
    /// BIOS disk number.
    pub device: u8,
    /// Padding.
    pub _pad0: [u8; 3],
    /// Signature.
    pub mbr_signature: u32,
}

const_assert_eq!(size_of::<FwDiskMbrSignature>(), 8);

/// Member of `XEN_FW_VBEDDC_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwVbeddcInfo {
    /// DDC capabilities.
    pub capabilities: u8,
    /// Transfer time in seconds.
    pub edid_transfer_time: u8,
    /// Padding.
    pub _pad0: [u8; 6],
    /// Address of 128 bytes to write.
    pub edid: u64,
}

const_assert_eq!(size_of::<FwVbeddcInfo>(), 16);

/// Member of `XEN_FW_EFI_CONFIG_TABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwEfiCfg {
    /// Physical address.
    pub addr: u64,
    /// Entries.
    pub nent: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<FwEfiCfg>(), 16);

/// Member of `XEN_FW_EFI_VENDOR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwEfiVendor {
    /// Revision.
    pub revision: u32,
    /// In: bytes of the buffer; out: of the name.
    pub bufsz: u32,
    /// Address of the UCS-2 buffer.
    pub name: u64,
}

const_assert_eq!(size_of::<FwEfiVendor>(), 16);

/// Member of `XEN_FW_EFI_MEM_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwEfiMem {
    /// In: an address; out: start of its range.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// Attributes.
    pub attr: u64,
    /// EFI memory type (C: `type`).
    pub type_: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<FwEfiMem>(), 32);

/// Member of `XEN_FW_EFI_PCI_ROM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwEfiPciRom {
    /// In: segment.
    pub segment: u16,
    /// In: bus.
    pub bus: u8,
    /// In: device and function.
    pub devfn: u8,
    /// In: vendor.
    pub vendor: u16,
    /// In: device.
    pub devid: u16,
    /// Out: physical address.
    pub address: u64,
    /// Out: bytes.
    pub size: u64,
}

const_assert_eq!(size_of::<FwEfiPciRom>(), 24);

/// Member of `XEN_FW_EFI_APPLE_PROPERTIES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FwEfiAppleProperties {
    /// Physical address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

const_assert_eq!(size_of::<FwEfiAppleProperties>(), 16);

/// Member of `XENPF_firmware_info`. C name: `xenpf_firmware_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfFirmwareInfo {
    /// One of [`XEN_FW_TYPES`] (C: `type`).
    pub type_: u32,
    /// Which, by type.
    pub index: u32,
    /// Member by type, from its start (C: union `u`).
    pub u: [u64; 4],
}

const_assert_eq!(size_of::<XenpfFirmwareInfo>(), 40);
