//! `twill`: a TwillDB database from the command line.
//!
//! ```text
//! main ─► commands.rs (arguments) ─► commands/<one file per subcommand>
//!                                       │
//!              session.rs (one connection, statements to results) ─► output/ (table, csv, json, …)
//!              dump.rs, load.rs, whole.rs (a database out of and into SQL, tables, files)
//!              interrupt.rs (Ctrl-C)   failure.rs (what is told, exit codes)
//! ```
//!
//! Invariants:
//! 1. What was asked for goes to stdout, everything else (errors, progress, counts) to stderr.
//! 2. Every failure leads to one exit code of [`failure`], and says what to do where that is known.
//! 3. A file that is written is complete or not there: it is made under another name, synced and renamed.
//!
//! On a crash the database is what the engine promises; a hidden directory `.twill-…` may stay beside a file that was
//! being written, and can be deleted. It refuses to overwrite anything without `--force`.

mod cell;
mod commands;
mod csv;
mod dump;
mod failure;
mod input;
mod interrupt;
mod json;
mod literal;
mod load;
mod output;
mod place;
mod progress;
mod session;
mod whole;

use std::process::{self, ExitCode};

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = commands::Twill::try_parse().unwrap_or_else(|error| {
        if error.kind() != clap::error::ErrorKind::InvalidSubcommand {
            error.exit();
        }
        // Whoever closed stderr does not want to know.
        let _ = error.print();
        eprintln!("\nhint: to open a database: twill shell URL");
        process::exit(error.exit_code())
    });
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}
