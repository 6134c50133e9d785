//! `twill shell URL`: statements and dot commands, one after the other, from a terminal or from standard input.
//!
//! Invariants:
//! 1. On a terminal nothing but `.quit` and Ctrl-D leaves: errors are told and the next input is read, Ctrl-C ends the
//!    running statement, or the input being typed.
//! 2. From a pipe or a file the first error ends the run, unless `--keep-going`; then the exit code is that of the first.

mod dot;
mod editor;
mod history;
mod tables;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use rustyline::error::ReadlineError;
use twill_engine::Mode;

use super::LookArguments;
use crate::failure::Failure;
use crate::input::{Piece, Script};
use crate::interrupt::Interrupts;
use crate::place;
use crate::session::{Parameters, Session, written};
use editor::Reader;

/// Run SQL interactively, or from standard input
///
/// On a terminal: lines can be edited, Tab completes names, the arrows bring earlier input back, a statement may go over
/// several lines and runs when its semicolon is there. Ctrl-C ends the running statement, Ctrl-D leaves. .help lists the
/// commands that begin with a dot.
///
/// From a pipe or a file the first error ends the run.
#[derive(Debug, Args)]
pub(super) struct Shell {
    /// The database
    #[arg(default_value = ":memory:")]
    url: String,
    #[command(flatten)]
    look: LookArguments,
    /// Go on after an error in input that does not come from a terminal
    #[arg(long)]
    keep_going: bool,
    /// Open the database for reading only
    #[arg(long, short = 'r')]
    read_only: bool,
}

/// The running shell.
struct Running {
    session: Session,
    output: Output,
    /// Whether output returns to stdout after the next piece of input.
    is_once: bool,
    /// How deep in files of `.read`.
    depth: u32,
    goes_on: bool,
}

/// Where results go.
struct Output {
    name: Option<PathBuf>,
    writer: Box<dyn Write>,
}

impl Output {
    fn stdout() -> Self {
        Self { name: None, writer: Box::new(BufWriter::new(io::stdout())) }
    }
}

/// What comes after a piece of input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Read,
    /// After the piece that follows, output returns to stdout.
    ReadOnce,
    Leave(u8),
}

impl Shell {
    pub(super) fn run(self, interrupts: Interrupts) -> Result<(), Failure> {
        let mode = self.read_only.then_some(Mode::ReadOnly);
        let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        if is_interactive {
            interrupts.outlive_work();
        }
        let session = Session::open(&self.url, mode, interrupts, self.look.look())?;
        let mut running = Running {
            session,
            output: Output::stdout(),
            is_once: false,
            depth: 0,
            goes_on: is_interactive || self.keep_going,
        };
        let outcome = if is_interactive {
            running.interact()
        } else {
            running.read_from(io::stdin().lock(), "standard input")
        };
        running.finish(outcome)
    }
}

impl Running {
    /// Closes what is open; the outcome stays what it was.
    fn finish(mut self, outcome: Result<Next, Failure>) -> Result<(), Failure> {
        let flushed = self.output.writer.flush().map_err(written);
        if !self.session.connection.is_autocommit() {
            eprintln!("the open transaction is rolled back");
        }
        let closed = self.session.close();
        match outcome? {
            Next::Leave(code @ 1..) => Err(Failure::Exit(code)),
            Next::Leave(0) | Next::Read | Next::ReadOnce => flushed.and(closed),
        }
    }

    /// Reads from the terminal until Ctrl-D or `.quit`.
    fn interact(&mut self) -> Result<Next, Failure> {
        println!("twill {}, libSQL {}", env!("CARGO_PKG_VERSION"), self.library_version());
        println!("{}: .help for help, Ctrl-D to leave", self.session.database.url());
        let mut reader = Reader::open(&self.session)?;
        loop {
            let text = match reader.read(&self.session) {
                Ok(text) => text,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(Next::Leave(0)),
                Err(ReadlineError::Io(error)) => return Err(Failure::io("reading the terminal", error)),
                Err(error) => return Err(Failure::io("reading the terminal", io::Error::other(error))),
            };
            let text = editor::plain_command(&text).unwrap_or(&text);
            match self.read_from(text.as_bytes(), "") {
                Ok(Next::Leave(code)) => return Ok(Next::Leave(code)),
                Ok(Next::Read | Next::ReadOnce) => {}
                Err(failure) => failure.report(),
            }
        }
    }

    fn library_version(&self) -> String {
        let rows =
            crate::dump::query(&self.session.connection, "SELECT sqlite_version()").unwrap_or_default();
        match rows.into_iter().flatten().next() {
            Some(twill_engine::Value::Text(version)) => format!("(SQLite {version})"),
            _ => String::new(),
        }
    }

    /// Runs a script's statements and commands. An empty `origin` is the terminal, where errors need no line.
    fn read_from(&mut self, input: impl BufRead, origin: &str) -> Result<Next, Failure> {
        let mut script = Script::new(input, origin, true);
        let mut first_failure = None;
        while let Some((piece, line)) = script.next()? {
            let outcome = match &piece {
                Piece::Statement(sql) => self.statement(sql).map(|()| Next::Read),
                Piece::Command(command) => self.command(command),
            };
            self.settle_output()?;
            match outcome {
                Ok(Next::Read) => {}
                Ok(Next::ReadOnce) => self.is_once = true,
                Ok(leave) => return Ok(leave),
                Err(closed @ Failure::Closed) => return Err(closed),
                Err(failure) => {
                    let failure = if origin.is_empty() { failure } else { failure.at(origin, line) };
                    // From a terminal, too, what follows the failed statement on its line is not run.
                    if !self.goes_on || origin.is_empty() || matches!(failure, Failure::Interrupted) {
                        return Err(failure);
                    }
                    failure.report();
                    first_failure.get_or_insert(failure.exit_code());
                }
            }
        }
        match first_failure {
            Some(code) if self.depth == 0 => Ok(Next::Leave(code)),
            Some(code) => Err(Failure::Exit(code)),
            None => Ok(Next::Read),
        }
    }

    fn statement(&mut self, sql: &str) -> Result<(), Failure> {
        self.session.run(sql, &Parameters::default(), &mut *self.output.writer)
    }

    /// After `.once`, output returns to where it was.
    fn settle_output(&mut self) -> Result<(), Failure> {
        self.output.writer.flush().map_err(written)?;
        if std::mem::take(&mut self.is_once) {
            self.output = Output::stdout();
        }
        Ok(())
    }

    /// Sends results to a file, or back to stdout.
    fn redirect(&mut self, name: Option<&str>) -> Result<(), Failure> {
        self.output.writer.flush().map_err(written)?;
        self.output = match name {
            None | Some("stdout" | "-") => Output::stdout(),
            Some(name) => {
                let file =
                    File::create(name).map_err(|error| Failure::File { path: name.to_owned(), error })?;
                Output { name: Some(PathBuf::from(name)), writer: Box::new(BufWriter::new(file)) }
            }
        };
        Ok(())
    }

    /// Runs a file, whose errors end it as they end the shell's own input.
    fn read_file(&mut self, name: &str) -> Result<Next, Failure> {
        const DEPTH_MAX: u32 = 25;
        if self.depth >= DEPTH_MAX {
            return Err(Failure::Refused(format!(
                "{name}: files read each other more than {DEPTH_MAX} deep"
            )));
        }
        let file = place::read(name.as_ref())?;
        self.depth += 1;
        let goes_on = std::mem::replace(&mut self.goes_on, false);
        let outcome = self.read_from(BufReader::new(file), name);
        self.goes_on = goes_on;
        self.depth -= 1;
        outcome
    }
}
