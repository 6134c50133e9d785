//! SQL text in pieces: statements one by one from a file, a pipe or the command line, and dot commands where they are
//! taken.
//!
//! Invariants:
//! 1. A statement is handed out as soon as its last line was read, so a program at the other end of a pipe is answered; one
//!    of more than 64 KiB at the latest when the text has grown by half, or ends.
//! 2. So time is linear in the length of the text, also for one statement of a million lines.
//! 3. A dot command begins a line where no statement has begun, as in the stock shell.
//!
//! It refuses text that is not UTF-8, by line.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use twill_engine::{is_blank, statement_end};

use crate::failure::Failure;

/// A piece of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// One statement, complete or the last of the text.
    Statement(String),
    /// A dot command with its dot, without its line's end.
    Command(String),
}

/// Reads a script.
pub(crate) struct Script<R> {
    input: R,
    /// What the text is called in messages.
    origin: String,
    takes_commands: bool,
    pending: Vec<u8>,
    /// The line where `pending` begins.
    pending_line: u64,
    next_line: u64,
    /// `pending` is not looked through before it is this long.
    look_again_at: usize,
    ready: VecDeque<(Piece, u64)>,
    bytes_read: u64,
    ended: bool,
}

impl<R: BufRead> Script<R> {
    pub(crate) fn new(input: R, origin: impl Into<String>, takes_commands: bool) -> Self {
        Self {
            input,
            origin: origin.into(),
            takes_commands,
            pending: Vec::new(),
            pending_line: 1,
            next_line: 1,
            look_again_at: 0,
            ready: VecDeque::new(),
            bytes_read: 0,
            ended: false,
        }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next piece and the line it begins on, counted from 1; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(Piece, u64)>, Failure> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            self.read_line()?;
        }
    }

    fn read_line(&mut self) -> Result<(), Failure> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let before = self.pending.len();
        let read = self
            .input
            .read_until(b'\n', &mut self.pending)
            .map_err(|error| Failure::io(format!("reading {}", self.origin), error))?;
        self.bytes_read += u64::try_from(read).unwrap_or(u64::MAX);
        if self.next_line == 1 && self.pending.starts_with(BYTE_ORDER_MARK) {
            self.pending.drain(..BYTE_ORDER_MARK.len());
        }
        let line_number = self.next_line;
        self.next_line += 1;
        if read == 0 {
            self.ended = true;
            self.split()?;
            let rest = std::mem::take(&mut self.pending);
            return self.hand_out(&rest, self.pending_line);
        }
        let line = self.pending.get(before..).unwrap_or_default();
        if before == 0 {
            self.pending_line = line_number;
            if self.takes_commands && line.starts_with(b".") {
                let line = std::mem::take(&mut self.pending);
                let text = self.utf8(&line, line_number)?.trim_end().to_owned();
                self.ready.push_back((Piece::Command(text), line_number));
                return Ok(());
            }
        }
        if line.contains(&b';') && self.pending.len() >= self.look_again_at || self.is_all_blank() {
            self.split()?;
        }
        Ok(())
    }

    /// Hands out the complete statements of what was read.
    fn split(&mut self) -> Result<(), Failure> {
        const SHORT_BYTES: usize = 64 * 1024;
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        let mut line = self.pending_line;
        while let Some((statement, after)) = statement_end(rest).and_then(|end| rest.split_at_checked(end)) {
            self.hand_out(statement, line)?;
            line += newlines(statement);
            rest = after;
        }
        self.pending_line = line;
        self.pending = rest.to_vec();
        if self.is_all_blank() {
            self.pending.clear();
        }
        self.look_again_at = match self.pending.len() {
            length if length < SHORT_BYTES => 0,
            length => length + length / 2,
        };
        Ok(())
    }

    /// Whether nothing has begun that goes on: no statement and no comment.
    fn is_all_blank(&self) -> bool {
        const LOOKED_AT_BYTES: usize = 64 * 1024;
        if self.pending.len() > LOOKED_AT_BYTES {
            return false;
        }
        // In an open comment, the next word would be blank, too.
        let text = String::from_utf8_lossy(&self.pending);
        is_blank(&text) && !is_blank(&format!("{text}x"))
    }

    fn hand_out(&mut self, statement: &[u8], line: u64) -> Result<(), Failure> {
        let text = self.utf8(statement, line)?;
        if !is_blank(text) {
            let trimmed = text.trim_start();
            let skipped = newlines(text.as_bytes()) - newlines(trimmed.as_bytes());
            let piece = Piece::Statement(trimmed.to_owned());
            self.ready.push_back((piece, line + skipped));
        }
        Ok(())
    }

    fn utf8<'t>(&self, bytes: &'t [u8], line: u64) -> Result<&'t str, Failure> {
        std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = line + newlines(before);
            Failure::io(
                format!("reading {}:{line}", self.origin),
                io::Error::new(io::ErrorKind::InvalidData, "the text is not UTF-8"),
            )
        })
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u64::MAX)
}

/// Whether an editor may hand in this text: every statement in it is complete, or it is a dot command, or nothing.
pub(crate) fn is_complete(text: &str) -> bool {
    if text.starts_with('.') {
        return true;
    }
    let mut rest = text.as_bytes();
    while let Some(after) = statement_end(rest).and_then(|end| rest.get(end..)) {
        rest = after;
    }
    let rest = String::from_utf8_lossy(rest);
    is_blank(&rest) && !is_blank(&format!("{rest}\nx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, takes_commands: bool) -> Vec<(Piece, u64)> {
        let mut script = Script::new(text.as_bytes(), "test", takes_commands);
        std::iter::from_fn(|| script.next().unwrap()).collect()
    }

    fn statement(text: &str, line: u64) -> (Piece, u64) {
        (Piece::Statement(text.to_owned()), line)
    }

    fn command(text: &str, line: u64) -> (Piece, u64) {
        (Piece::Command(text.to_owned()), line)
    }

    #[test]
    fn scripts_come_in_pieces_with_their_lines() {
        let trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\nEND;";
        let text = format!(
            "\u{feff}SELECT 1; SELECT\n2;\n\n.tables  \nSELECT 'a\n.quit\n';\n{trigger}\n/* open\n.help\n*/ -- x;\n.mode csv\nSELECT 3"
        );
        let expected = [
            statement("SELECT 1;", 1),
            statement("SELECT\n2;", 1),
            command(".tables", 4),
            statement("SELECT 'a\n.quit\n';", 5),
            statement(trigger, 8),
            command(".mode csv", 14),
            statement("SELECT 3", 15),
        ];
        assert_eq!(pieces(&text, true), expected);
        assert_eq!(pieces("", true), []);
        assert_eq!(pieces(" ;\n-- nothing", true), []);
        assert_eq!(pieces(".tables\n;", false), [statement(".tables\n;", 1)]);
    }

    #[test]
    fn a_statement_is_handed_out_before_the_next_line_is_read() {
        struct Pipe(u32);
        impl io::Read for Pipe {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                assert_eq!(self.0, 1, "read on although a statement was complete");
                into[..10].copy_from_slice(b"SELECT 1;\n");
                Ok(10)
            }
        }
        let mut script = Script::new(io::BufReader::new(Pipe(0)), "test", true);
        assert_eq!(script.next().unwrap(), Some(statement("SELECT 1;", 1)));
    }

    #[test]
    fn a_long_statement_costs_linear_time_and_what_follows_it_is_found() {
        let long = format!("SELECT '{}';", "a line; of text\n".repeat(200_000));
        let text = format!("{long}\nSELECT 2;\nSELECT 3;");
        let found: Vec<(usize, u64)> = pieces(&text, false)
            .into_iter()
            .map(|(Piece::Statement(sql) | Piece::Command(sql), line)| (sql.len(), line))
            .collect();
        assert_eq!(found, [(long.len(), 1), (9, 200_002), (9, 200_003)]);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_by_line() {
        let mut script = Script::new(b"SELECT 1;\nSELECT '\xff';\n".as_slice(), "x.sql", false);
        script.next().unwrap();
        assert!(script.next().unwrap_err().to_string().contains("x.sql:2"));
    }

    #[test]
    fn an_editor_asks_whether_more_is_to_come() {
        for complete in
            ["", "  ", "SELECT 1;", "SELECT 1; -- done", ".mode", "-- note", "BEGIN; END;", "SELECT ';';"]
        {
            assert!(is_complete(complete), "{complete}");
        }
        let trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;";
        for open in
            ["SELECT 1", "SELECT 'a;", "/* x", "SELECT 1; SELECT", "SELECT 1 -- ;", trigger, "SELECT [a;"]
        {
            assert!(!is_complete(open), "{open}");
        }
    }
}
