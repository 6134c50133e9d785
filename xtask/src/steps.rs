//! `cargo xtask test`: the steps, in order, each under a heading of its own.
//!
//! Invariants:
//! 1. Cheap steps come first: a badly formatted line is told in a second, not after the crash tests.
//! 2. The first failure ends the run, unless `--keep-going`; either way the summary names every step that failed,
//!    was skipped, or was not reached.
//! 3. A step is skipped only where a program it needs is not installed, and says which; so is what tests inside a step
//!    had to leave out (the C programs of bindings/c, for one, run under valgrind only where it is).
//! 4. `cargo test` writes straight to the terminal, so its own lines are what is seen.
//!
//! Refuses: to report success when a step did not run to its end.

use anyhow::{Result, bail};

use crate::bun::Example;
use crate::package;
use crate::program::{self, Program};
use crate::tidy;
use crate::workspace::Workspace;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    fast: bool,
    keep_going: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for argument in arguments {
            match *argument {
                "--fast" => options.fast = true,
                "--keep-going" => options.keep_going = true,
                other => bail!("`cargo xtask test` has no option {other}"),
            }
        }
        Ok(options)
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped(String),
    Failed,
    NotReached,
}

/// A step: its heading, whether `--fast` leaves it out, and what it does.
struct Step {
    heading: &'static str,
    slow: bool,
    run: fn(&Workspace) -> Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step { heading: "format", slow: false, run: format },
    Step { heading: "tidy", slow: false, run: |workspace| tidy::run(workspace).map(passed) },
    Step { heading: "lints, with every feature", slow: false, run: lints },
    Step { heading: "lints, as released", slow: true, run: lints_as_released },
    Step { heading: "tests", slow: false, run: tests },
    Step { heading: "documentation", slow: true, run: documentation },
    Step { heading: "licences, bans, sources", slow: true, run: licences },
    Step { heading: "Bun example", slow: true, run: bun_example },
    Step { heading: "Bun package", slow: true, run: bun_package },
];

/// Programs that tests use where they are installed, and what is not tried without them.
const USED_BY_TESTS: &[(&str, &str)] = &[
    ("valgrind", "the C programs ran without a memory checker"),
    ("sqlite3", "stock SQLite's shell was not asked for its opinion of our files"),
    ("go", "the test object store was not judged beside MinIO, which go builds"),
    ("python3", "the test object store was not judged beside moto"),
    ("ip", "no writer was cut off in a network namespace, which needs root besides"),
];

/// Runs every step that `options` ask for.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<()> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| !(options.fast && step.slow)).collect();
    let outcomes = run_steps(workspace, &steps, options.keep_going);
    println!("\n== summary");
    for (step, outcome) in steps.iter().zip(&outcomes) {
        println!("{}", summary_line(step.heading, outcome));
    }
    for (program, consequence) in USED_BY_TESTS.iter().filter(|(program, _)| !program::is_installed(program))
    {
        println!("  without      {program}: {consequence}");
    }
    let failed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Failed)).count();
    if failed > 0 {
        bail!("{failed} of {} steps failed", steps.len());
    }
    println!("all {} steps ended without a failure", steps.len());
    Ok(())
}

fn run_steps(workspace: &Workspace, steps: &[&Step], keep_going: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut stopped = false;
    for (index, step) in steps.iter().enumerate() {
        if stopped {
            outcomes.push(Outcome::NotReached);
            continue;
        }
        println!("\n== {}/{} {}", index + 1, steps.len(), step.heading);
        let outcome = (step.run)(workspace).unwrap_or_else(|error| {
            println!("FAILED: {error:#}");
            Outcome::Failed
        });
        if let Outcome::Skipped(reason) = &outcome {
            println!("SKIPPED: {reason}");
        }
        stopped = outcome == Outcome::Failed && !keep_going;
        outcomes.push(outcome);
    }
    outcomes
}

fn summary_line(heading: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => format!("  passed       {heading}"),
        Outcome::Skipped(reason) => format!("  skipped      {heading}: {reason}"),
        Outcome::Failed => format!("  FAILED       {heading}"),
        Outcome::NotReached => format!("  not reached  {heading}"),
    }
}

fn passed(_done: ()) -> Outcome {
    Outcome::Passed
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Program {
    Program::new("cargo").args(arguments).directory(workspace.root())
}

fn format(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["fmt", "--all", "--check"]).run().map(passed)
}

fn lints(workspace: &Workspace) -> Result<Outcome> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    cargo(workspace, &arguments).run().map(passed)
}

/// Without features: code that only compiles with a test feature on is caught here.
fn lints_as_released(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["clippy", "--workspace", "--", "-D", "warnings"]).run().map(passed)
}

fn tests(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["test", "--workspace", "--all-features"]).run().map(passed)
}

fn documentation(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["doc", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
        .map(passed)
}

fn licences(workspace: &Workspace) -> Result<Outcome> {
    if !program::is_installed("cargo-deny") {
        return Ok(Outcome::Skipped(
            "cargo-deny is not installed (cargo install --locked cargo-deny)".to_owned(),
        ));
    }
    cargo(workspace, &["deny", "check", "licenses", "bans", "sources"]).run().map(passed)
}

/// The example's own tests, over the library as it is released.
fn bun_example(workspace: &Workspace) -> Result<Outcome> {
    if !program::is_installed("npm") {
        return Ok(Outcome::Skipped("npm, which fetches Bun, is not installed".to_owned()));
    }
    Example::prepare(workspace)?.program(&["test".as_ref()]).run().map(passed)
}

/// The package `@twilldb/bun`: its suites, its tarballs, and the libraries that are composed with it.
fn bun_package(workspace: &Workspace) -> Result<Outcome> {
    if !program::is_installed("npm") {
        return Ok(Outcome::Skipped("npm, which fetches Bun, is not installed".to_owned()));
    }
    package::test(workspace).map(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Workspace {
        Workspace::at(std::path::Path::new("/nonexistent"))
    }

    const PASSES: Step = Step { heading: "passes", slow: false, run: |_| Ok(Outcome::Passed) };
    const FAILS: Step = Step { heading: "fails", slow: false, run: |_| bail!("broken") };
    const SKIPS: Step =
        Step { heading: "skips", slow: false, run: |_| Ok(Outcome::Skipped("no tool".to_owned())) };

    #[test]
    fn the_first_failure_ends_the_run_unless_told_to_keep_going() {
        let steps = [&PASSES, &FAILS, &PASSES];
        let stopped = run_steps(&nowhere(), &steps, false);
        assert_eq!(stopped, [Outcome::Passed, Outcome::Failed, Outcome::NotReached]);
        let kept_going = run_steps(&nowhere(), &steps, true);
        assert_eq!(kept_going, [Outcome::Passed, Outcome::Failed, Outcome::Passed]);
    }

    #[test]
    fn a_skipped_step_is_named_with_its_reason() {
        let outcomes = run_steps(&nowhere(), &[&SKIPS], false);
        assert_eq!(outcomes, [Outcome::Skipped("no tool".to_owned())]);
        assert_eq!(summary_line("skips", &outcomes[0]), "  skipped      skips: no tool");
    }

    #[test]
    fn a_tool_that_fails_fails_the_step() {
        assert!(format(&nowhere()).is_err());
        assert!(tests(&nowhere()).is_err());
    }

    #[test]
    fn options_are_refused_by_name() {
        assert_eq!(Options::parse(&["--fast"]).unwrap(), Options { fast: true, keep_going: false });
        assert_eq!(Options::parse(&["--keep-going"]).unwrap(), Options { fast: false, keep_going: true });
        assert!(Options::parse(&["--quick"]).unwrap_err().to_string().contains("--quick"));
    }
}
