//! What a [`FLUSH`](kind::FLUSH) names: which translations are forgotten, and on which processors.

use crate::{Effect, kind};

/// The processor that carries the effect out.
pub const LOCAL: u32 = 0;
/// Every processor, whatever it runs.
pub const EVERY_CPU: u32 = 1;
/// The processors that hold a vCPU of a domain, and the one that carries the effect out.
pub const DOMAIN: u32 = 2;
/// In place of an address: all translations.
pub const EVERYTHING: u64 = u64::MAX;

/// Every processor forgets everything: frames are used again, or another domain's were mapped.
pub const EVERYWHERE: Effect = Effect { kind: kind::FLUSH, x: EVERY_CPU, a: EVERYTHING, b: 0 };

/// What the domain in a slot asks to be forgotten of its own mappings, `what` is an address or [`EVERYTHING`]: on all of its
/// vCPUs, or here.
#[inline]
pub const fn of_domain(slot: u16, all: bool, what: u64) -> Effect {
    Effect { kind: kind::FLUSH, x: if all { DOMAIN } else { LOCAL }, a: what, b: slot as u64 }
}
