//! The facts themselves.

use core::hash::{Hash, Hasher};

use arrayvec::ArrayVec;
use ids::Maddr;

use crate::{MemoryMap, Range};

/// Modules the boot loader may pass.
pub(crate) const MAX_MODULES: usize = 32;
/// Bytes of text kept: the command line (at most [`MAX_COMMAND_LINE`]) and the modules' strings.
pub(crate) const MAX_TEXT: usize = 8192;
/// Bytes of the hypervisor's command line.
pub(crate) const MAX_COMMAND_LINE: usize = 2048;

/// More than the facts have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow(
    /// Of what.
    pub &'static str,
);

/// A part of the text pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Text {
    start: u16,
    len: u16,
}

/// A file the boot loader put into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// First byte; page aligned.
    pub start: Maddr,
    /// Bytes.
    pub len: u64,
    pub(crate) command_line: Text,
}

impl Module {
    /// The memory it lies in.
    pub const fn range(&self) -> Range {
        Range::new(self.start, self.len)
    }
}

/// Everything boot learned. Immutable from [`Self::seal`] on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BootFacts {
    /// The firmware's memory map.
    pub memory: MemoryMap,
    pub(crate) modules: ArrayVec<Module, MAX_MODULES>,
    pub(crate) command_line: Text,
    pub(crate) text: ArrayVec<u8, MAX_TEXT>,
}

impl BootFacts {
    /// The hypervisor's command line, without the image's name.
    pub fn command_line(&self) -> &str {
        self.text_at(self.command_line)
    }

    /// The boot loader's modules, in its order.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The string that goes with `module`.
    pub fn module_command_line(&self, module: &Module) -> &str {
        self.text_at(module.command_line)
    }

    /// A checksum over every fact.
    pub fn seal(&self) -> u64 {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// True if the facts still are those that `seal` was taken of.
    pub fn verify(&self, seal: u64) -> bool {
        self.seal() == seal
    }

    pub(crate) fn keep_text(&mut self, text: &str) -> Result<Text, Overflow> {
        let (start, len) = (self.text.len(), text.len());
        self.text.try_extend_from_slice(text.as_bytes()).map_err(|_| Overflow("command lines"))?;
        let short = |n| u16::try_from(n).map_err(|_| Overflow("command lines"));
        Ok(Text { start: short(start)?, len: short(len)? })
    }

    fn text_at(&self, text: Text) -> &str {
        let start = usize::from(text.start);
        let bytes = self.text.get(start..start + usize::from(text.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Fowler-Noll-Vo 1a, 64 bits.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
