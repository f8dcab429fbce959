//! The figures of one column: read from a console log, kept in a file, compared with those of the run before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bench::counts::{Batches, Counts, KINDS};
use crate::bench::rows::{ROWS, Row};
use crate::bench::stamps::Stamps;

/// Figures by row name; counts of other things have `ROW.KIND` for a name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures(BTreeMap<String, f64>);

/// A row whose figure changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The row.
    pub(crate) row: Row,
    /// Before and now.
    pub(crate) figures: (f64, f64),
}

impl Change {
    /// Whether the operation costs more than before.
    pub(crate) fn is_worse(&self) -> bool {
        self.figures.1 > self.figures.0
    }
}

impl Figures {
    /// Takes the lines `LAB-BENCH NAME FIGURE` of a console log.
    pub(crate) fn of_log(text: &str) -> Figures {
        Figures::parse(text, "LAB-BENCH ")
    }

    /// Adds what the plugin counted in the batches that a console log names.
    pub(crate) fn add_counts(&mut self, log: &str, counts: &Counts) -> Result<()> {
        for batches in log.lines().filter_map(Batches::of_line) {
            let waits = ROWS.iter().any(|row| row.name == batches.name && row.waits);
            let chosen = counts.batch(&batches, waits).with_context(|| {
                format!("the plugin counted nothing for batch {} of {}", batches.best, batches.name)
            })?;
            if waits {
                self.0.insert(batches.name.into(), chosen.instructions);
            }
            for (kind, count) in KINDS.iter().zip(chosen.others) {
                self.0.insert(format!("{}.{kind}", batches.name), count);
            }
        }
        Ok(())
    }

    /// Takes the lines `NAME FIGURE`, each behind `mark`.
    fn parse(text: &str, mark: &str) -> Figures {
        let figure = |line: &str| -> Option<(String, f64)> {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_string(), words.next()?.parse().ok()?))
        };
        let lines = text.lines().filter_map(|line| line.split_once(mark));
        Figures(lines.filter_map(|(_, rest)| figure(rest)).collect())
    }

    /// Adds those of another machine, but for its boot.
    pub(crate) fn join(&mut self, mut other: Figures) {
        other.0.remove("init_tsc");
        self.0.extend(other.0);
    }

    /// Adds the stages of the boot, from its stamps and the guest's own at its first process.
    pub(crate) fn add_boot(&mut self, stamps: Stamps) -> Result<()> {
        let init = self.0.remove("init_tsc").context("the guest did not print its TSC at /init")?;
        let (image, kernel) = (stamps.image as f64, stamps.kernel as f64);
        for (name, figure) in
            [("boot_kernel", kernel - image), ("boot_init", init - kernel), ("boot", init - image)]
        {
            self.0.insert(name.into(), figure);
        }
        Ok(())
    }

    /// A row's figure.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// What an earlier run kept; nothing if there was none.
    pub(crate) fn read(file: &Path) -> Option<Figures> {
        let text = fs::read_to_string(file).ok()?;
        Some(Figures::parse(&text, ""))
    }

    /// Keeps the figures, one line each.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let mut text = String::new();
        for (name, figure) in &self.0 {
            let _ = writeln!(text, "{name} {figure:.1}");
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// The rows that differ from `before` by more than the tolerance.
    pub(crate) fn changes(&self, before: &Figures) -> Vec<Change> {
        let change = |row: &Row| {
            let figures = (before.get(row.name)?, self.get(row.name)?);
            let moved = (figures.1 - figures.0).abs() > row.tolerance * figures.0;
            moved.then_some(Change { row: *row, figures })
        };
        ROWS.iter().filter_map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(text: &str) -> Figures {
        Figures::of_log(text)
    }

    #[test]
    fn a_log_has_figures_among_other_lines() {
        let figures = figures("[ 1.0] x\nLAB-BENCH getpid 361.0\r\nLAB-BENCH init_tsc 900\nLAB-RESULT y\n");
        assert_eq!(figures.get("getpid"), Some(361.0));
        assert_eq!(figures.get("fork"), None);
    }

    #[test]
    fn what_waits_is_counted_without_its_waiting() {
        let log = "LAB-BENCH getpid 361.5 2 1 0 2\nLAB-BENCH nanosleep 100000 2 2 2 2\n";
        let counts = Counts::parse(
            "0 800 9 0 2 0 0 0 0 0 0 0 0\n1 722 8 2 4 0 4 0 0 0 2 0 0\n\
             2 90 0 0 0 0 0 0 0 0 0 0 0\n3 80 0 0 0 0 0 0 6 0 0 0 0\n",
        );
        let mut figures = figures(log);
        figures.add_counts(log, &counts.unwrap()).unwrap();
        let shown = [
            "getpid",
            "getpid.own",
            "getpid.trap",
            "getpid.cr3",
            "getpid.sysret",
            "nanosleep",
            "nanosleep.wrmsr",
        ];
        let shown = shown.map(|name| figures.get(name).unwrap());
        assert_eq!(shown, [361.5, 4.0, 1.0, 2.0, 1.0, 40.0, 3.0]);
        assert!(figures.add_counts("LAB-BENCH fork 1 1 9 9 1", &Counts::parse("").unwrap()).is_err());
    }

    #[test]
    fn stages_add_up() {
        let mut figures = figures("LAB-BENCH init_tsc 900\n");
        figures.add_boot(Stamps { image: 100, kernel: 400 }).unwrap();
        let stage = |name| figures.get(name);
        assert_eq!(
            (stage("boot_kernel"), stage("boot_init"), stage("boot")),
            (Some(300.0), Some(500.0), Some(800.0))
        );
        assert!(Figures::default().add_boot(Stamps { image: 0, kernel: 0 }).is_err());
    }

    #[test]
    fn two_percent_is_a_change() {
        let before = figures("LAB-BENCH getpid 1000\nLAB-BENCH fork 1000\nLAB-BENCH pipe 1000\n");
        let now = figures("LAB-BENCH getpid 1019\nLAB-BENCH fork 1021\nLAB-BENCH pipe 900\n");
        let changes = now.changes(&before);
        assert_eq!(changes.iter().map(Change::is_worse).collect::<Vec<_>>(), [true, false]);
        assert!(changes[0].row.title.starts_with("fork"));
    }
}
