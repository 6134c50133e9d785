//! How the command fails: what is told on stderr, and the exit code.
//!
//! Invariants:
//! 1. [`EXIT_CODES`] is the one table of exit codes: --help, the man page and the guide show it.
//! 2. A reader of stdout that went away is not an error to talk about.

use std::io;

use anstyle::{AnsiColor, Style};
use twill_engine::Error;

/// The exit codes, for --help and the man page.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a statement failed, or the work was refused or could not be finished
  2    the command line is wrong
  3    a database or a file cannot be opened
  4    `twill check` found damage
  5    the database is locked by another process, or busy
  130  interrupted by Ctrl-C
  141  whoever read the output closed it";

const SQLITE_CORRUPT: i32 = 11;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;
const SQLITE_READONLY: i32 = 8;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A statement failed.
    #[error("{}{error}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Statement {
        error: Error,
        /// The line of the statement with the offending token marked.
        excerpt: Option<String>,
        /// The file and line it came from.
        place: Option<String>,
    },
    /// A database cannot be opened.
    #[error("{}{error}", if error.message().starts_with("cannot open") { String::new() } else { format!("cannot open {url}: ") })]
    Open { url: String, error: Error },
    /// A file cannot be opened.
    #[error("cannot open {path}: {error}")]
    File { path: String, error: io::Error },
    /// The command line is wrong in a way that only the work shows.
    #[error("{0}")]
    Usage(String),
    /// The work is refused, or what was given is not what it should be.
    #[error("{0}")]
    Refused(String),
    /// `check` found damage.
    #[error("{0}")]
    Damage(String),
    /// Reading or writing failed.
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the output went away.
    #[error("the output was closed")]
    Closed,
    /// The shell was told to leave with this code, or has told its error already.
    #[error("exit code {0}")]
    Exit(u8),
}

impl Failure {
    /// A failed statement, with the place in its text that libSQL points at.
    pub(crate) fn statement(error: Error, sql: &str) -> Self {
        if error.is_interrupted() {
            return Self::Interrupted;
        }
        let excerpt = error.offset().and_then(|offset| excerpt(sql, offset));
        Self::Statement { error, excerpt, place: None }
    }

    /// Adds where the statement came from.
    pub(crate) fn at(self, origin: &str, line: u64) -> Self {
        if let Self::Statement { error, excerpt, place: None } = self {
            return Self::Statement { error, excerpt, place: Some(format!("{origin}:{line}")) };
        }
        self
    }

    /// Reading or writing failed.
    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Io { what: what.into(), error }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Statement { error, .. } | Self::Open { error, .. } if error.is_busy() => 5,
            Self::Open { .. } | Self::File { .. } => 3,
            Self::Statement { error, .. } if error.code() == SQLITE_CANTOPEN => 3,
            Self::Statement { .. } | Self::Refused(_) | Self::Io { .. } => 1,
            Self::Usage(_) => 2,
            Self::Damage(_) => 4,
            Self::Interrupted => 130,
            Self::Closed => 141,
            Self::Exit(code) => *code,
        }
    }

    /// Tells it on stderr.
    pub(crate) fn report(&self) {
        if matches!(self, Self::Closed | Self::Exit(_)) {
            return;
        }
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        anstream::eprintln!("{red}error:{red:#} {self}");
        if let Self::Statement { excerpt: Some(excerpt), .. } = self {
            anstream::eprintln!("{excerpt}");
        }
        if let Some(hint) = self.hint() {
            let bold = Style::new().bold();
            anstream::eprintln!("{bold}hint:{bold:#} {hint}");
        }
    }

    /// What to do, where the message itself does not say so.
    fn hint(&self) -> Option<&'static str> {
        let (Self::Statement { error, .. } | Self::Open { error, .. }) = self else { return None };
        if error.is_busy() {
            return Some(if matches!(self, Self::Open { .. }) {
                "one process has a database open at a time: close the other one and try again"
            } else {
                "another writer holds the database: try again, or wait longer with ?busy_timeout=MILLISECONDS"
            });
        }
        match error.code() {
            SQLITE_CORRUPT => {
                Some("`twill check` lists the damage; `twill export … --format sql` saves what can be read")
            }
            SQLITE_NOTADB => Some("the file is not an SQLite database; is it the right one?"),
            SQLITE_READONLY => {
                Some("the database is open for reading only: leave out mode=ro or --read-only")
            }
            _ => None,
        }
    }
}

/// The line that holds a byte offset, and a mark under it.
fn excerpt(sql: &str, offset: usize) -> Option<String> {
    const WIDTH_MAX: usize = 76;
    let (before, after) = sql.split_at_checked(offset)?;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let head: String = before.get(start..)?.replace('\t', " ");
    let tail = after.lines().next().unwrap_or_default().replace('\t', " ");
    let head: Vec<char> = head.chars().collect();
    // A long line is shown around the place.
    let skipped = head.len().saturating_sub(WIDTH_MAX / 2);
    let head: String = head.into_iter().skip(skipped).collect();
    let tail: String = tail.chars().take(WIDTH_MAX / 2).collect();
    let indent = " ".repeat(unicode_width::UnicodeWidthStr::width(head.as_str()));
    Some(format!("  {head}{tail}\n  {indent}^"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excerpt_marks_the_token() {
        assert_eq!(excerpt("SELECT 1 FORM t", 9).unwrap(), "  SELECT 1 FORM t\n           ^");
        assert_eq!(excerpt("SELECT\n  x y z,\nw", 9).unwrap(), "    x y z,\n    ^");
        let long = format!("{}SELEC", "é".repeat(100));
        let marked = excerpt(&long, 200).unwrap();
        assert!(marked.starts_with(&format!("  {}SELEC\n", "é".repeat(38))), "{marked}");
        assert_eq!(excerpt("é", 1), None);
    }

    #[test]
    fn exit_codes_are_those_of_the_table() {
        let failures = [
            (Failure::statement(Error::new(1, "no such table"), ""), 1),
            (Failure::statement(Error::new(5, "locked"), ""), 5),
            (Failure::statement(Error::new(9, "interrupted"), ""), 130),
            (Failure::Open { url: "x".into(), error: Error::new(14, "no") }, 3),
            (Failure::Open { url: "x".into(), error: Error::new(5, "no") }, 5),
            (Failure::Usage("no".into()), 2),
            (Failure::Damage("no".into()), 4),
            (Failure::io("writing", io::Error::from(io::ErrorKind::BrokenPipe)), 141),
        ];
        for (failure, code) in failures {
            assert_eq!(failure.exit_code(), code, "{failure}");
            assert!(EXIT_CODES.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))));
        }
    }
}
