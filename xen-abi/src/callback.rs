//! Entry points of a PV guest (`callback.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Kinds of entry point.
    CALLBACK_TYPES: u16;
    /// Event upcall.
    CALLBACKTYPE_EVENT = 0, "CALLBACKTYPE_event";
    /// A segment register could not be loaded on return.
    CALLBACKTYPE_FAILSAFE = 1, "CALLBACKTYPE_failsafe";
    /// `syscall` from 64-bit user mode.
    CALLBACKTYPE_SYSCALL = 2, "CALLBACKTYPE_syscall";
    /// Old number of `sysenter`.
    CALLBACKTYPE_SYSENTER_DEPRECATED = 3, "CALLBACKTYPE_sysenter_deprecated";
    /// Non-maskable interrupt.
    CALLBACKTYPE_NMI = 4, "CALLBACKTYPE_nmi";
    /// `sysenter` from user mode.
    CALLBACKTYPE_SYSENTER = 5, "CALLBACKTYPE_sysenter";
    /// `syscall` from 32-bit user mode.
    CALLBACKTYPE_SYSCALL32 = 7, "CALLBACKTYPE_syscall32";
}

constants! {
    /// Bits of [`CallbackRegister::flags`].
    CALLBACK_FLAGS: u16;
    /// Entry masks events.
    CALLBACKF_MASK_EVENTS = 1, "CALLBACKF_mask_events";
}

constants! {
    /// Sub-operations of `callback_op`.
    CALLBACK_OPS: u32;
    /// Registers: [`CallbackRegister`].
    CALLBACKOP_REGISTER = 0, "CALLBACKOP_register";
    /// Unregisters: [`CallbackUnregister`].
    CALLBACKOP_UNREGISTER = 1, "CALLBACKOP_unregister";
}

/// Argument of `CALLBACKOP_register`. C name: `callback_register_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallbackRegister {
    /// One of [`CALLBACK_TYPES`] (C: `type`).
    pub type_: u16,
    /// Bits of [`CALLBACK_FLAGS`].
    pub flags: u16,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Entry point.
    pub address: u64,
}

const_assert_eq!(size_of::<CallbackRegister>(), 16);

/// Argument of `CALLBACKOP_unregister`. C name: `callback_unregister_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallbackUnregister {
    /// One of [`CALLBACK_TYPES`] (C: `type`).
    pub type_: u16,
    /// Unused.
    pub _unused: u16,
}

const_assert_eq!(size_of::<CallbackUnregister>(), 4);
