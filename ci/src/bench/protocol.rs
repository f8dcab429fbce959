//! How much of what the hypervisor executes is there so that it can be recovered.
//!
//! An instruction counts by the line that the compiler names for it: the innermost function that was inlined there,
//! the standard library's left out. What a transaction does itself (the words that it reads, its locks, its closure)
//! is in other files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bench::profile::Block;
use crate::command::output;
use crate::symbols::Symbols;

/// Files of the commit protocol: undo entries, heads, effects as values, and the loop that applies them.
const TRANSACTIONS: [&str; 9] = [
    "crates/vault/src/tx.rs",
    "crates/vault/src/log.rs",
    "crates/vault/src/drain.rs",
    "crates/vault/src/head.rs",
    "crates/vault/src/effect.rs",
    "crates/vault/src/step.rs",
    "crates/vault/src/journal.rs",
    "crates/vault/src/puts.rs",
    "crates/system/src/applier.rs",
];
/// The labelled sequence, which has no lines.
const SEQUENCE: &str = "revenant_step";
/// What is noted for reports of failures.
const RING: &str = "crates/trace/src/";

/// Instructions of the image, and which of them are recovery's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    image: u64,
    transactions: u64,
    ring: u64,
}

impl Share {
    /// That of blocks executed, from the image's line table; `folder` is for a list of addresses.
    pub(crate) fn of(blocks: &[Block], symbols: &Symbols, elf: &Path, folder: &Path) -> Result<Share> {
        let executed = executed(blocks);
        let list = folder.join("addresses");
        let addresses: String = executed.keys().map(|address| format!("{address:x}\n")).collect();
        fs::write(&list, addresses).with_context(|| format!("writing {}", list.display()))?;
        let arguments = format!("@{}", list.display());
        let lines = output(Command::new("addr2line").args(["-a", "-i", "-e"]).arg(elf).arg(arguments))?;
        Ok(Share::count(&executed, symbols, &lines))
    }

    /// Counts by what `addr2line -a -i` says: each address, and under it the places, the innermost first.
    fn count(executed: &BTreeMap<u64, u64>, symbols: &Symbols, lines: &str) -> Share {
        let mut share = Share { image: executed.values().sum(), ..Share::default() };
        let mut of_address = None;
        for line in lines.lines() {
            if let Some(address) = line.strip_prefix("0x") {
                let address = u64::from_str_radix(address, 16).unwrap_or(0);
                of_address = executed.get(&address).copied();
                if symbols.name(address).starts_with(SEQUENCE) {
                    share.transactions += of_address.take().unwrap_or(0);
                }
            } else if line.contains("/crates/")
                && let Some(count) = of_address.take()
            {
                if TRANSACTIONS.iter().any(|file| line.contains(file)) {
                    share.transactions += count;
                } else if line.contains(RING) {
                    share.ring += count;
                }
            }
        }
        share
    }

    /// In words, each count divided by `operations`.
    pub(crate) fn show(&self, operations: f64) -> String {
        let mut text = format!("of the hypervisor's {:.1}:", self.image as f64 / operations);
        for (count, what) in [(self.transactions, "transactions"), (self.ring, "the ring of entries")] {
            let percent = count as f64 * 100.0 / self.image.max(1) as f64;
            let _ = write!(text, " {:.1} ({percent:.1} %) for {what},", count as f64 / operations);
        }
        text.trim_end_matches(',').to_string()
    }
}

/// How often each instruction of the image was executed, by address.
fn executed(blocks: &[Block]) -> BTreeMap<u64, u64> {
    let mut executed = BTreeMap::new();
    for block in blocks.iter().filter(|block| Symbols::covers(block.address)) {
        let mut address = block.address;
        for size in &block.sizes {
            *executed.entry(address).or_default() += block.instructions / block.sizes.len() as u64;
            address += u64::from(*size);
        }
    }
    executed
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0xffff_82d0_4000_1000;

    #[test]
    fn instructions_of_a_block_follow_each_other() {
        let block = |address| Block { address, sizes: vec![2, 5, 1], instructions: 30 };
        let executed = executed(&[block(START), block(START + 2), block(0x40_1000)]);
        let expected = [(START, 10), (START + 2, 20), (START + 4, 10), (START + 7, 10), (START + 9, 10)];
        assert_eq!(executed, BTreeMap::from(expected));
    }

    #[test]
    fn the_innermost_place_that_is_ours_counts() {
        let symbols = Symbols::parse("ffff82d040001000 T enter\nffff82d040001040 t revenant_step_sequence\n");
        let executed = BTreeMap::from([(START, 5), (START + 1, 7), (START + 2, 11), (START + 0x40, 13)]);
        let lines = "0xffff82d040001000\n/rust/library/core/src/atomic.rs:1\n/x/crates/vault/src/tx.rs:3 (discriminator 2)\n\
                     /x/crates/a/src/b.rs:9\n0xffff82d040001001\n/x/crates/a/src/b.rs:9\n/x/crates/vault/src/log.rs:9\n\
                     0xffff82d040001002\n/x/crates/trace/src/lib.rs:1\n0xffff82d040001040\n??:0\n";
        let share = Share::count(&executed, &symbols, lines);
        assert_eq!(share, Share { image: 36, transactions: 18, ring: 11 });
        assert_eq!(
            share.show(2.0),
            "of the hypervisor's 18.0: 9.0 (50.0 %) for transactions, 5.5 (30.6 %) for the ring of entries"
        );
    }
}
