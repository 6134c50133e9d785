//! Dot commands. Names and meanings are the stock shell's where it has them.
//!
//! Invariants:
//! 1. A command that is not in [`COMMANDS`] is an error that names it; so is an argument that is missing, too many, or not
//!    understood. The beginning of a name is enough where only one command begins so.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum as _;

use super::{Next, Running, tables};
use crate::commands::import::separator;
use crate::dump::Dump;
use crate::failure::Failure;
use crate::load::{self, Existing, Layout, SeparatedRows, Source, Target, Types};
use crate::output::Format;
use crate::progress::Progress;
use crate::session::written;

/// A command of the table.
pub(super) struct Command {
    pub(super) name: &'static str,
    arguments: &'static str,
    help: &'static str,
}

const fn command(name: &'static str, arguments: &'static str, help: &'static str) -> Command {
    Command { name, arguments, help }
}

/// Every dot command.
pub(super) const COMMANDS: &[Command] = &[
    command("changes", "on|off", "Tell how many rows each statement changed"),
    command("databases", "", "List the databases that are attached"),
    command("dump", "?TABLE? ...", "Write the database, or tables LIKE TABLE, as SQL"),
    command("exit", "?CODE?", "Leave, with an exit code"),
    command("headers", "on|off", "Name the columns of results"),
    command("help", "?COMMAND?", "Show this text"),
    command(
        "import",
        "?--csv|--tabs? ?--skip N? FILE TABLE",
        "Load a csv file into a table; \"\" is text, nothing is NULL",
    ),
    command("indexes", "?TABLE?", "List indexes, of tables LIKE TABLE"),
    command("mode", "?MODE? ?TABLE?", "How results are written; insert takes the table's name"),
    command("nullvalue", "TEXT", "What stands for NULL"),
    command("once", "FILE", "Send the next result to a file"),
    command("output", "?FILE?", "Send results to a file; without one, to the terminal"),
    command("print", "TEXT ...", "Write text"),
    command("quit", "", "Leave"),
    command("read", "FILE", "Run the statements and commands of a file"),
    command("schema", "?NAME?", "Show the SQL that made tables, indexes, views and triggers LIKE NAME"),
    command("separator", "CHARACTER", "What lies between the values of list, csv and tabs"),
    command("show", "", "Show the settings"),
    command("tables", "?TABLE?", "List tables and views LIKE TABLE"),
    command("timer", "on|off", "Tell how long each statement took"),
];

impl Running {
    /// Runs a command with its dot.
    pub(super) fn command(&mut self, text: &str) -> Result<Next, Failure> {
        let words = words(text.trim_start_matches('.'))?;
        let mut words = words.iter().map(String::as_str);
        let given = words.next().unwrap_or_default();
        let name = find(given)?.name;
        let arguments: Vec<&str> = words.collect();
        match (name, arguments.as_slice()) {
            ("quit", []) => return Ok(Next::Leave(0)),
            ("exit", rest @ ([] | [_])) => {
                return rest.first().map_or(Ok(0), |code| exit_code(code)).map(Next::Leave);
            }
            ("read", [file]) => return self.read_file(file),
            ("changes", [word]) => self.session.changes = is_on(name, word)?,
            ("timer", [word]) => self.session.timer = is_on(name, word)?,
            ("headers", [word]) => self.session.look.headers = Some(is_on(name, word)?),
            ("nullvalue", [word]) => self.session.look.null = Some((*word).to_owned()),
            ("separator", [word]) => {
                separator(word).map_err(|what| Failure::Usage(format!(".separator: {what}")))?;
                self.session.look.separator = Some(word.replace("\\t", "\t"));
            }
            ("mode", rest @ ([_] | [_, _])) => self.set_mode(rest)?,
            ("mode", []) => {
                self.tell(&format!("current output mode: {}", self.session.look.format.name()))?
            }
            ("output", rest @ ([] | [_])) => {
                self.is_once = false;
                self.redirect(rest.first().copied())?;
            }
            ("once", [file]) => {
                self.redirect(Some(file))?;
                return Ok(Next::ReadOnce);
            }
            ("print", words) => self.tell(&words.join(" "))?,
            ("help", rest @ ([] | [_])) => self.help(rest.first().copied())?,
            ("show", []) => self.show()?,
            ("tables", rest @ ([] | [_])) => self.look_at(rest, tables::tables)?,
            ("indexes", rest @ ([] | [_])) => self.look_at(rest, tables::indexes)?,
            ("schema", rest @ ([] | [_])) => self.look_at(rest, tables::schema)?,
            ("databases", []) => tables::databases(&self.session.connection, &mut *self.output.writer)?,
            ("dump", patterns) => self.dump(patterns)?,
            ("import", arguments) => self.import(arguments)?,
            _ => return Err(usage(name)),
        }
        Ok(Next::Read)
    }

    fn tell(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.output.writer, "{text}").map_err(written)
    }

    fn look_at(
        &mut self,
        arguments: &[&str],
        look: fn(&twill_engine::Connection, Option<&str>, &mut dyn Write) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        look(&self.session.connection, arguments.first().copied(), &mut *self.output.writer)
    }

    fn set_mode(&mut self, arguments: &[&str]) -> Result<(), Failure> {
        let (word, table) = (arguments.first().copied().unwrap_or_default(), arguments.get(1));
        let format = Format::from_str(word, true).map_err(|_| {
            let names: Vec<String> = Format::value_variants().iter().map(|format| format.name()).collect();
            Failure::Usage(format!(".mode: {word} is not one of {}", names.join(", ")))
        })?;
        match (format, table) {
            (Format::Insert, Some(table)) => self.session.look.insert_into = (*table).to_owned(),
            (_, Some(_)) => return Err(usage("mode")),
            (_, None) => {}
        }
        self.session.look.format = format;
        self.session.look.separator = None;
        Ok(())
    }

    fn help(&mut self, about: Option<&str>) -> Result<(), Failure> {
        let name =
            about.map(|about| find(about.trim_start_matches('.')).map(|command| command.name)).transpose()?;
        for command in COMMANDS.iter().filter(|command| name.is_none_or(|name| name == command.name)) {
            let synopsis = format!(".{} {}", command.name, command.arguments);
            self.tell(&format!("{:<28} {}", synopsis.trim_end(), command.help))?;
        }
        Ok(())
    }

    fn show(&mut self) -> Result<(), Failure> {
        let on = |flag: bool| if flag { "on" } else { "off" };
        let look = &self.session.look;
        let output = self.output.name.as_ref().map_or("stdout".to_owned(), |name| name.display().to_string());
        let text = [
            ("database", self.session.database.url().to_owned()),
            ("changes", on(self.session.changes).to_owned()),
            ("headers", on(look.has_headers()).to_owned()),
            ("mode", look.format.name()),
            ("nullvalue", format!("\"{}\"", look.null_text())),
            ("output", output),
            ("timer", on(self.session.timer).to_owned()),
        ]
        .map(|(name, value)| format!("{name:>12}: {value}"))
        .join("\n");
        self.tell(&text)
    }

    fn dump(&mut self, patterns: &[&str]) -> Result<(), Failure> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let work = self.session.work();
        let dump = Dump { connection: &self.session.connection, work: &work, patterns: &patterns };
        dump.write(&mut *self.output.writer, &mut |_| {})
    }

    fn import(&mut self, arguments: &[&str]) -> Result<(), Failure> {
        let mut separator = b',';
        let mut skip = 0;
        let mut rest = arguments;
        let (file, table) = loop {
            match rest {
                ["--csv", after @ ..] => rest = after,
                ["--tabs", after @ ..] => {
                    separator = b'\t';
                    rest = after;
                }
                ["--skip", count, after @ ..] => {
                    skip = count.parse().map_err(|_| usage("import"))?;
                    rest = after;
                }
                [file, table] if !file.starts_with("--") => break (*file, *table),
                _ => return Err(usage("import")),
            }
        };
        let connection = &self.session.connection;
        let existing = load::table_columns(connection, table)?;
        // As in the stock shell: the first line names the columns of a new table, and is a row for one that exists.
        let columns = (!existing.is_empty()).then(|| existing.into_iter().map(|(name, _)| name).collect());
        let source = Source::open(Path::new(file))?;
        let progress = Progress::of_bytes("importing", source.len(), false);
        let layout = Layout { separator, has_header: columns.is_none(), columns, null: String::new(), skip };
        let target = Target {
            table: table.to_owned(),
            types: Types::Infer,
            chosen: Vec::new(),
            existing: Existing::Append,
        };
        let work = self.session.work();
        load::load(connection, &mut SeparatedRows::open(source, layout)?, &target, &work, &progress).map(drop)
    }
}

/// The command that a name, or the beginning of one, means.
fn find(given: &str) -> Result<&'static Command, Failure> {
    if let Some(exact) = COMMANDS.iter().find(|command| command.name == given) {
        return Ok(exact);
    }
    let candidates: Vec<&Command> =
        COMMANDS.iter().filter(|command| !given.is_empty() && command.name.starts_with(given)).collect();
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => Err(Failure::Usage(format!("unknown command .{given}; .help lists them"))),
        several => {
            let names: Vec<String> = several.iter().map(|command| format!(".{}", command.name)).collect();
            Err(Failure::Usage(format!(".{given} may be {}", names.join(" or "))))
        }
    }
}

fn usage(name: &str) -> Failure {
    let arguments =
        COMMANDS.iter().find(|command| command.name == name).map_or("", |command| command.arguments);
    Failure::Usage(format!("usage: .{name} {arguments}").trim_end().to_owned())
}

fn is_on(name: &str, word: &str) -> Result<bool, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" => Ok(true),
        "off" | "no" | "false" | "0" => Ok(false),
        _ => Err(usage(name)),
    }
}

fn exit_code(text: &str) -> Result<u8, Failure> {
    text.parse().map_err(|_| usage("exit"))
}

/// The words of a command: separated by blanks, in quotes where they hold some. In double quotes a backslash takes the next
/// character as it is, and `\n`, `\r` and `\t` are what C says.
fn words(text: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = characters.next() else { return Ok(words) };
        let mut word = String::new();
        if !matches!(first, '\'' | '"') {
            word.push(first);
            while let Some(character) = characters.next_if(|c| !c.is_whitespace()) {
                word.push(character);
            }
            words.push(word);
            continue;
        }
        loop {
            match characters.next() {
                None => return Err(Failure::Usage(format!("a quote is not closed: {text}"))),
                Some(quote) if quote == first => break,
                Some('\\') if first == '"' => word.push(match characters.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(other) => other,
                    None => '\\',
                }),
                Some(character) => word.push(character),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_fall_into_words() {
        let cases: [(&str, &[&str]); 5] = [
            ("mode csv", &["mode", "csv"]),
            ("  read   'my file.sql' ", &["read", "my file.sql"]),
            (r#"nullvalue "a \"b\"\t\\""#, &["nullvalue", "a \"b\"\t\\"]),
            (r"nullvalue 'a\b'", &["nullvalue", r"a\b"]),
            ("nullvalue ''", &["nullvalue", ""]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert!(words("read 'open").is_err());
    }

    #[test]
    fn beginnings_are_enough_where_they_are_clear() {
        assert_eq!(find("ta").unwrap().name, "tables");
        assert_eq!(find("q").unwrap().name, "quit");
        let message = |given| find(given).err().unwrap().to_string();
        assert_eq!(message("he"), ".he may be .headers or .help");
        assert_eq!(message("bogus"), "unknown command .bogus; .help lists them");
        assert_eq!(message(""), "unknown command .; .help lists them");
    }

    #[test]
    fn the_table_of_commands_is_sorted() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.name < b.name));
    }
}
