//! `check`: format, lints, host tests and the house laws, each with its count.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::command::{progress, seconds};
use crate::image;
use crate::laws;
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Everything that needs no QEMU.
pub(crate) fn check(workspace: &Workspace, toolchain: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.add(laws::judge(workspace)?);
    tally.add(step("format", toolchain.cargo(workspace, "fmt").args(["--all", "--check"]))?);
    let mut clippy = toolchain.cargo(workspace, "clippy");
    clippy.args(["--quiet", "--workspace", "--all-targets"]);
    without_image(&mut clippy, workspace);
    tally.add(step("lints of the host crates", clippy.args(["--", "-D", "warnings"]))?);
    if image::exists(workspace) {
        let mut clippy = toolchain.cargo_image(workspace, "clippy");
        tally.add(step("lints of the image", clippy.args(["--quiet", "--", "-D", "warnings"]))?);
    }
    tally.add(host_tests(workspace, toolchain)?);
    Ok(tally)
}

/// The image's crate is for its own target alone.
fn without_image(cargo: &mut Command, workspace: &Workspace) {
    if image::exists(workspace) {
        cargo.args(["--exclude", "hypervisor"]);
    }
}

/// Runs a command as one named thing that holds or does not.
fn step(name: &str, command: &mut Command) -> Result<Tally> {
    progress(&format!("{name} ..."));
    let start = Instant::now();
    let status = command.status().with_context(|| format!("starting {name}"))?;
    let verdict = if status.success() { "ok" } else { "FAILED" };
    println!("check {name} ... {verdict} ({})", seconds(start.elapsed()));
    Ok(if status.success() { Tally::held() } else { Tally::broken(name.into()) })
}

/// The unit, property and integration tests of all host crates.
fn host_tests(workspace: &Workspace, toolchain: &Toolchain) -> Result<Tally> {
    progress("host tests (the first time all crates are compiled: a minute) ...");
    let start = Instant::now();
    let mut cargo = toolchain.cargo(workspace, "test");
    // Not `--doc`: examples in documentation are text (a law), and looking for others in each crate takes a minute.
    cargo.args(["--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    without_image(&mut cargo, workspace);
    let result = cargo.output().context("starting cargo test")?;
    let text = String::from_utf8_lossy(&result.stdout);
    let mut tally = count(&text);
    if !result.status.success() {
        print!("{text}");
        eprint!("{}", String::from_utf8_lossy(&result.stderr));
        // A test that does not compile, or dies, has no line of its own.
        if tally.failed == 0 {
            tally.add(Tally::broken("host tests: one does not compile, or died".into()));
        }
    }
    println!(
        "check host tests ... {} passed, {} failed ({})",
        tally.passed,
        tally.failed,
        seconds(start.elapsed())
    );
    Ok(tally)
}

/// Sums the lines `test result: ok. 27 passed; 0 failed; ...` of cargo's output.
fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            tally.name(format!("host test {name}"));
        }
        if !line.starts_with("test result: ") {
            continue;
        }
        let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        let before = |what: &str| -> usize {
            let at = words.iter().position(|word| *word == what);
            at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
        };
        tally.add(Tally::counts(before("passed"), before("failed")));
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let text = "running 3 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\
                    test a::b ... FAILED\ntest a::c ... ok\ntest result: FAILED. 5 passed; 2 failed; 0 ignored\nnot a test result: ok. 9 passed\n";
        let mut expected = Tally::counts(7, 2);
        expected.name("host test a::b".into());
        assert_eq!(count(text), expected);
    }
}
