//! Operations on grant tables (`grant_table.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `grant_table_op`.
    GNTTAB_OPS: u32;
    /// Maps grants: [`GnttabMapGrantRef`].
    GNTTABOP_MAP_GRANT_REF = 0, "GNTTABOP_map_grant_ref";
    /// Unmaps them: [`GnttabUnmapGrantRef`].
    GNTTABOP_UNMAP_GRANT_REF = 1, "GNTTABOP_unmap_grant_ref";
    /// Grows the table and lists its frames: [`GnttabSetupTable`].
    GNTTABOP_SETUP_TABLE = 2, "GNTTABOP_setup_table";
    /// Prints a table: [`GnttabDumpTable`].
    GNTTABOP_DUMP_TABLE = 3, "GNTTABOP_dump_table";
    /// Gives frames away: [`GnttabTransfer`].
    GNTTABOP_TRANSFER = 4, "GNTTABOP_transfer";
    /// Copies between frames: [`GnttabCopy`].
    GNTTABOP_COPY = 5, "GNTTABOP_copy";
    /// Size of a table: [`GnttabQuerySize`].
    GNTTABOP_QUERY_SIZE = 6, "GNTTABOP_query_size";
    /// Unmaps, moving another mapping there: [`GnttabUnmapAndReplace`].
    GNTTABOP_UNMAP_AND_REPLACE = 7, "GNTTABOP_unmap_and_replace";
    /// Chooses the entry format: [`GnttabSetVersion`].
    GNTTABOP_SET_VERSION = 8, "GNTTABOP_set_version";
    /// Lists the status frames: [`GnttabGetStatusFrames`].
    GNTTABOP_GET_STATUS_FRAMES = 9, "GNTTABOP_get_status_frames";
    /// Entry format of a domain: [`GnttabGetVersion`].
    GNTTABOP_GET_VERSION = 10, "GNTTABOP_get_version";
    /// Exchanges two entries: [`GnttabSwapGrantRef`].
    GNTTABOP_SWAP_GRANT_REF = 11, "GNTTABOP_swap_grant_ref";
    /// Cache maintenance: [`GnttabCacheFlush`].
    GNTTABOP_CACHE_FLUSH = 12, "GNTTABOP_cache_flush";
}

constants! {
    /// Flags of a mapping.
    GNTMAPS: u32;
    /// Map for device access.
    GNTMAP_DEVICE_MAP = 1, "GNTMAP_device_map";
    /// Map for CPU access.
    GNTMAP_HOST_MAP = 2, "GNTMAP_host_map";
    /// Map read-only.
    GNTMAP_READONLY = 4, "GNTMAP_readonly";
    /// Map for user mode also.
    GNTMAP_APPLICATION_MAP = 8, "GNTMAP_application_map";
    /// `host_addr` is the machine address of the entry to write.
    GNTMAP_CONTAINS_PTE = 16, "GNTMAP_contains_pte";
    /// Bits for the available bits of the entry.
    GNTMAP_GUEST_AVAIL_MASK = 0xffff_0000, "GNTMAP_guest_avail_mask";
}

constants! {
    /// Values of the `status` fields.
    GNTSTS: i16;
    /// Done.
    GNTST_OKAY = 0, "GNTST_okay";
    /// Undefined error.
    GNTST_GENERAL_ERROR = -1, "GNTST_general_error";
    /// No such domain.
    GNTST_BAD_DOMAIN = -2, "GNTST_bad_domain";
    /// No such grant.
    GNTST_BAD_GNTREF = -3, "GNTST_bad_gntref";
    /// No such mapping handle.
    GNTST_BAD_HANDLE = -4, "GNTST_bad_handle";
    /// Bad linear address.
    GNTST_BAD_VIRT_ADDR = -5, "GNTST_bad_virt_addr";
    /// Bad device address.
    GNTST_BAD_DEV_ADDR = -6, "GNTST_bad_dev_addr";
    /// No room in the IOMMU.
    GNTST_NO_DEVICE_SPACE = -7, "GNTST_no_device_space";
    /// Not permitted.
    GNTST_PERMISSION_DENIED = -8, "GNTST_permission_denied";
    /// Bad page.
    GNTST_BAD_PAGE = -9, "GNTST_bad_page";
    /// A copy crosses a page.
    GNTST_BAD_COPY_ARG = -10, "GNTST_bad_copy_arg";
    /// The frame number does not fit.
    GNTST_ADDRESS_TOO_BIG = -11, "GNTST_address_too_big";
    /// Not done now, try again.
    GNTST_EAGAIN = -12, "GNTST_eagain";
    /// Out of space.
    GNTST_NO_SPACE = -13, "GNTST_no_space";
}

constants! {
    /// Bits of [`GnttabCopy::flags`].
    GNTCOPY_FLAGS: u16;
    /// The source is a grant.
    GNTCOPY_SOURCE_GREF = 1, "GNTCOPY_source_gref";
    /// The destination is a grant.
    GNTCOPY_DEST_GREF = 2, "GNTCOPY_dest_gref";
}

constants! {
    /// Bits of [`GnttabCacheFlush::op`].
    GNTTAB_CACHE_OPS: u32;
    /// Write back.
    GNTTAB_CACHE_CLEAN = 1, "GNTTAB_CACHE_CLEAN";
    /// Invalidate.
    GNTTAB_CACHE_INVAL = 2, "GNTTAB_CACHE_INVAL";
    /// The address is a grant.
    GNTTAB_CACHE_SOURCE_GREF = 0x8000_0000, "GNTTAB_CACHE_SOURCE_GREF";
}

/// Element of `GNTTABOP_map_grant_ref`. C name: `gnttab_map_grant_ref_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabMapGrantRef {
    /// Linear address, or of the entry by flag.
    pub host_addr: u64,
    /// Bits of [`GNTMAPS`].
    pub flags: u32,
    /// Grant (C: `ref`).
    pub ref_: u32,
    /// Granting domain.
    pub dom: u16,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Out: mapping handle.
    pub handle: u32,
    /// Out: address for devices.
    pub dev_bus_addr: u64,
}

const_assert_eq!(size_of::<GnttabMapGrantRef>(), 32);

/// Element of `GNTTABOP_unmap_grant_ref`. C name: `gnttab_unmap_grant_ref_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabUnmapGrantRef {
    /// As given on mapping; 0: leave.
    pub host_addr: u64,
    /// As returned on mapping; 0: leave.
    pub dev_bus_addr: u64,
    /// Mapping handle.
    pub handle: u32,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad0: [u8; 2],
}

const_assert_eq!(size_of::<GnttabUnmapGrantRef>(), 24);

/// Argument of `GNTTABOP_setup_table`. C name: `gnttab_setup_table_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabSetupTable {
    /// Domain of the table.
    pub dom: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Frames wanted.
    pub nr_frames: u32,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad1: [u8; 6],
    /// Address of the list (u64 each) to write.
    pub frame_list: u64,
}

const_assert_eq!(size_of::<GnttabSetupTable>(), 24);

/// Argument of `GNTTABOP_dump_table`. C name: `gnttab_dump_table_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabDumpTable {
    /// Domain of the table.
    pub dom: u16,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
}

const_assert_eq!(size_of::<GnttabDumpTable>(), 4);

/// Element of `GNTTABOP_transfer`. C name: `gnttab_transfer_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabTransfer {
    /// Frame to give.
    pub mfn: u64,
    /// Domain to give it to.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Grant accepting it (C: `ref`).
    pub ref_: u32,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad1: [u8; 6],
}

const_assert_eq!(size_of::<GnttabTransfer>(), 24);

/// One end of a [`GnttabCopy`]. C name: `gnttab_copy_ptr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabCopyPtr {
    /// Grant (low 32 bits) or frame, by flag (C: union `u`).
    pub u: u64,
    /// Domain of the frame.
    pub domid: u16,
    /// Offset in the page.
    pub offset: u16,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<GnttabCopyPtr>(), 16);

/// Element of `GNTTABOP_copy`. C name: `gnttab_copy_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabCopy {
    /// From.
    pub source: GnttabCopyPtr,
    /// To.
    pub dest: GnttabCopyPtr,
    /// Bytes.
    pub len: u16,
    /// Bits of [`GNTCOPY_FLAGS`].
    pub flags: u16,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad0: [u8; 2],
}

const_assert_eq!(size_of::<GnttabCopy>(), 40);

/// Argument of `GNTTABOP_query_size`. C name: `gnttab_query_size_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabQuerySize {
    /// Domain of the table.
    pub dom: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// Out: frames now.
    pub nr_frames: u32,
    /// Out: frames at most.
    pub max_nr_frames: u32,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad1: [u8; 2],
}

const_assert_eq!(size_of::<GnttabQuerySize>(), 16);

/// Element of `GNTTABOP_unmap_and_replace`. C name: `gnttab_unmap_and_replace_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabUnmapAndReplace {
    /// Linear address to unmap.
    pub host_addr: u64,
    /// Linear address whose mapping moves there.
    pub new_addr: u64,
    /// Mapping handle.
    pub handle: u32,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad0: [u8; 2],
}

const_assert_eq!(size_of::<GnttabUnmapAndReplace>(), 24);

/// Argument of `GNTTABOP_set_version`. C name: `gnttab_set_version_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabSetVersion {
    /// 1 or 2; out: the version now.
    pub version: u32,
}

const_assert_eq!(size_of::<GnttabSetVersion>(), 4);

/// Argument of `GNTTABOP_get_status_frames`. C name: `gnttab_get_status_frames_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabGetStatusFrames {
    /// Frames wanted.
    pub nr_frames: u32,
    /// Domain of the table.
    pub dom: u16,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Address of the list (u64 each) to write.
    pub frame_list: u64,
}

const_assert_eq!(size_of::<GnttabGetStatusFrames>(), 16);

/// Argument of `GNTTABOP_get_version`. C name: `gnttab_get_version_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabGetVersion {
    /// Domain of the table.
    pub dom: u16,
    /// Padding.
    pub _pad: u16,
    /// Out: the version.
    pub version: u32,
}

const_assert_eq!(size_of::<GnttabGetVersion>(), 8);

/// Element of `GNTTABOP_swap_grant_ref`. C name: `gnttab_swap_grant_ref_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabSwapGrantRef {
    /// One entry.
    pub ref_a: u32,
    /// The other.
    pub ref_b: u32,
    /// Out: one of [`GNTSTS`].
    pub status: i16,
    /// Padding.
    pub _pad0: [u8; 2],
}

const_assert_eq!(size_of::<GnttabSwapGrantRef>(), 12);

/// Element of `GNTTABOP_cache_flush`. C name: `gnttab_cache_flush_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GnttabCacheFlush {
    /// Device address, or grant by flag (C: union `a`).
    pub a: u64,
    /// Offset in the page.
    pub offset: u16,
    /// Bytes.
    pub length: u16,
    /// Bits of [`GNTTAB_CACHE_OPS`].
    pub op: u32,
}

const_assert_eq!(size_of::<GnttabCacheFlush>(), 16);
