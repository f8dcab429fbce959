//! A value that is kept as it was written.

use core::fmt;

/// Most bytes kept.
const CAPACITY: usize = 120;

/// The text of an option whose meaning is another's business. Repeated options are joined by commas.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawValue {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl RawValue {
    pub(crate) const EMPTY: Self = Self { bytes: [0; CAPACITY], len: 0 };

    /// The text, empty if the option was not given.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Whether the option was given.
    pub fn is_given(&self) -> bool {
        self.len > 0
    }

    /// The items of the text, which is a comma-separated list.
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        crate::value::list(self.as_bytes())
    }

    /// Appends `text`; `None` if it does not fit, in which case nothing changes.
    pub(crate) fn append(&mut self, text: &[u8]) -> Option<()> {
        let start = if self.len == 0 { 0 } else { self.len.checked_add(1)? };
        let end = start.checked_add(text.len())?;
        self.bytes.get_mut(start..end)?.copy_from_slice(text);
        if start > 0 {
            *self.bytes.get_mut(self.len)? = b',';
        }
        self.len = end;
        Some(())
    }
}

impl fmt::Debug for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
