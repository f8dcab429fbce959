//! The hypervisor's file system (`hypfs.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Operations, limits, types and encodings.
    XEN_HYPFS_VALUES: u32;
    /// The interface's version.
    XEN_HYPFS_VERSION = 1, "XEN_HYPFS_VERSION";
    /// Bytes of a path, its end included.
    XEN_HYPFS_MAX_PATHLEN = 1024, "XEN_HYPFS_MAX_PATHLEN";
    /// [`HypfsDirentry::kind`]: a folder.
    XEN_HYPFS_TYPE_DIR = 0, "XEN_HYPFS_TYPE_DIR";
    /// Bytes.
    XEN_HYPFS_TYPE_BLOB = 1, "XEN_HYPFS_TYPE_BLOB";
    /// A text, with its end.
    XEN_HYPFS_TYPE_STRING = 2, "XEN_HYPFS_TYPE_STRING";
    /// A number.
    XEN_HYPFS_TYPE_UINT = 3, "XEN_HYPFS_TYPE_UINT";
    /// A number with a sign.
    XEN_HYPFS_TYPE_INT = 4, "XEN_HYPFS_TYPE_INT";
    /// Yes or no.
    XEN_HYPFS_TYPE_BOOL = 5, "XEN_HYPFS_TYPE_BOOL";
    /// [`HypfsDirentry::encoding`]: as it is.
    XEN_HYPFS_ENC_PLAIN = 0, "XEN_HYPFS_ENC_PLAIN";
    /// Packed.
    XEN_HYPFS_ENC_GZIP = 1, "XEN_HYPFS_ENC_GZIP";
    /// Which version this is.
    XEN_HYPFS_OP_GET_VERSION = 0, "XEN_HYPFS_OP_get_version";
    /// Reads an entry.
    XEN_HYPFS_OP_READ = 1, "XEN_HYPFS_OP_read";
    /// Writes one.
    XEN_HYPFS_OP_WRITE_CONTENTS = 2, "XEN_HYPFS_OP_write_contents";
}

/// What an entry is. C name: `xen_hypfs_direntry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HypfsDirentry {
    /// `XEN_HYPFS_TYPE_*`.
    pub kind: u8,
    /// `XEN_HYPFS_ENC_*`.
    pub encoding: u8,
    /// 0.
    pub pad: u16,
    /// Bytes of its content.
    pub content_len: u32,
    /// Bytes that can be written; 0: it is read-only.
    pub max_write_len: u32,
}

const_assert_eq!(size_of::<HypfsDirentry>(), 12);
