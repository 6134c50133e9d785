//! `cargo xtask`: the project's own commands.
//!
//! - `cargo xtask test [--fast] [--keep-going]`: everything that must hold before a change is merged.
//! - `cargo xtask tidy`: the checks of taste alone, in seconds.
//! - `cargo xtask pack`: the npm tarballs of `bindings/bun`, for this platform.
//! - `cargo xtask demo`: the engine in a Bun program on real data, killed and restarted.
//!
//! Invariants:
//! 1. The exit status is 0 only if every step ran and passed; a step that was skipped is named in the summary.
//! 2. Nothing is written outside the target directory, except what a step's own tool writes (npm's cache, for one).
//!
//! Refuses: unknown commands and options, by name.

mod bun;
mod demo;
mod package;
mod program;
mod steps;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <command>

  test [--fast] [--keep-going]   format, tidy, lints, all tests, documentation, licences, the Bun example,
                                 the Bun package
                                 --fast: only format, tidy, lints and cargo test
                                 --keep-going: run the remaining steps after a failure
  tidy                           arrows between crates, module docs, lengths, names, unsafe, documents
  pack                           the npm tarballs of @twilldb/bun, for this platform, in target/npm
  demo                           a Bun program on real data: load, query, kill -9, restart, look again";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::locate().context("finding the workspace")?;
    let Some((command, options)) = arguments.split_first() else {
        bail!("no command\n{USAGE}");
    };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    match (command.as_str(), options.as_slice()) {
        ("test", options) => steps::run(&workspace, steps::Options::parse(options)?),
        ("tidy", []) => tidy::run(&workspace),
        ("pack", []) => package::pack(&workspace),
        ("demo", []) => demo::run(&workspace),
        ("help" | "--help" | "-h", _) => {
            println!("{USAGE}");
            Ok(())
        }
        (command, options) => bail!("not a command: {command} {}\n{USAGE}", options.join(" ")),
    }
}
