//! Reading from the terminal: editing, history, completion, and when input is complete.
//!
//! Invariants:
//! 1. Input is handed in when each statement in it has its semicolon, or it is a dot command; until then Enter begins a new
//!    line of the same input.
//! 2. Completion never fails loudly: a name that cannot be read is a name that is not offered.

use std::borrow::Cow;
use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use twill_engine::Value;

use super::{dot, history};
use crate::failure::Failure;
use crate::input::is_complete;
use crate::literal;
use crate::output::Format;
use crate::session::Session;

/// The terminal.
pub(super) struct Reader {
    editor: Editor<Assistant, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Reader {
    pub(super) fn open(session: &Session) -> Result<Self, Failure> {
        const HISTORY_LINES_MAX: usize = 5000;
        let failed = |error: ReadlineError| Failure::io("opening the terminal", std::io::Error::other(error));
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .map_err(failed)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant { files: FilenameCompleter::new(), names: Names::default() }));
        let history = history::file();
        if let Some(path) = &history {
            // An empty or a foreign file is a history without entries.
            let _ = editor.load_history(path);
        }
        let mut reader = Self { editor, history };
        reader.learn(session);
        Ok(reader)
    }

    /// The next input.
    pub(super) fn read(&mut self, session: &Session) -> Result<String, ReadlineError> {
        self.learn(session);
        let is_open = !session.connection.is_autocommit();
        let text = self.editor.readline(if is_open { "twill*> " } else { "twill> " })?;
        if !text.trim().is_empty() {
            self.editor.add_history_entry(text.as_str())?;
            if let Some(path) = &self.history {
                // A history that cannot be written is no reason to stop.
                let _ = self.editor.append_history(path);
            }
        }
        Ok(text)
    }

    fn learn(&mut self, session: &Session) {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.names = Names::of(session);
        }
    }
}

/// The dot command that a bare word means, as people type it who come from other shells.
pub(super) fn plain_command(text: &str) -> Option<&'static str> {
    match text.trim().trim_end_matches(';').to_ascii_lowercase().as_str() {
        "exit" | "quit" => Some(".quit"),
        "help" => Some(".help"),
        _ => None,
    }
}

/// The names of a database.
#[derive(Default)]
struct Names {
    /// Tables and views with their columns.
    tables: Vec<(String, Vec<String>)>,
    /// Indexes and triggers.
    others: Vec<String>,
}

impl Names {
    fn of(session: &Session) -> Self {
        let rows = |sql| crate::dump::query(&session.connection, sql).unwrap_or_default();
        let mut names = Self::default();
        for row in
            rows("SELECT type, name FROM sqlite_schema UNION ALL SELECT type, name FROM sqlite_temp_schema")
        {
            if let [Value::Text(kind), Value::Text(name)] = row.as_slice() {
                match kind.as_str() {
                    "table" | "view" => names.tables.push((name.clone(), Vec::new())),
                    _ => names.others.push(name.clone()),
                }
            }
        }
        for (table, columns) in &mut names.tables {
            let sql = format!("SELECT name FROM pragma_table_xinfo({})", literal::quoted(table));
            for row in crate::dump::query(&session.connection, &sql).unwrap_or_default() {
                if let [Value::Text(name)] = row.as_slice() {
                    columns.push(name.clone());
                }
            }
        }
        names.tables.push((
            "sqlite_schema".to_owned(),
            ["type", "name", "tbl_name", "sql"].map(str::to_owned).to_vec(),
        ));
        names
    }

    /// Everything that can be written for a word: `table.` names that table's columns.
    fn candidates(&self, before: &str, word: &str) -> Vec<Pair> {
        let mut found: Vec<Pair> = Vec::new();
        let mut offer = |name: &str, replacement: String| {
            let fits = name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
            if fits && !found.iter().any(|pair| pair.replacement == replacement) {
                found.push(Pair { display: name.to_owned(), replacement });
            }
        };
        if let Some(owner) = before.strip_suffix('.') {
            let start = owner.rfind(|c: char| !is_word(c)).map_or(0, |at| at + 1);
            let owner = owner.get(start..).unwrap_or_default();
            let owned = self.tables.iter().filter(|(table, _)| table.eq_ignore_ascii_case(owner));
            owned.flat_map(|(_, columns)| columns).for_each(|column| offer(column, literal::name(column)));
            return found;
        }
        for (table, _) in &self.tables {
            offer(table, literal::name(table));
        }
        for column in self.tables.iter().flat_map(|(_, columns)| columns) {
            offer(column, literal::name(column));
        }
        for name in &self.others {
            offer(name, literal::name(name));
        }
        if !word.is_empty() {
            let is_lower = word.chars().all(|c| !c.is_ascii_uppercase());
            for keyword in literal::KEYWORDS {
                let keyword = if is_lower { keyword.to_ascii_lowercase() } else { (*keyword).to_owned() };
                offer(&keyword, keyword.clone());
            }
        }
        found.sort_by(|a, b| a.display.cmp(&b.display));
        found
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What the editor asks.
struct Assistant {
    files: FilenameCompleter,
    names: Names,
}

impl Assistant {
    fn complete_command(&self, line: &str, pos: usize) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..pos).unwrap_or_default();
        let Some((command, _)) = before.split_once(' ') else {
            let fits = dot::COMMANDS
                .iter()
                .filter(|command| command.name.starts_with(before.trim_start_matches('.')));
            let pair = |command: &dot::Command| {
                let name = format!(".{}", command.name);
                Pair { display: name.clone(), replacement: name }
            };
            return Ok((0, fits.map(pair).collect()));
        };
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        let word = before.get(start..).unwrap_or_default();
        match command {
            ".read" | ".output" | ".once" => self.files.complete_path(line, pos),
            // FILE comes before TABLE.
            ".import" if before.matches(' ').count() == 1 => self.files.complete_path(line, pos),
            ".mode" => {
                use clap::ValueEnum as _;
                let names = Format::value_variants().iter().map(|format| format.name());
                let fits = names.filter(|name| name.starts_with(word));
                Ok((start, fits.map(|name| Pair { display: name.clone(), replacement: name }).collect()))
            }
            _ => Ok((start, self.names.candidates("", word))),
        }
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.starts_with('.') {
            return self.complete_command(line, pos);
        }
        let before = line.get(..pos).unwrap_or_default();
        let start = before.rfind(|c: char| !is_word(c)).map_or(0, |at| {
            at + before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
        });
        let (before, word) = before.split_at_checked(start).unwrap_or((before, ""));
        Ok((start, self.names.candidates(before, word)))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match is_complete(context.input()) || plain_command(context.input()).is_some() {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Borrowed(hint)
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(before: &str, word: &str) -> Vec<String> {
        let names = Names {
            tables: vec![
                ("city".to_owned(), vec!["name".to_owned(), "country code".to_owned()]),
                ("order".to_owned(), vec!["id".to_owned(), "city_id".to_owned()]),
            ],
            others: vec!["city_by_name".to_owned()],
        };
        names.candidates(before, word).into_iter().map(|pair| pair.replacement).collect()
    }

    #[test]
    fn names_are_offered_quoted_where_they_must_be() {
        assert_eq!(offered("SELECT * FROM ", "cit"), ["city", "city_by_name", "city_id"]);
        assert_eq!(offered("SELECT * FROM ", "ord"), ["\"order\"", "order"]);
        assert_eq!(offered("SELECT city.", ""), ["name", "\"country code\""]);
        assert_eq!(offered("", "sel"), ["select"]);
        assert_eq!(offered("", "SEL"), ["SELECT"]);
        assert_eq!(offered("SELECT nothing.", ""), [""; 0]);
    }
}
