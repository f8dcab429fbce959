//! What the hypervisor does not do: answered with Xen's errno, and logged once per domain.

use crate::call::{Call, CallResult};
use arrayvec::ArrayString;
use core::fmt::Write;
use guest_memory::GuestMemory;
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::hypercall as number;

impl<M: GuestMemory + 'static, A: Apply> Call<'_, M, A> {
    /// Refuses sub-operation `sub` of hypercall `op` with `errno`, saying so on the console the first time
    /// this domain asks.
    ///
    /// # Errors
    /// Always `errno`.
    pub fn unsupported(&mut self, op: u64, sub: u64, errno: Errno) -> CallResult {
        self.notice(op, sub);
        Err(errno)
    }

    /// Says once per domain that a sub-operation is not supported.
    pub fn notice(&mut self, op: u64, sub: u64) {
        let Some(notices) = self.state.notices.get(usize::from(self.domain.0)) else { return };
        if notices.was_noted(op, sub) {
            return;
        }
        let id = self.state.domains.domain(self.domain).id.get();
        let mut line = ArrayString::<96>::new();
        // The longest name and number fit.
        let _ = match number::name(op) {
            Some(name) => writeln!(line, "(XEN) d{}: unsupported {name} {sub}", id.0),
            None => writeln!(line, "(XEN) d{}: unsupported hypercall {op}", id.0),
        };
        self.j.change(|tx| {
            if notices.note(tx, op, sub) {
                print(tx, line.as_bytes());
            }
        });
    }
}

/// Publishes bytes for the console. Dropped when the outbox has no room for them.
pub(crate) fn print(tx: &mut Tx<'_>, bytes: &[u8]) {
    if let Some(offset) = tx.keep_bytes(bytes) {
        tx.publish(Effect { kind: kind::CONSOLE, x: offset, a: 0, b: bytes.len() as u64 });
    }
}
