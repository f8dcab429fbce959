//! The image's functions, from its symbols.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::output;

/// The image's functions by address.
#[derive(Debug)]
pub(crate) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// Those of an ELF file.
    pub(crate) fn read(file: &Path) -> Result<Symbols> {
        let listing = output(Command::new("nm").args(["-C", "--defined-only"]).arg(file))?;
        Ok(Symbols::parse(&listing))
    }

    pub(crate) fn parse(listing: &str) -> Symbols {
        let symbol = |line: &str| -> Option<(u64, String)> {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            let address = u64::from_str_radix(address, 16).ok()?;
            // Code within the image's range; what is below is its entry before paging.
            (matches!(kind, "t" | "T") && address >= IMAGE.start).then(|| (address, name.to_string()))
        };
        let mut symbols: Vec<(u64, String)> = listing.lines().filter_map(symbol).collect();
        symbols.sort();
        Symbols(symbols)
    }

    /// The address of a symbol.
    pub(crate) fn address(&self, name: &str) -> Result<u64> {
        let found = self.0.iter().find(|(_, other)| other == name);
        Ok(found.with_context(|| format!("the image has no symbol {name}"))?.0)
    }

    /// Where the functions lie whose name contains one of the words.
    pub(crate) fn ranges(&self, words: &[&str]) -> impl Iterator<Item = std::ops::Range<u64>> {
        let named = |name: &str| words.iter().any(|word| name.contains(word));
        self.0.windows(2).filter(move |pair| named(&pair[0].1)).map(|pair| pair[0].0..pair[1].0)
    }

    /// Whether an address is in the image.
    pub(crate) fn covers(address: u64) -> bool {
        IMAGE.contains(&address)
    }

    /// The function that an address is in, or whose code it is.
    pub(crate) fn name(&self, address: u64) -> &str {
        if !Symbols::covers(address) {
            return if address >> 63 == 1 { "(Dom0's kernel)" } else { "(Dom0's programs)" };
        }
        let after = self.0.partition_point(|(start, _)| *start <= address);
        after.checked_sub(1).map_or("(image)", |at| self.0[at].1.as_str())
    }
}

/// Where the image is linked.
const IMAGE: std::ops::Range<u64> = 0xffff_82d0_4000_0000..0xffff_82d0_8000_0000;
