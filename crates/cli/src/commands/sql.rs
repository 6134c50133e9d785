//! `twill sql URL "..."`.
//!
//! Statements run one after the other, each in a transaction of its own unless the text has BEGIN and COMMIT. The first
//! that fails ends the run.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use twill_engine::{Mode, Value};

use super::LookArguments;
use crate::failure::Failure;
use crate::input::{Piece, Script};
use crate::interrupt::Interrupts;
use crate::place;
use crate::session::{Parameters, Session};

/// Run SQL statements and write their results
///
/// Each statement commits by itself, unless the text has BEGIN and COMMIT. The first that fails ends the run; what was
/// committed before stays.
///
/// Values are given by name: twill sql app.db "SELECT :a + 1" --param a=41. A value that is written as an integer or a
/// decimal number is one; everything else, and every --param-text, is text. A nameless ? is called by its number, 1 for
/// the first.
#[derive(Debug, Args)]
pub(super) struct Sql {
    /// The database
    url: String,
    /// The statements; - reads them from standard input
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    sql: Vec<String>,
    /// Read the statements from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    look: LookArguments,
    /// A value for a parameter
    #[arg(long, short = 'p', value_name = "NAME=VALUE", value_parser = named)]
    param: Vec<(String, String)>,
    /// A value that is text, whatever it looks like
    #[arg(long, value_name = "NAME=TEXT", value_parser = named)]
    param_text: Vec<(String, String)>,
    /// A parameter that is NULL
    #[arg(long, value_name = "NAME")]
    param_null: Vec<String>,
    /// Open the database for reading only
    #[arg(long, short = 'r')]
    read_only: bool,
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let bare = name.trim_start_matches([':', '@', '$', '?']);
            Ok((bare.to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

impl Sql {
    pub(super) fn run(self, interrupts: Interrupts) -> Result<(), Failure> {
        let parameters = self.parameters();
        let inputs = self.inputs()?;
        let mode = self.read_only.then_some(Mode::ReadOnly);
        let session = Session::open(&self.url, mode, interrupts, self.look.look())?;
        let mut out = BufWriter::new(io::stdout().lock());
        for mut script in inputs {
            while let Some((piece, line)) = script.next()? {
                let (Piece::Statement(sql) | Piece::Command(sql)) = piece;
                if sql.starts_with('.') {
                    let what =
                        "commands that begin with a dot are the shell's: echo '.help' | twill shell URL";
                    return Err(Failure::Usage(what.to_owned()));
                }
                let outcome = session.run(&sql, &parameters, &mut out);
                // What came before the failure belongs before its message.
                let flushed = out.flush().map_err(crate::session::written);
                outcome.map_err(|failure| match script.origin() {
                    "" => failure,
                    origin => failure.at(origin, line),
                })?;
                flushed?;
            }
        }
        let is_unfinished = !session.connection.is_autocommit();
        session.close()?;
        match is_unfinished {
            true => Err(Failure::Refused(
                "the statements end inside a transaction, which is rolled back: COMMIT is missing".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn inputs(&self) -> Result<Vec<Script<Box<dyn BufRead>>>, Failure> {
        if let Some(path) = &self.file {
            let file: Box<dyn BufRead> = if path.as_os_str() == "-" {
                Box::new(io::stdin().lock())
            } else {
                Box::new(BufReader::new(place::read(path)?))
            };
            return Ok(vec![Script::new(file, path.display().to_string(), false)]);
        }
        let script = |text: &String| {
            let (input, origin): (Box<dyn BufRead>, _) = match text.as_str() {
                "-" => (Box::new(BufReader::new(io::stdin())), "standard input"),
                _ => (Box::new(io::Cursor::new(text.clone().into_bytes())), ""),
            };
            Script::new(input, origin, false)
        };
        Ok(self.sql.iter().map(script).collect())
    }

    fn parameters(&self) -> Parameters {
        let guessed = self.param.iter().map(|(name, text)| (name.clone(), guess(text)));
        let texts = self.param_text.iter().map(|(name, text)| (name.clone(), Value::Text(text.clone())));
        let nulls = self.param_null.iter().map(|name| (name.clone(), Value::Null));
        Parameters(guessed.chain(texts).chain(nulls).collect())
    }
}

/// What a value on the command line is: an integer or a double if it is written as one, otherwise text.
fn guess(text: &str) -> Value {
    if let Ok(integer) = text.parse::<i64>()
        && integer.to_string() == text
    {
        return Value::Integer(integer);
    }
    let looks_decimal = text.contains(['.', 'e', 'E'])
        && text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(value) if looks_decimal && value.is_finite() => Value::Real(value),
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_are_written_as() {
        let cases = [
            ("42", Value::Integer(42)),
            ("-1", Value::Integer(-1)),
            ("0.5", Value::Real(0.5)),
            ("1e3", Value::Real(1000.0)),
            ("007", "007".into()),
            ("+1", "+1".into()),
            ("1.", "1.".into()),
            ("inf", "inf".into()),
            ("1e999", "1e999".into()),
            ("9223372036854775808", "9223372036854775808".into()),
            ("", "".into()),
        ];
        for (text, expected) in cases {
            assert_eq!(guess(text), expected, "{text}");
        }
    }
}
