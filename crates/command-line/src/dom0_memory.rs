//! `dom0_mem=`: `List of ( min:<sz> | max:<sz> | <sz> )`, and what that makes on a given machine.

use crate::value::{Expected, leading_integer, leading_size, list};

/// log2 of a page.
const PAGE_SHIFT: u32 = 12;
/// Most pages that are kept back when no size is given: 128 MiB.
const RESERVE_MAX: u64 = 128 << (20 - PAGE_SHIFT);
/// The part of the available pages that is kept back, if that is less.
const RESERVE_PART: u64 = 16;

/// An amount of memory, `[-][<size>][+<frac>%]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Amount {
    /// The amount is subtracted from the available memory.
    pub negative: bool,
    /// The absolute part in bytes.
    pub bytes: u64,
    /// The part of the machine's memory in percent, below 100.
    pub percent: u8,
}

impl Amount {
    /// The amount in pages on a machine of `total` pages, `available` of them free.
    pub fn pages(&self, total: u64, available: u64) -> u64 {
        let part = u128::from(total) * u128::from(self.percent) / 100;
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        let pages = (self.bytes >> PAGE_SHIFT).saturating_add(part);
        if self.negative { available.saturating_sub(pages) } else { pages }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        if let Some(percent) = percent(text) {
            return Some(Self { negative, bytes: 0, percent });
        }
        let (bytes, rest) = leading_size(text)?;
        let percent = match rest {
            [] => 0,
            [b'+', rest @ ..] => percent(rest)?,
            _ => return None,
        };
        Some(Self { negative, bytes, percent })
    }
}

/// `<frac>%`, below 100.
fn percent(text: &[u8]) -> Option<u8> {
    match leading_integer(text)? {
        (value, b"%") => u8::try_from(value).ok().filter(|&percent| percent < 100),
        _ => None,
    }
}

/// `dom0_mem=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dom0Memory {
    /// The exact amount. `None`, or an amount of no pages: all that is available less a reserve.
    pub exact: Option<Amount>,
    /// No less than this, as far as it is available.
    pub min: Option<Amount>,
    /// No more than this, also later; stronger than `min`.
    pub max: Option<Amount>,
}

/// What `dom0_mem=` makes on a machine, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dom0Pages {
    /// To start with.
    pub initial: u64,
    /// The most that the domain may have; `None` is without limit.
    pub max: Option<u64>,
}

impl Dom0Memory {
    /// Dom0's memory on a machine of `total` pages, of which `available` (those of the boot modules included)
    /// can be given to it.
    pub fn pages(&self, total: u64, available: u64) -> Dom0Pages {
        let pages = |amount: Amount| amount.pages(total, available);
        let max = self.max.map(pages);
        let initial = match self.exact.map(pages) {
            None | Some(0) => available - (available / RESERVE_PART).min(RESERVE_MAX),
            Some(exact) => exact,
        };
        let initial = initial.max(self.min.map_or(0, pages)).min(max.unwrap_or(u64::MAX)).min(available);
        Dom0Pages { initial, max }
    }

    /// The pages of an exact amount, no part of which is subtracted from anything, that is more than `available`:
    /// what [`Self::pages`] would silently cut down.
    pub fn exact_beyond(&self, total: u64, available: u64) -> Option<u64> {
        let asked = self.exact.filter(|amount| !amount.negative)?.pages(total, available);
        let asked = asked.min(self.max.map_or(u64::MAX, |max| max.pages(total, available)));
        (asked > available).then_some(asked)
    }

    /// Returns this changed by `text`.
    pub(crate) fn changed_by(mut self, text: &[u8]) -> Result<Self, Expected> {
        const EXPECTED: Expected = "a list of min:<sz>, max:<sz> or <sz>, where <sz> is [-]<size>, \
                                    [-][<size>+]<frac>% with <frac> below 100";
        if list(text).next().is_none() {
            return Err(EXPECTED);
        }
        for item in list(text) {
            let (slot, amount) = if let Some(amount) = item.strip_prefix(b"min:") {
                (&mut self.min, amount)
            } else if let Some(amount) = item.strip_prefix(b"max:") {
                (&mut self.max, amount)
            } else {
                (&mut self.exact, item)
            };
            *slot = Some(Amount::parse(amount).ok_or(EXPECTED)?);
        }
        Ok(self)
    }
}
