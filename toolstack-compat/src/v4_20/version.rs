//! Sub-operations of `xen_version` that 4.17 has not (public/version.h): texts of any length.

/// `XENVER_extraversion2`: the rest of the version.
pub const EXTRAVERSION: u32 = 11;
/// `XENVER_capabilities2`: the kinds of guests.
pub const CAPABILITIES: u32 = 12;
/// `XENVER_changeset2`: the source revision.
pub const CHANGESET: u32 = 13;
/// `XENVER_commandline2`: the command line.
pub const COMMAND_LINE: u32 = 14;
