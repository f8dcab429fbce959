//! What was typed at the console and not yet read by Dom0.

use vault::{Durable, LockWord, Tx, record};

/// Bytes that wait at most; more are lost, as on any UART.
pub const INPUT_BYTES: usize = 256;

record! {
    /// The ring of typed bytes.
    ///
    /// Lock: `Static::console`. Rebuild: nothing is derived.
    pub struct InputRing {
        /// Bytes ever put in.
        put: Durable<u32>,
        /// Bytes ever taken out.
        taken: Durable<u32>,
        bytes: [Durable<u8>; INPUT_BYTES],
    }
}

/// The ring and its lock.
#[derive(Clone, Copy)]
pub struct ConsoleInput {
    ring: &'static InputRing,
    lock: &'static LockWord,
}

impl core::fmt::Debug for ConsoleInput {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ConsoleInput({} waiting)", self.waiting())
    }
}

impl ConsoleInput {
    pub(crate) const fn new(ring: &'static InputRing, lock: &'static LockWord) -> Self {
        Self { ring, lock }
    }

    /// Bytes that wait: a hint unless in a transaction that has put or taken some.
    pub fn waiting(&self) -> usize {
        (self.ring.put.get().wrapping_sub(self.ring.taken.get()) as usize).min(INPUT_BYTES)
    }

    /// Adds what the serial line received; returns how many bytes had room. At most 64 bytes a call.
    pub fn put(&self, tx: &mut Tx<'_>, bytes: &[u8]) -> usize {
        self.lock(tx);
        let room = (INPUT_BYTES - self.waiting()).min(64);
        let count = bytes.len().min(room);
        let put = self.ring.put.get();
        for (index, byte) in bytes[..count].iter().enumerate() {
            tx.set(&self.ring.bytes[(put.wrapping_add(index as u32) as usize) % INPUT_BYTES], *byte);
        }
        tx.set(&self.ring.put, put.wrapping_add(count as u32));
        count
    }

    /// Takes the oldest bytes out; returns how many.
    pub fn take(&self, tx: &mut Tx<'_>, out: &mut [u8]) -> usize {
        self.lock(tx);
        let count = self.waiting().min(out.len());
        let taken = self.ring.taken.get();
        for (index, byte) in out[..count].iter_mut().enumerate() {
            *byte = self.ring.bytes[(taken.wrapping_add(index as u32) as usize) % INPUT_BYTES].get();
        }
        tx.set(&self.ring.taken, taken.wrapping_add(count as u32));
        count
    }

    fn lock(&self, tx: &mut Tx<'_>) {
        tx.lock(self.lock);
    }
}
