//! Physical interrupts and PCI devices (`physdev.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `physdev_op`.
    PHYSDEV_OPS: u32;
    /// Obsolete.
    PHYSDEVOP_IRQ_UNMASK_NOTIFY = 4, "PHYSDEVOP_IRQ_UNMASK_NOTIFY";
    /// Does the interrupt need an EOI: [`PhysdevIrqStatusQuery`].
    PHYSDEVOP_IRQ_STATUS_QUERY = 5, "PHYSDEVOP_irq_status_query";
    /// Sets the I/O privilege level: [`PhysdevSetIopl`].
    PHYSDEVOP_SET_IOPL = 6, "PHYSDEVOP_set_iopl";
    /// Sets the I/O permission bitmap: [`PhysdevSetIobitmap`].
    PHYSDEVOP_SET_IOBITMAP = 7, "PHYSDEVOP_set_iobitmap";
    /// Reads an I/O APIC register: [`PhysdevApic`].
    PHYSDEVOP_APIC_READ = 8, "PHYSDEVOP_apic_read";
    /// Writes one: [`PhysdevApic`].
    PHYSDEVOP_APIC_WRITE = 9, "PHYSDEVOP_apic_write";
    /// Allocates a vector: [`PhysdevIrq`].
    PHYSDEVOP_ALLOC_IRQ_VECTOR = 10, "PHYSDEVOP_alloc_irq_vector";
    /// Frees it: [`PhysdevIrq`].
    PHYSDEVOP_FREE_IRQ_VECTOR = 11, "PHYSDEVOP_free_irq_vector";
    /// Ends a physical interrupt: [`PhysdevEoi`].
    PHYSDEVOP_EOI = 12, "PHYSDEVOP_eoi";
    /// Maps a GSI or MSI: [`PhysdevMapPirq`].
    PHYSDEVOP_MAP_PIRQ = 13, "PHYSDEVOP_map_pirq";
    /// Unmaps it: [`PhysdevUnmapPirq`].
    PHYSDEVOP_UNMAP_PIRQ = 14, "PHYSDEVOP_unmap_pirq";
    /// Reports a device: [`PhysdevManagePci`].
    PHYSDEVOP_MANAGE_PCI_ADD = 15, "PHYSDEVOP_manage_pci_add";
    /// Reports its removal: [`PhysdevManagePci`].
    PHYSDEVOP_MANAGE_PCI_REMOVE = 16, "PHYSDEVOP_manage_pci_remove";
    /// Registers the EOI bitmap page, unmasking by the guest: [`PhysdevPirqEoiGmfn`].
    PHYSDEVOP_PIRQ_EOI_GMFN_V1 = 17, "PHYSDEVOP_pirq_eoi_gmfn_v1";
    /// Restores MSIs after suspend: [`PhysdevRestoreMsi`].
    PHYSDEVOP_RESTORE_MSI = 19, "PHYSDEVOP_restore_msi";
    /// Reports an ARI or virtual function: [`PhysdevManagePciExt`].
    PHYSDEVOP_MANAGE_PCI_ADD_EXT = 20, "PHYSDEVOP_manage_pci_add_ext";
    /// Sets trigger and polarity: [`PhysdevSetupGsi`].
    PHYSDEVOP_SETUP_GSI = 21, "PHYSDEVOP_setup_gsi";
    /// Allocates a pirq: [`PhysdevGetFreePirq`].
    PHYSDEVOP_GET_FREE_PIRQ = 23, "PHYSDEVOP_get_free_pirq";
    /// Reports an MMCFG region: [`PhysdevPciMmcfgReserved`].
    PHYSDEVOP_PCI_MMCFG_RESERVED = 24, "PHYSDEVOP_pci_mmcfg_reserved";
    /// Reports a device: [`PhysdevPciDeviceAdd`].
    PHYSDEVOP_PCI_DEVICE_ADD = 25, "PHYSDEVOP_pci_device_add";
    /// Reports its removal: [`PhysdevPciDevice`].
    PHYSDEVOP_PCI_DEVICE_REMOVE = 26, "PHYSDEVOP_pci_device_remove";
    /// Restores MSIs: [`PhysdevPciDevice`].
    PHYSDEVOP_RESTORE_MSI_EXT = 27, "PHYSDEVOP_restore_msi_ext";
    /// Registers the EOI bitmap page: [`PhysdevPirqEoiGmfn`].
    PHYSDEVOP_PIRQ_EOI_GMFN_V2 = 28, "PHYSDEVOP_pirq_eoi_gmfn_v2";
    /// EHCI debug port: [`PhysdevDbgpOp`].
    PHYSDEVOP_DBGP_OP = 29, "PHYSDEVOP_dbgp_op";
    /// Prepares MSI-X for a device's new owner: [`PhysdevPciDevice`].
    PHYSDEVOP_PREPARE_MSIX = 30, "PHYSDEVOP_prepare_msix";
    /// Releases it: [`PhysdevPciDevice`].
    PHYSDEVOP_RELEASE_MSIX = 31, "PHYSDEVOP_release_msix";
}

constants! {
    /// Bits of [`PhysdevIrqStatusQuery::flags`].
    XENIRQSTATS: u32;
    /// An EOI is needed.
    XENIRQSTAT_NEEDS_EOI = 1, "XENIRQSTAT_needs_eoi";
    /// Shared with other guests.
    XENIRQSTAT_SHARED = 2, "XENIRQSTAT_shared";
}

constants! {
    /// Values of [`PhysdevMapPirq::type_`].
    MAP_PIRQ_TYPES: i32;
    /// MSI or MSI-X, segment 0.
    MAP_PIRQ_TYPE_MSI = 0, "MAP_PIRQ_TYPE_MSI";
    /// Global system interrupt.
    MAP_PIRQ_TYPE_GSI = 1, "MAP_PIRQ_TYPE_GSI";
    /// Unknown.
    MAP_PIRQ_TYPE_UNKNOWN = 2, "MAP_PIRQ_TYPE_UNKNOWN";
    /// MSI or MSI-X, segment in the upper half of `bus`.
    MAP_PIRQ_TYPE_MSI_SEG = 3, "MAP_PIRQ_TYPE_MSI_SEG";
    /// Several MSI vectors.
    MAP_PIRQ_TYPE_MULTI_MSI = 4, "MAP_PIRQ_TYPE_MULTI_MSI";
}

constants! {
    /// Flags of MMCFG regions and devices.
    PCI_FLAGS: u32;
    /// The firmware reserves the region.
    XEN_PCI_MMCFG_RESERVED = 1, "XEN_PCI_MMCFG_RESERVED";
    /// The device is an ARI function.
    XEN_PCI_DEV_EXTFN = 1, "XEN_PCI_DEV_EXTFN";
    /// It is a virtual function of `physfn`.
    XEN_PCI_DEV_VIRTFN = 2, "XEN_PCI_DEV_VIRTFN";
    /// Its proximity domain follows.
    XEN_PCI_DEV_PXM = 4, "XEN_PCI_DEV_PXM";
}

constants! {
    /// Values of [`PhysdevDbgpOp::op`] and [`PhysdevDbgpOp::bus`].
    DBGP_VALUES: u8;
    /// A controller reset begins.
    PHYSDEVOP_DBGP_RESET_PREPARE = 1, "PHYSDEVOP_DBGP_RESET_PREPARE";
    /// It is done.
    PHYSDEVOP_DBGP_RESET_DONE = 2, "PHYSDEVOP_DBGP_RESET_DONE";
    /// Bus kind: unknown.
    PHYSDEVOP_DBGP_BUS_UNKNOWN = 0, "PHYSDEVOP_DBGP_BUS_UNKNOWN";
    /// Bus kind: PCI.
    PHYSDEVOP_DBGP_BUS_PCI = 1, "PHYSDEVOP_DBGP_BUS_PCI";
}

/// Argument of `PHYSDEVOP_eoi`. C name: `physdev_eoi_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevEoi {
    /// Physical interrupt.
    pub irq: u32,
}

const_assert_eq!(size_of::<PhysdevEoi>(), 4);

/// Argument of `PHYSDEVOP_pirq_eoi_gmfn_v1` and `_v2`. C name: `physdev_pirq_eoi_gmfn_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevPirqEoiGmfn {
    /// Frame of the bitmap.
    pub gmfn: u64,
}

const_assert_eq!(size_of::<PhysdevPirqEoiGmfn>(), 8);

/// Argument of `PHYSDEVOP_irq_status_query`. C name: `physdev_irq_status_query_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevIrqStatusQuery {
    /// Physical interrupt.
    pub irq: u32,
    /// Out: bits of [`XENIRQSTATS`].
    pub flags: u32,
}

const_assert_eq!(size_of::<PhysdevIrqStatusQuery>(), 8);

/// Argument of `PHYSDEVOP_set_iopl`. C name: `physdev_set_iopl_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevSetIopl {
    /// Level, 0 to 3.
    pub iopl: u32,
}

const_assert_eq!(size_of::<PhysdevSetIopl>(), 4);

/// Argument of `PHYSDEVOP_set_iobitmap`. C name: `physdev_set_iobitmap_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevSetIobitmap {
    /// Address of the bitmap; 0: none.
    pub bitmap: u64,
    /// Ports in it.
    pub nr_ports: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<PhysdevSetIobitmap>(), 16);

/// Argument of `PHYSDEVOP_apic_read` and `_write`. C name: `physdev_apic_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevApic {
    /// Physical address of the I/O APIC.
    pub apic_physbase: u64,
    /// Register.
    pub reg: u32,
    /// Value read or to write.
    pub value: u32,
}

const_assert_eq!(size_of::<PhysdevApic>(), 16);

/// Argument of `PHYSDEVOP_alloc_irq_vector` and `_free`. C name: `physdev_irq_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevIrq {
    /// Interrupt.
    pub irq: u32,
    /// Out: vector.
    pub vector: u32,
}

const_assert_eq!(size_of::<PhysdevIrq>(), 8);

/// Argument of `PHYSDEVOP_map_pirq`. C name: `physdev_map_pirq_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevMapPirq {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// One of [`MAP_PIRQ_TYPES`] (C: `type`).
    pub type_: i32,
    /// In: GSI; out (MSI): interrupt number. Negative for MSI.
    pub index: i32,
    /// In: wanted, negative: any. Out: given.
    pub pirq: i32,
    /// Bus and, by type, segment << 16.
    pub bus: i32,
    /// Device and function.
    pub devfn: i32,
    /// MSI-X entry, or number of MSI vectors.
    pub entry_nr: i32,
    /// Padding.
    pub _pad1: [u8; 4],
    /// Physical address of the MSI-X table; 0: MSI.
    pub table_base: u64,
}

const_assert_eq!(size_of::<PhysdevMapPirq>(), 40);

/// Argument of `PHYSDEVOP_unmap_pirq`. C name: `physdev_unmap_pirq_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevUnmapPirq {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Physical interrupt.
    pub pirq: i32,
}

const_assert_eq!(size_of::<PhysdevUnmapPirq>(), 8);

/// Argument of `PHYSDEVOP_manage_pci_add` and `_remove`. C name: `physdev_manage_pci_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevManagePci {
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

const_assert_eq!(size_of::<PhysdevManagePci>(), 2);

/// Argument of `PHYSDEVOP_restore_msi`. C name: `physdev_restore_msi_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevRestoreMsi {
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

const_assert_eq!(size_of::<PhysdevRestoreMsi>(), 2);

/// Physical function of a virtual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PciPhysfn {
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

const_assert_eq!(size_of::<PciPhysfn>(), 2);

/// Argument of `PHYSDEVOP_manage_pci_add_ext`. C name: `physdev_manage_pci_ext_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevManagePciExt {
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Non-zero: an ARI function.
    pub is_extfn: u32,
    /// Non-zero: a virtual function.
    pub is_virtfn: u32,
    /// Its physical function.
    pub physfn: PciPhysfn,
    /// Padding.
    pub _pad1: [u8; 2],
}

const_assert_eq!(size_of::<PhysdevManagePciExt>(), 16);

/// Argument of `PHYSDEVOP_setup_gsi`. C name: `physdev_setup_gsi_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevSetupGsi {
    /// Global system interrupt.
    pub gsi: i32,
    /// 0 edge, 1 level.
    pub triggering: u8,
    /// 0 active high, 1 active low.
    pub polarity: u8,
    /// Padding.
    pub _pad0: [u8; 2],
}

const_assert_eq!(size_of::<PhysdevSetupGsi>(), 8);

/// Argument of `PHYSDEVOP_get_free_pirq`. C name: `physdev_get_free_pirq_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevGetFreePirq {
    /// One of [`MAP_PIRQ_TYPES`] (C: `type`).
    pub type_: i32,
    /// Out: pirq.
    pub pirq: u32,
}

const_assert_eq!(size_of::<PhysdevGetFreePirq>(), 8);

/// Argument of `PHYSDEVOP_pci_mmcfg_reserved`. C name: `physdev_pci_mmcfg_reserved_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevPciMmcfgReserved {
    /// Physical address.
    pub address: u64,
    /// Segment.
    pub segment: u16,
    /// First bus.
    pub start_bus: u8,
    /// Last bus.
    pub end_bus: u8,
    /// 0 or [`XEN_PCI_MMCFG_RESERVED`].
    pub flags: u32,
}

const_assert_eq!(size_of::<PhysdevPciMmcfgReserved>(), 16);

/// Argument of `PHYSDEVOP_pci_device_add`; with [`XEN_PCI_DEV_PXM`] a u32 proximity domain follows. C name:
/// `physdev_pci_device_add_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevPciDeviceAdd {
    /// Segment.
    pub seg: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// Bits `XEN_PCI_DEV_*` of [`PCI_FLAGS`].
    pub flags: u32,
    /// Physical function of a virtual one.
    pub physfn: PciPhysfn,
    /// Padding.
    pub _pad: [u8; 2],
}

const_assert_eq!(size_of::<PhysdevPciDeviceAdd>(), 12);

/// A PCI device. C name: `physdev_pci_device_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevPciDevice {
    /// Segment.
    pub seg: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}

const_assert_eq!(size_of::<PhysdevPciDevice>(), 4);

/// Argument of `PHYSDEVOP_dbgp_op`. C name: `physdev_dbgp_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysdevDbgpOp {
    /// Reset begins or is done.
    pub op: u8,
    /// Kind of bus.
    pub bus: u8,
    /// The controller (C: `u.pci`).
    pub pci: PhysdevPciDevice,
}

const_assert_eq!(size_of::<PhysdevDbgpOp>(), 6);
