//! The stable guest ABI of Xen for 64-bit x86: numbers, structures and constants, no logic.
//!
//! One module per public header family. Structures have the layout of the C ones for 64-bit guests and are
//! named as these are, in camel case and without the `xen_` prefix; constants carry the C name in upper
//! case. A field or name that is a Rust keyword has an underscore appended.
//!
//! Every structure may be read from and written to raw bytes ([`zerocopy::FromBytes`],
//! [`zerocopy::IntoBytes`]): padding is explicit (fields `_pad*`), no field has an invalid value, and what
//! a guest may send wrongly is a plain integer with named constants. A C union is an integer array `u`; its
//! members are structures of their own that begin at its start. A guest handle (a pointer) is the `u64`
//! linear address. To fill a structure partly, begin with [`zerocopy::FromZeros::new_zeroed`].
//!
//! Each family of constants is also a table (such as [`event_channel::EVTCHN_OPS`]) for names in traces:
//! [`constants::name_of`].
//!
//! The layouts and values are checked against the installed C headers by `tests/layout.rs`.
#![no_std]
#![forbid(unsafe_code)]

pub mod arch;
pub mod callback;
pub mod constants;
pub mod cpuid;
pub mod domctl;
pub mod e820;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod grant_table;
pub mod hvm;
pub mod hypercall;
pub mod hypfs;
pub mod kexec;
pub mod mca;
pub mod memory;
pub mod nmi;
pub mod physdev;
pub mod platform;
pub mod pmu;
pub mod sched;
pub mod sysctl;
pub mod trace;
pub mod vcpu;
pub mod version;
pub mod xen;

pub use errno::Errno;
