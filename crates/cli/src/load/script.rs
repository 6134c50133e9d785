//! Running a file of SQL, such as a dump.
//!
//! Invariants:
//! 1. The first statement that fails ends the run, and the message names file and line.
//! 2. A dump that was cut off is refused: its COMMIT is missing.

use std::io::BufRead;

use twill_engine::Connection;

use crate::failure::Failure;
use crate::input::{Piece, Script};
use crate::interrupt::Work;
use crate::progress::Progress;

/// Runs every statement and answers how many. Inside a transaction of the caller's (`joins`) the script's own BEGIN and
/// COMMIT are left out.
pub(crate) fn run_script<R: BufRead>(
    connection: &Connection,
    script: &mut Script<R>,
    joins: bool,
    work: &Work,
    progress: &Progress,
) -> Result<u64, Failure> {
    let mut count = 0;
    while let Some((piece, line)) = script.next()? {
        work.check()?;
        let (Piece::Statement(sql) | Piece::Command(sql)) = piece;
        let word = first_word(&sql);
        if word.eq_ignore_ascii_case("rollback") && !sql.to_ascii_lowercase().contains(" to ") {
            return Err(Failure::Refused(format!(
                "{}:{line}: the script takes everything back (ROLLBACK): a dump ends so if it could not be finished",
                script.origin()
            )));
        }
        if joins && ["begin", "commit", "end"].iter().any(|own| word.eq_ignore_ascii_case(own)) {
            continue;
        }
        connection
            .execute(&sql, ())
            .map_err(|error| Failure::statement(error, &sql).at(script.origin(), line))?;
        progress.at(script.bytes_read());
        count += 1;
    }
    if !joins && !connection.is_autocommit() {
        return Err(Failure::Refused(format!(
            "{} ends inside a transaction: it was cut off, or its COMMIT is missing",
            script.origin()
        )));
    }
    Ok(count)
}

/// The first word of a statement that may begin with comments.
fn first_word(sql: &str) -> &str {
    let mut rest = sql.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
    loop {
        let after = match rest.get(..2) {
            Some("--") => rest.split_once('\n').map(|(_, after)| after),
            Some("/*") => rest.split_once("*/").map(|(_, after)| after),
            _ => break,
        };
        rest = after.unwrap_or_default().trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
    }
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_found_behind_comments() {
        for (sql, word) in [
            ("begin;", "begin"),
            (" -- x\n/* y */ ;COMMIT", "COMMIT"),
            ("", ""),
            ("/* open", ""),
            ("(1)", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }
}
