//! Why a guest cannot be loaded, one clear line each.

use core::fmt;

/// A refusal. `Display` gives one line: the input, the limit, and what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// Neither a bzImage nor an ELF64 file.
    NotAKernel,
    /// A bzImage whose boot protocol is older than 2.08 (no payload fields). Holds the version word.
    OldBootProtocol(u16),
    /// A bzImage that says its payload lies outside the file.
    PayloadOutsideFile {
        /// Offset of the payload's first byte in the file.
        start: u64,
        /// Offset after the payload's last byte.
        end: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// The payload uses a compression that is known but not supported. Holds its name.
    UnsupportedCompression(&'static str),
    /// The payload starts with no known magic. Holds its first four bytes.
    UnknownCompression([u8; 4]),
    /// The payload is damaged. Holds the compression's name and what the decoder said.
    Corrupt(&'static str, &'static str),
    /// The payload unpacks to more than the memory set aside for it (bytes).
    OutputTooSmall {
        /// Bytes that were available.
        available: u64,
    },
    /// The decoder would need more working memory than allowed (bytes).
    WindowTooLarge {
        /// Bytes that the file asks for.
        needed: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// The heap has no room for the decoder (bytes).
    NoWorkingMemory {
        /// Bytes that it needs at once.
        needed: u64,
    },
    /// The (unpacked) kernel is not a usable ELF64 file. Holds what is wrong.
    BadElf(&'static str),
    /// No Xen ELF notes.
    NoNotes,
    /// A Xen ELF note is malformed or has a value that cannot be served. Holds its name and what is expected.
    BadNote(&'static str, &'static str),
    /// SUPPORTED_FEATURES is present and does not have the dom0 bit.
    NotDom0Capable,
    /// The kernel requires a feature that is not offered. Holds its name.
    RequiredFeature(&'static str),
    /// The kernel's addresses make no valid layout. Holds what is wrong.
    BadLayout(&'static str),
    /// The plan does not fit in the domain's memory (4 KiB pages).
    NotEnoughMemory {
        /// Pages needed for the kernel, the initrd and the tables.
        needed: u64,
        /// Pages the domain was given.
        given: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotAKernel => f.write_str(
                "kernel: not a bzImage or ELF64 (no 'HdrS' at 0x202): give an x86-64 Linux kernel as the first module",
            ),
            Self::OldBootProtocol(v) => write!(
                f,
                "kernel: bzImage boot protocol {}.{:02} is older than 2.08: give Linux 2.6.24 or newer",
                v >> 8,
                v & 0xff
            ),
            Self::PayloadOutsideFile { start, end, file_len } => write!(
                f,
                "kernel: bzImage payload {start:#x}-{end:#x} lies outside the file of {file_len:#x} bytes: \
                 the file is truncated, copy it again"
            ),
            Self::UnsupportedCompression(name) => write!(
                f,
                "kernel: unsupported compression {name}: give a kernel compressed with xz, zstd, gzip or lz4"
            ),
            Self::UnknownCompression([a, b, c, d]) => write!(
                f,
                "kernel: unknown compression (payload starts with {a:02x} {b:02x} {c:02x} {d:02x}): \
                 give a kernel compressed with xz, zstd, gzip or lz4"
            ),
            Self::Corrupt(name, what) => {
                write!(f, "kernel: {name} payload is damaged ({what}): copy the file again")
            }
            Self::OutputTooSmall { available } => write!(
                f,
                "kernel: unpacks to more than the {available} bytes it declares: the file is damaged, copy it again"
            ),
            Self::WindowTooLarge { needed, limit } => write!(
                f,
                "kernel: unpacking needs a window of {needed} bytes, the limit is {limit}: \
                 compress the kernel with a smaller dictionary"
            ),
            Self::NoWorkingMemory { needed } => write!(
                f,
                "kernel: unpacking needs {needed} bytes of working memory, the hypervisor has not that much: \
                 give the machine more memory or compress the kernel with a smaller dictionary"
            ),
            Self::BadElf(what) => write!(f, "kernel: bad ELF64 file ({what}): give an x86-64 Linux kernel"),
            Self::NoNotes => f.write_str(
                "kernel: no Xen ELF notes: not built with CONFIG_XEN_PV: give a kernel built with CONFIG_XEN_PV=y",
            ),
            Self::BadNote(name, expected) => {
                write!(f, "kernel: Xen ELF note {name} is not usable: expected {expected}")
            }
            Self::NotDom0Capable => f.write_str(
                "kernel: Xen ELF note SUPPORTED_FEATURES lacks the dom0 bit (11): \
                 give a kernel built with CONFIG_XEN_DOM0=y",
            ),
            Self::RequiredFeature(name) => {
                write!(f, "kernel: requires feature '{name}', which is not offered: give a newer kernel")
            }
            Self::BadLayout(what) => write!(f, "kernel: no valid layout: {what}"),
            Self::NotEnoughMemory { needed, given } => write!(
                f,
                "dom0: kernel, initrd and tables need {} MiB ({needed} pages), only {} MiB ({given} pages) given: \
                 raise dom0_mem",
                needed.div_ceil(256),
                given / 256
            ),
        }
    }
}

impl core::error::Error for LoadError {}
