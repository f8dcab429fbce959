//! Entries of the grant table, shared between guest and hypervisor (`grant_table.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Flags of a grant entry.
    GTFS: u16;
    /// Type: no grant.
    GTF_INVALID = 0, "GTF_invalid";
    /// Type: the domain may map or copy the frame.
    GTF_PERMIT_ACCESS = 1, "GTF_permit_access";
    /// Type: the domain may transfer a frame.
    GTF_ACCEPT_TRANSFER = 2, "GTF_accept_transfer";
    /// Type: refers to a grant of a third domain (version 2).
    GTF_TRANSITIVE = 3, "GTF_transitive";
    /// Bits of the type.
    GTF_TYPE_MASK = 3, "GTF_type_mask";
    /// Read-only access.
    GTF_READONLY = 4, "GTF_readonly";
    /// Set while in use for reading.
    GTF_READING = 8, "GTF_reading";
    /// Set while in use for writing.
    GTF_WRITING = 16, "GTF_writing";
    /// Cache attribute PWT of mappings.
    GTF_PWT = 32, "GTF_PWT";
    /// Cache attribute PCD of mappings.
    GTF_PCD = 64, "GTF_PCD";
    /// Cache attribute PAT of mappings.
    GTF_PAT = 128, "GTF_PAT";
    /// Access to a part of the page only (version 2).
    GTF_SUB_PAGE = 256, "GTF_sub_page";
    /// Transfer: a frame is on its way.
    GTF_TRANSFER_COMMITTED = 4, "GTF_transfer_committed";
    /// Transfer: done, `frame` is the new frame.
    GTF_TRANSFER_COMPLETED = 8, "GTF_transfer_completed";
}

constants! {
    /// Entries reserved for the toolstack.
    GNTTAB_RESERVED: u32;
    /// How many entries are reserved.
    GNTTAB_NR_RESERVED_ENTRIES = 8, "GNTTAB_NR_RESERVED_ENTRIES";
    /// Console ring.
    GNTTAB_RESERVED_CONSOLE = 0, "GNTTAB_RESERVED_CONSOLE";
    /// Xenstore ring.
    GNTTAB_RESERVED_XENSTORE = 1, "GNTTAB_RESERVED_XENSTORE";
}

/// Entry of a version 1 table. C name: `grant_entry_v1_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV1 {
    /// Bits of [`GTFS`].
    pub flags: u16,
    /// Domain granted to.
    pub domid: u16,
    /// Frame granted, or received by transfer.
    pub frame: u32,
}

const_assert_eq!(size_of::<GrantEntryV1>(), 8);

/// Head of a version 2 entry. C name: `grant_entry_header_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryHeader {
    /// Bits of [`GTFS`]; those for use are in the status frames.
    pub flags: u16,
    /// Domain granted to.
    pub domid: u16,
}

const_assert_eq!(size_of::<GrantEntryHeader>(), 4);

/// Entry of a version 2 table (C: union). C name: `grant_entry_v2_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV2 {
    /// Head, selecting the meaning of `body`.
    pub hdr: GrantEntryHeader,
    /// The rest of [`GrantEntryV2FullPage`], [`GrantEntryV2SubPage`] or [`GrantEntryV2Transitive`].
    pub body: [u32; 3],
}

const_assert_eq!(size_of::<GrantEntryV2>(), 16);

/// Version 2 entry granting a whole page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV2FullPage {
    /// Head.
    pub hdr: GrantEntryHeader,
    /// Padding.
    pub _pad: u32,
    /// Frame granted.
    pub frame: u64,
}

const_assert_eq!(size_of::<GrantEntryV2FullPage>(), 16);

/// Version 2 entry granting a part of a page, for copies only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV2SubPage {
    /// Head.
    pub hdr: GrantEntryHeader,
    /// Offset of the part.
    pub page_off: u16,
    /// Bytes of the part.
    pub length: u16,
    /// Frame granted.
    pub frame: u64,
}

const_assert_eq!(size_of::<GrantEntryV2SubPage>(), 16);

/// Version 2 entry referring to another domain's grant, for copies only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV2Transitive {
    /// Head.
    pub hdr: GrantEntryHeader,
    /// The third domain.
    pub trans_domid: u16,
    /// Padding.
    pub _pad: u16,
    /// Its grant.
    pub gref: u32,
}

const_assert_eq!(size_of::<GrantEntryV2Transitive>(), 12);
