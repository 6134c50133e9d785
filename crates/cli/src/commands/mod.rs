//! The command line: one file per subcommand.

mod check;
mod completions;
mod export;
mod import;
mod man;
mod shell;
mod sql;

use std::io::IsTerminal as _;

use clap::{Args, Parser, Subcommand};
use twill_types::Door;

use crate::failure::{EXIT_CODES, Failure};
use crate::interrupt::Interrupts;
use crate::output::{Format, Look};

const ABOUT: &str = "A TwillDB database from the command line.

A URL is a connection string: app.db or file:app.db is a file, which is an ordinary SQLite database; memory://name and \
                     :memory: live as long as the command. Parameters go behind a question mark: file:app.db?mode=ro.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "twill", version, about = "A TwillDB database from the command line", long_about = ABOUT)]
#[command(after_help = EXIT_CODES, max_term_width = 100, propagate_version = true)]
pub(crate) struct Twill {
    #[command(subcommand)]
    command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
enum Command {
    Sql(sql::Sql),
    Shell(shell::Shell),
    Check(check::Check),
    Import(import::Import),
    Export(export::Export),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs what the command line asks for.
pub(crate) fn run(twill: Twill) -> Result<(), Failure> {
    let interrupts = || Interrupts::install(&<dyn Door>::system());
    match twill.command {
        Command::Sql(sql) => sql.run(interrupts()?),
        Command::Shell(shell) => shell.run(interrupts()?),
        Command::Check(check) => check.run(&interrupts()?),
        Command::Import(import) => import.run(&interrupts()?),
        Command::Export(export) => export.run(&interrupts()?),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// How results are to look.
#[derive(Debug, Args)]
struct LookArguments {
    /// How results are written
    #[arg(long, short = 'f', value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// Do not name the columns
    #[arg(long)]
    no_headers: bool,
    /// What stands for NULL
    #[arg(long, value_name = "TEXT")]
    nullvalue: Option<String>,
}

impl LookArguments {
    fn look(&self) -> Look {
        Look {
            format: self.format,
            headers: self.no_headers.then_some(false),
            null: self.nullvalue.clone(),
            colour: has_colours(),
            ..Look::default()
        }
    }
}

/// Whether stdout is a terminal that wants colours.
fn has_colours() -> bool {
    std::io::stdout().is_terminal()
        && !matches!(anstream::AutoStream::choice(&std::io::stdout()), anstream::ColorChoice::Never)
}
