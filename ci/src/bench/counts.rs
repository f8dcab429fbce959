//! What the plugin `ci/plugin/count.c` counts beside instructions, batch by batch.

use anyhow::{Context as _, Result};

/// The kinds that are counted beside instructions, in the plugin's order.
pub(crate) const KINDS: [&str; 11] =
    ["own", "trap", "cr3", "cr4", "flush", "invlpg", "wrmsr", "iret", "sysret", "port", "locked"];

/// The batches of one row, as the guest's line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batches<'a> {
    /// The row.
    pub(crate) name: &'a str,
    /// Operations in a batch.
    pub(crate) operations: u32,
    /// The number of the batch with the least time.
    pub(crate) best: usize,
    /// The number of the first.
    pub(crate) first: usize,
    /// How many there are.
    pub(crate) count: usize,
}

impl<'a> Batches<'a> {
    /// Reads a line `LAB-BENCH NAME TICKS OPERATIONS BEST FIRST BATCHES`.
    pub(crate) fn of_line(line: &'a str) -> Option<Batches<'a>> {
        let words: Vec<&str> = line.split_once("LAB-BENCH ")?.1.split_whitespace().collect();
        let [name, _, operations, best, first, count] = words[..] else { return None };
        Some(Batches {
            name,
            operations: operations.parse().ok()?,
            best: best.parse().ok()?,
            first: first.parse().ok()?,
            count: count.parse().ok()?,
        })
    }
}

/// The counts of one operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counted {
    /// Instructions, without idle time.
    pub(crate) instructions: f64,
    /// The [`KINDS`].
    pub(crate) others: [f64; KINDS.len()],
}

/// The counts of all batches of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counts(Vec<[u64; 1 + KINDS.len()]>);

impl Counts {
    /// Reads the plugin's file: a line for each batch, its number first.
    pub(crate) fn parse(text: &str) -> Result<Counts> {
        let mut batches = Vec::new();
        for line in text.lines() {
            let counts: Option<Vec<u64>> = line.split(' ').skip(1).map(|word| word.parse().ok()).collect();
            let counts = counts.and_then(|counts| counts.try_into().ok());
            batches.push(counts.with_context(|| format!("the plugin counted: {line}"))?);
        }
        Ok(Counts(batches))
    }

    /// The counts of an operation in the row's best batch: by time, or by instructions where the row `waits`.
    pub(crate) fn batch(&self, batches: &Batches<'_>, waits: bool) -> Option<Counted> {
        let all = self.0.get(batches.first..batches.first + batches.count)?;
        let best = if waits { all.iter().min()? } else { self.0.get(batches.best)? };
        let each = |count: u64| count as f64 / f64::from(batches.operations);
        let mut others = [0.0; KINDS.len()];
        for (place, count) in others.iter_mut().zip(&best[1..]) {
            *place = each(*count);
        }
        Some(Counted { instructions: each(best[0]), others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_batches() {
        let batches = Batches::of_line("x LAB-BENCH fork 249040.0 1 74 64 20\r").unwrap();
        assert_eq!(batches, Batches { name: "fork", operations: 1, best: 74, first: 64, count: 20 });
        assert_eq!(Batches::of_line("LAB-BENCH init_tsc 5"), None);
    }

    #[test]
    fn a_damaged_count_is_refused() {
        assert!(Counts::parse("0 1 2 3 4 5 6 7 8 9 10 11 12\n").is_ok());
        assert!(Counts::parse("0 1 2\n").is_err());
        assert!(Counts::parse("0 1 2 3 4 5 6 7 8 9 10 11 x\n").is_err());
    }

    #[test]
    fn the_plugin_has_these_kinds_in_this_order() {
        let text = include_str!("../../plugin/count.c");
        let list = format!("enum kind {{ INSTRUCTION, {}, KINDS }}", KINDS.join(", ").to_uppercase());
        assert!(text.contains(&list), "{list}");
    }
}
