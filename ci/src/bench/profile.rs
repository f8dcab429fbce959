//! Where a row's instructions are spent, by function of the image.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use crate::symbols::Symbols;

/// Lines of the list; what is left is summed up.
const MOST: usize = 45;

/// A block of code that was executed, as the plugin counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it starts.
    pub(crate) address: u64,
    /// The bytes of each of its instructions.
    pub(crate) sizes: Vec<u8>,
    /// Instructions executed in it.
    pub(crate) instructions: u64,
}

impl Block {
    /// Those of the plugin's file.
    pub(crate) fn parse(text: &str) -> Result<Vec<Block>> {
        let block = |line: &str| Block::of_line(line).with_context(|| format!("the plugin counted: {line}"));
        text.lines().map(block).collect()
    }

    /// That of a line `ADDRESS SIZES COUNT`, each size a hexadecimal digit.
    fn of_line(line: &str) -> Option<Block> {
        let words: Vec<&str> = line.split(' ').collect();
        let [address, sizes, count] = words[..] else { return None };
        let sizes: Option<Vec<u8>> = sizes.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
        let address = u64::from_str_radix(address, 16).ok()?;
        Some(Block { address, sizes: sizes?, instructions: count.parse().ok()? })
    }
}

/// The list of functions, each count divided by `operations`.
pub(crate) fn list(blocks: &[Block], symbols: &Symbols, operations: f64) -> String {
    let mut functions: HashMap<&str, u64> = HashMap::new();
    for block in blocks {
        *functions.entry(symbols.name(block.address)).or_default() += block.instructions;
    }
    let total: u64 = functions.values().sum();
    let mut sorted: Vec<(&str, u64)> = functions.into_iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let line = |name: &str, count: u64| {
        let share = count as f64 * 100.0 / total.max(1) as f64;
        format!("{:>12.1} {share:>5.1} %  {name}\n", count as f64 / operations)
    };
    let mut result = line("all", total);
    result.extend(sorted.iter().take(MOST).map(|(name, count)| line(name, *count)));
    let rest: u64 = sorted.iter().skip(MOST).map(|(_, count)| count).sum();
    if rest > 0 {
        result += &line("(others)", rest);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_summed_by_function() {
        let symbols = Symbols::parse(
            "ffff82d040001000 T enter\nffff82d040001100 t leave::at\nffff82d040001080 d data\n0000000000200000 T boot\n",
        );
        let text = "ffff82d040001004 25 10\nffff82d040001090 1 10\nffff82d040001100 f 60\nffffffff81000000 3 15\n401000 5 5\n";
        let list = list(&Block::parse(text).unwrap(), &symbols, 10.0);
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["10.0", "100.0", "%", "all"]);
        assert_eq!(lines[1], ["6.0", "60.0", "%", "leave::at"]);
        assert_eq!(lines[2], ["2.0", "20.0", "%", "enter"]);
        assert_eq!(lines[3][3..], ["(Dom0's", "kernel)"]);
    }

    #[test]
    fn a_damaged_profile_is_refused() {
        assert!(Block::parse("x 1 y\n").is_err());
        assert!(Block::parse("1000 1g 5\n").is_err());
    }
}
