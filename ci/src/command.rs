//! Running other programs, with errors that say what was run and what it said.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// Runs a program whose output goes to the terminal; fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a program and returns its standard output; its standard error is shown only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let result =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        bail!("{} failed ({}):\n{said}", line(command), result.status);
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Tells the user of a step that may take a while.
pub(crate) fn progress(step: &str) {
    println!("lab: {step}");
}

/// Runs a long step: says what it does and how long it took.
pub(crate) fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    progress(&format!("{step} ..."));
    let start = Instant::now();
    let value = work().with_context(|| format!("while {step}"))?;
    progress(&format!("{step} done ({})", seconds(start.elapsed())));
    Ok(value)
}

/// A duration as the reports print it.
pub(crate) fn seconds(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 10.0 { format!("{s:.1} s") } else { format!("{s:.0} s") }
}

/// Whether `product` exists and is no older than each of `sources` (a missing source counts as newer).
pub(crate) fn up_to_date(product: &Path, sources: &[&Path]) -> bool {
    let time = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let Some(made) = time(product) else { return false };
    sources.iter().all(|source| time(source).is_some_and(|changed| changed <= made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c") && text.contains("why") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_product_is_not_up_to_date() {
        assert!(!up_to_date(Path::new("/nonexistent"), &[]));
        assert!(up_to_date(Path::new("/"), &[Path::new("/")]));
        assert!(!up_to_date(Path::new("/"), &[Path::new("/nonexistent")]));
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(seconds(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(61)), "61 s");
    }
}
