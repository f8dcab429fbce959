//! What was run and what came of it, as text: `@ command`, `| line` for each line of output, `= exit code`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// A command that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// As it was typed.
    pub(crate) command: String,
    /// What it printed, errors too.
    pub(crate) output: Vec<String>,
    /// Its exit code.
    pub(crate) exit: i32,
}

/// Reads a record.
///
/// # Errors
/// A line that is none of the three kinds, or stands where it must not.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut open: Option<Row> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let (kind, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match (kind, &mut open) {
            ("@", None) => open = Some(Row { command: rest.into(), output: Vec::new(), exit: 0 }),
            ("|", Some(row)) => row.output.push(rest.trim_end().into()),
            ("=", Some(row)) => {
                row.exit = rest.parse().with_context(|| format!("line {number}: {line}"))?;
                rows.extend(open.take());
            }
            ("#" | "", None) => {}
            _ => bail!("line {number} cannot stand there: {line}"),
        }
    }
    ensure!(open.is_none(), "the last row has no exit code");
    Ok(rows)
}

/// Writes a record.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "@ {}", row.command);
        for line in &row.output {
            let _ = writeln!(text, "{}", format!("| {line}").trim_end());
        }
        let _ = writeln!(text, "= {}", row.exit);
    }
    text
}

/// The record that a guest printed on the console, packed row by row.
///
/// # Errors
/// Some of it is missing or damaged.
pub(crate) fn from_console(log: &str) -> Result<String> {
    let mut text = String::new();
    let mut count = 0;
    for line in log.lines() {
        let Some(rest) = line.strip_prefix("LAB-TABLE ") else { continue };
        let mut words = rest.split_whitespace();
        count += 1;
        ensure!(words.next() == Some(count.to_string().as_str()), "row {count} is missing: {line}");
        let packed = words.next().context("an empty row")?;
        let row = piped("base64 -d | gunzip", packed.as_bytes()).with_context(|| format!("row {count}"))?;
        text.push_str(&String::from_utf8_lossy(&row));
    }
    let end =
        log.lines().find_map(|line| line.strip_prefix("LAB-TABLE-END ")).context("the table has no end")?;
    ensure!(end.trim() == count.to_string(), "rows are missing: there were {end}");
    Ok(text)
}

/// What a shell command makes of some bytes.
fn piped(command: &str, input: &[u8]) -> Result<Vec<u8>> {
    let mut child =
        Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut to = child.stdin.take().context("no input")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || to.write_all(&input));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    ensure!(output.status.success(), "{command}: {}", output.status);
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let row = |command: &str, output: &[&str], exit| Row {
            command: command.into(),
            output: output.iter().map(ToString::to_string).collect(),
            exit,
        };
        let rows = [row("xl list", &["a  b", "", "c"], 0), row("xl", &[], 1)];
        assert_eq!(render(&rows), "@ xl list\n| a  b\n|\n| c\n= 0\n@ xl\n= 1\n");
        assert_eq!(parse(&render(&rows)).unwrap(), rows);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["| x\n", "@ a\n@ b\n", "@ a\n", "@ a\n= x\n", "what\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_console_is_unpacked_and_checked() {
        let packed = String::from_utf8(piped("gzip | base64 -w 0", b"@ a\n= 0\n").unwrap()).unwrap();
        let log = format!("x\r\nLAB-TABLE 1 {packed} a\r\n(XEN) y\r\nLAB-TABLE-END 1\r\n");
        assert_eq!(from_console(&log).unwrap(), "@ a\n= 0\n");
        assert!(from_console(&log.replace("TABLE 1", "TABLE 2")).is_err());
        assert!(from_console(&log.replace("END 1", "END 2")).is_err());
        assert!(from_console(&log.replace(&packed[8..20], "(XEN) wrong ")).is_err());
        assert!(from_console("LAB-INIT").is_err());
    }
}
