//! SQL text: where one statement ends and the next begins, and what a statement starts with.
//!
//! The split is the state machine of SQLite's `sqlite3_complete` (complete.c), so the semicolons inside a trigger's body
//! do not end it.
//!
//! Invariants:
//! 1. The pieces of a script, in order, are the script.
//! 2. A piece that is not blank holds exactly one statement, if the script is valid SQL.
//!
//! It refuses to judge the SQL: an unterminated string or comment runs to the end, and SQLite says what is wrong.

/// Splits off the first statement with its semicolon. The rest may be blank.
pub(crate) fn split_first(sql: &str) -> (&str, &str) {
    statement_end(sql.as_bytes()).and_then(|end| sql.split_at_checked(end)).unwrap_or((sql, ""))
}

/// Where the first statement of a text ends: behind its semicolon. `None` while it is not complete, which semicolons in
/// strings, comments and the body of a trigger do not make it. Semicolons before the statement belong to it.
///
/// ```
/// assert_eq!(twill_engine::statement_end(b"SELECT ';'; SELECT 2"), Some(11));
/// assert_eq!(twill_engine::statement_end(b"SELECT 'it''s"), None);
/// ```
#[must_use]
pub fn statement_end(bytes: &[u8]) -> Option<usize> {
    let mut state = State::Start;
    let mut at = 0;
    while at < bytes.len() {
        let (token, length) = lex(bytes.get(at..).unwrap_or_default());
        at += length;
        let was_start = state == State::Start;
        state = state.next(token);
        if token == Token::Semi && state == State::Start && !was_start {
            return Some(at);
        }
    }
    None
}

/// Whether there is nothing to run: white space, comments and semicolons only.
#[must_use]
pub fn is_blank(sql: &str) -> bool {
    skip_blank(sql).is_empty()
}

/// Whether anything but one statement is in the text.
pub(crate) fn has_second_statement(sql: &str) -> bool {
    // Most statements have no semicolon, or one at the end.
    let body = sql.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
    body.as_bytes().contains(&b';') && !is_blank(split_first(sql).1)
}

/// The first word of a statement.
pub(crate) fn first_word(sql: &str) -> &str {
    let start = skip_blank(sql);
    let end = start.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(start.len());
    start.get(..end).unwrap_or_default()
}

/// Whether the ASCII word `needle` (lower case) occurs anywhere, in any case.
pub(crate) fn mentions(sql: &str, needle: &str) -> bool {
    sql.as_bytes().windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// The text from its first token on.
pub(crate) fn skip_blank(sql: &str) -> &str {
    let bytes = sql.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let (token, length) = lex(bytes.get(at..).unwrap_or_default());
        if !matches!(token, Token::Blank | Token::Semi) {
            break;
        }
        at += length;
    }
    sql.get(at..).unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Semi,
    Blank,
    Other,
    Explain,
    Create,
    Temp,
    Trigger,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Normal,
    Explain,
    Create,
    Trigger,
    TriggerSemi,
    TriggerEnd,
}

impl State {
    const fn next(self, token: Token) -> Self {
        match (self, token) {
            (_, Token::Blank) => self,
            (Self::Trigger | Self::TriggerSemi, Token::Semi) => Self::TriggerSemi,
            (_, Token::Semi) => Self::Start,
            (Self::TriggerSemi, Token::End) => Self::TriggerEnd,
            (Self::Trigger | Self::TriggerSemi | Self::TriggerEnd, _) => Self::Trigger,
            (Self::Start, Token::Explain) => Self::Explain,
            // EXPLAIN QUERY PLAN
            (Self::Explain, Token::Other) => Self::Explain,
            (Self::Start | Self::Explain, Token::Create) => Self::Create,
            (Self::Create, Token::Temp) => Self::Create,
            (Self::Create, Token::Trigger) => Self::Trigger,
            _ => Self::Normal,
        }
    }
}

/// The token at the start of `rest`, which is not empty, and its length.
fn lex(rest: &[u8]) -> (Token, usize) {
    let until = |from: usize, end: &[u8]| {
        let tail = rest.get(from..).unwrap_or_default();
        match tail.windows(end.len()).position(|window| window == end) {
            Some(position) => from + position + end.len(),
            None => rest.len(),
        }
    };
    match rest {
        [b';', ..] => (Token::Semi, 1),
        [b' ' | b'\t' | b'\n' | b'\r' | 0x0c, ..] => (Token::Blank, 1),
        [b'-', b'-', ..] => (Token::Blank, until(2, b"\n")),
        [b'/', b'*', ..] => (Token::Blank, until(2, b"*/")),
        [b'[', ..] => (Token::Other, until(1, b"]")),
        [quote @ (b'\'' | b'"' | b'`'), ..] => (Token::Other, until(1, &[*quote])),
        [first, ..] if is_word(*first) => {
            let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
            (keyword(rest.get(..length).unwrap_or_default()), length)
        }
        _ => (Token::Other, 1),
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn keyword(word: &[u8]) -> Token {
    let is = |keyword: &[u8]| word.eq_ignore_ascii_case(keyword);
    if is(b"explain") {
        Token::Explain
    } else if is(b"create") {
        Token::Create
    } else if is(b"temp") || is(b"temporary") {
        Token::Temp
    } else if is(b"trigger") {
        Token::Trigger
    } else if is(b"end") {
        Token::End
    } else {
        Token::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut sql: &str) -> Vec<&str> {
        let mut pieces = Vec::new();
        while !sql.is_empty() {
            let (first, rest) = split_first(sql);
            pieces.push(first);
            sql = rest;
        }
        pieces
    }

    #[test]
    fn scripts_fall_into_their_statements() {
        let trigger = "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM b; END;";
        let explained = "EXPLAIN QUERY PLAN CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;";
        let cases: [(&str, &[&str]); 11] = [
            ("", &[]),
            ("SELECT 1", &["SELECT 1"]),
            ("SELECT 1;", &["SELECT 1;"]),
            ("SELECT 1; SELECT 2;", &["SELECT 1;", " SELECT 2;"]),
            (";;SELECT 1;;", &[";;SELECT 1;", ";"]),
            ("SELECT ';', \";\", `;`, [;];x", &["SELECT ';', \";\", `;`, [;];", "x"]),
            ("SELECT 'it''s;'; x", &["SELECT 'it''s;';", " x"]),
            ("-- a; b\nSELECT /* ; */ 1; /* open ;", &["-- a; b\nSELECT /* ; */ 1;", " /* open ;"]),
            (trigger, &[trigger]),
            (explained, &[explained]),
            ("BEGIN; END; SELECT 'é;'", &["BEGIN;", " END;", " SELECT 'é;'"]),
        ];
        for (sql, expected) in cases {
            assert_eq!(pieces(sql), expected, "{sql}");
            assert_eq!(pieces(sql).concat(), sql);
        }
    }

    #[test]
    fn a_statement_ends_behind_its_own_semicolon() {
        let body = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;";
        for incomplete in ["", ";;", "SELECT 1", "SELECT ';", "SELECT 1 -- ;", "/* ; */", body] {
            assert_eq!(statement_end(incomplete.as_bytes()), None, "{incomplete}");
        }
        for (complete, end) in [("SELECT 1;", 9), (";SELECT 1; x", 10), ("SELECT\n1\n; --", 10)] {
            assert_eq!(statement_end(complete.as_bytes()), Some(end), "{complete}");
        }
        let whole = format!("{body} END;");
        assert_eq!(statement_end(whole.as_bytes()), Some(whole.len()));
    }

    #[test]
    fn a_second_statement_is_seen_and_trivia_are_not_one() {
        for sql in
            ["SELECT 1", "SELECT 1;", "SELECT 1; \n;", "SELECT ';'", "SELECT 1; -- done", "-- a;\nSELECT 1"]
        {
            assert!(!has_second_statement(sql), "{sql}");
        }
        for sql in ["SELECT 1; SELECT 2", "SELECT 1;;x", "SELECT ';'; SELECT 2;"] {
            assert!(has_second_statement(sql), "{sql}");
        }
    }

    #[test]
    fn blanks_and_first_words() {
        for sql in ["", " \n", ";", "-- x", "/* x */ ; -- y\n"] {
            assert!(is_blank(sql), "{sql}");
            assert_eq!(first_word(sql), "");
        }
        assert_eq!(first_word(" /* a */ -- b\n ;insert into t"), "insert");
        assert_eq!(first_word("(select 1)"), "");
        assert!(mentions("create TEMPorary table", "temp"));
        assert!(!mentions("tem p", "temp"));
    }
}
