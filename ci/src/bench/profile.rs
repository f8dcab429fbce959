//! Where a row's instructions are spent, by function of the image.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use crate::symbols::Symbols;

/// Lines of the list; what is left is summed up.
const MOST: usize = 45;

/// The list from the plugin's file, each count divided by `operations`.
pub(crate) fn list(text: &str, symbols: &Symbols, operations: f64) -> Result<String> {
    let mut functions: HashMap<&str, u64> = HashMap::new();
    for line in text.lines() {
        let counted = line.split_once(' ').and_then(|(address, count)| {
            Some((u64::from_str_radix(address, 16).ok()?, count.parse::<u64>().ok()?))
        });
        let (address, count) = counted.with_context(|| format!("the plugin counted: {line}"))?;
        *functions.entry(symbols.name(address)).or_default() += count;
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
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_summed_by_function() {
        let symbols = Symbols::parse(
            "ffff82d040001000 T enter\nffff82d040001100 t leave::at\nffff82d040001080 d data\n0000000000200000 T boot\n",
        );
        let text =
            "ffff82d040001004 10\nffff82d040001090 10\nffff82d040001100 60\nffffffff81000000 15\n401000 5\n";
        let list = list(text, &symbols, 10.0).unwrap();
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["10.0", "100.0", "%", "all"]);
        assert_eq!(lines[1], ["6.0", "60.0", "%", "leave::at"]);
        assert_eq!(lines[2], ["2.0", "20.0", "%", "enter"]);
        assert_eq!(lines[3][3..], ["(Dom0's", "kernel)"]);
    }

    #[test]
    fn a_damaged_profile_is_refused() {
        assert!(list("x y\n", &Symbols::parse(""), 1.0).is_err());
    }
}
