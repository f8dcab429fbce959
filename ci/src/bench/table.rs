//! The tables, in the form that a terminal and Markdown both show.

use crate::bench::figures::Figures;
use crate::bench::rows::{ROWS, Row, Unit};

/// The heads of the table of costs.
const HEADS: [&str; 7] =
    ["operation", "bare", "Xen", "Revenant", "Xen adds", "Revenant adds", "ratio of added"];

/// The kinds of the table of counts, with their heads.
const COUNTED: [(&str, &str); 11] = [
    ("own", "its own"),
    ("trap", "traps"),
    ("iret", "IRET"),
    ("sysret", "SYSRET"),
    ("cr3", "CR3 loads"),
    ("cr4", "CR4 loads"),
    ("flush", "flushes"),
    ("invlpg", "INVLPG"),
    ("wrmsr", "WRMSR"),
    ("port", "port I/O"),
    ("locked", "locked"),
];

/// What the operations cost in the three columns; a figure that is missing is a dash.
pub(crate) fn costs(bare: &Figures, peer: &Figures, ours: &Figures) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADS.map(String::from).to_vec()];
    lines.extend(ROWS.iter().map(|row| line(row, bare, peer, ours)));
    drawn(&lines)
}

/// How often the operations do what an instruction count does not show, on both hypervisors.
pub(crate) fn counts(peer: &Figures, ours: &Figures) -> String {
    let mut lines = vec![vec!["operation".to_string()]];
    lines[0].extend(COUNTED.iter().map(|(_, head)| head.to_string()));
    for row in ROWS.iter().filter(|row| row.counted()) {
        let count = |figures: &Figures, kind: &str| -> String {
            let count = figures.get(&format!("{}.{kind}", row.name));
            count.map_or_else(|| "-".to_string(), |count| counted(row, kind, count))
        };
        let mut cells = vec![row.title.to_string()];
        cells
            .extend(COUNTED.iter().map(|(kind, _)| format!("{} / {}", count(peer, kind), count(ours, kind))));
        lines.push(cells);
    }
    drawn(&lines)
}

/// A count of a row: small ones with a tenth, instructions as the row's figure.
fn counted(row: &Row, kind: &str, count: f64) -> String {
    match kind {
        "own" => row.unit.show(count),
        _ if count >= 1000.0 => thousands(count),
        _ => format!("{count:.1}").trim_end_matches(".0").to_string(),
    }
}

/// A table of these lines, the first being the head.
fn drawn(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text += &joined(line, &widths);
        if number == 0 {
            text += &format!("|{}|", "-".repeat(widths[0] + 2));
            text +=
                &widths[1..].iter().map(|width| format!("{}:|", "-".repeat(width + 1))).collect::<String>();
            text.push('\n');
        }
    }
    text
}

fn joined(cells: &[String], widths: &[usize]) -> String {
    let mut text = format!("| {:<width$} |", cells[0], width = widths[0]);
    for (cell, width) in cells.iter().zip(widths).skip(1) {
        text += &format!(" {cell:>width$} |");
    }
    text.push('\n');
    text
}

fn line(row: &Row, bare: &Figures, peer: &Figures, ours: &Figures) -> Vec<String> {
    let (bare, peer, ours) = (bare.get(row.name), peer.get(row.name), ours.get(row.name));
    // What Linux alone does not have is all added.
    let base = if row.bare { bare } else { Some(0.0) };
    let added = |figure: Option<f64>| Some(figure? - base?);
    let (by_peer, by_us) = (added(peer), added(ours));
    let ratio = by_us.zip(by_peer).filter(|(us, peer)| *us >= 0.0 && *peer > 0.0).map(|(us, peer)| us / peer);
    let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_string(), |figure| row.unit.show(figure));
    let mut cells = vec![row.title.to_string()];
    cells.extend([bare, peer, ours, by_peer, by_us].map(shown));
    cells.push(ratio.map_or_else(|| "-".to_string(), |ratio| format!("{ratio:.2}")));
    cells
}

impl Unit {
    /// A figure as the table shows it: whole, thousands apart.
    pub(crate) fn show(self, figure: f64) -> String {
        match self {
            Unit::One | Unit::Kilobyte => thousands(figure),
            Unit::Million => thousands(figure / 1e6),
        }
    }
}

/// A whole number with a comma before each three digits.
fn thousands(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if figure <= -0.5 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let shown = [0.0, 999.4, 1000.0, -1_234_567.0, -0.1].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "-1,234,567", "0"]);
    }

    #[test]
    fn added_is_what_is_over_bare() {
        let figures = |text: &str| Figures::of_log(text);
        let bare = figures("LAB-BENCH getpid 361\n");
        let peer = figures("LAB-BENCH getpid 961\nLAB-BENCH enosys 1600\n");
        let ours = figures("LAB-BENCH getpid 661\nLAB-BENCH enosys 800\n");
        let text = costs(&bare, &peer, &ours);
        let row = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split('|').map(|cell| cell.trim().to_string()).collect()
        };
        assert_eq!(row("getpid")[2..8], ["361", "961", "661", "600", "300", "0.50"]);
        assert_eq!(row("ENOSYS")[2..8], ["-", "1,600", "800", "1,600", "800", "0.50"]);
        assert_eq!(row("fork +")[2..8], ["-"; 6]);
    }

    #[test]
    fn counts_stand_side_by_side() {
        let figures = |text: &str| Figures::of_log(text);
        let peer = figures("LAB-BENCH getpid.cr3 2\nLAB-BENCH getpid.wrmsr 1.04\nLAB-BENCH getpid.own 512\n");
        let text = counts(&peer, &figures("LAB-BENCH getpid.cr3 0.5\n"));
        let line = text.lines().find(|line| line.contains("getpid")).unwrap();
        assert!(line.contains("2 / 0.5") && line.contains("1 / -") && line.contains("512 / -"), "{line}");
        assert_eq!(counted(&ROWS[0], "trap", 12_345.0), "12,345");
    }
}
