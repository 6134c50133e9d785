//! `twill export URL FILE`.
//!
//! Invariants:
//! 1. FILE is complete or what it was before: it is written beside under a hidden name, synced, and renamed.
//! 2. All of it is of one snapshot.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use twill_engine::{Connection, Mode, Value, file_url};

use super::import::separator;
use crate::dump::{Dump, IS_USERS, each_row, in_snapshot, query};
use crate::failure::Failure;
use crate::interrupt::{Interrupts, Work};
use crate::output::{Format, Look};
use crate::place::{self, NewFile, Opened};
use crate::progress::Progress;
use crate::session::written;
use crate::{literal, whole};

/// Write the database, or tables of it, to files
///
/// sqlite: an SQLite database file. sql: a dump, which any SQLite reads. csv, tsv and jsonl: one table (--table) to FILE; or
/// each table to a file of its own in the directory FILE, which is made. FILE is written completely or not at all. The
/// database is not changed.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The database
    url: String,
    /// The file, or for several tables the directory; - is standard output
    file: PathBuf,
    /// What to write; otherwise the file's name tells
    #[arg(long, short = 'f', value_enum)]
    format: Option<Kind>,
    /// Only this table or view; may be given several times
    #[arg(long, short = 't')]
    table: Vec<String>,
    /// What stands for NULL in csv and tsv
    #[arg(long, value_name = "TEXT", default_value = "")]
    null: String,
    /// The character between fields
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// Leave out the line with the columns' names
    #[arg(long)]
    no_header: bool,
    /// Overwrite the file
    #[arg(long)]
    force: bool,
    /// Show no progress and no count
    #[arg(long, short = 'q')]
    quiet: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sqlite,
    Sql,
    Csv,
    Tsv,
    Jsonl,
}

impl Kind {
    const fn ending(self) -> &'static str {
        match self {
            Self::Sqlite => "db",
            Self::Sql => "sql",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
        }
    }
}

impl Export {
    pub(super) fn run(&self, interrupts: &Interrupts) -> Result<(), Failure> {
        let kind = self.kind()?;
        if kind == Kind::Sqlite && (!self.table.is_empty() || self.is_stdout()) {
            return Err(Failure::Usage(
                "an SQLite file holds the whole database, and is not written to -".to_owned(),
            ));
        }
        let from = Opened::with_mode(&self.url, Mode::ReadOnly)?;
        if let (Some(path), Ok(target)) = (from.database.path(), self.file.canonicalize())
            && path == target
        {
            return Err(Failure::Usage("the file is the database itself".to_owned()));
        }
        let work = interrupts.work([from.connection.interrupt_handle()]);
        let outcome = self.export(&from.connection, kind, &work);
        let is_interrupted = work.is_interrupted();
        drop(work);
        let done = outcome.map_err(|failure| if is_interrupted { Failure::Interrupted } else { failure })?;
        from.close()?;
        if !self.quiet {
            eprintln!("{done}");
        }
        Ok(())
    }

    fn is_stdout(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    fn shown(&self) -> String {
        if self.is_stdout() { "standard output".to_owned() } else { self.file.display().to_string() }
    }

    fn kind(&self) -> Result<Kind, Failure> {
        if let Some(kind) = self.format {
            return Ok(kind);
        }
        let ending = self.file.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("db" | "sqlite" | "sqlite3") => Ok(Kind::Sqlite),
            Some("sql") => Ok(Kind::Sql),
            Some("csv") => Ok(Kind::Csv),
            Some("tsv" | "tab") => Ok(Kind::Tsv),
            Some("jsonl" | "ndjson") => Ok(Kind::Jsonl),
            _ => Err(Failure::Usage(format!(
                "what to write cannot be told from the name {}: add --format sqlite, sql, csv, tsv or jsonl",
                self.file.display()
            ))),
        }
    }

    fn export(&self, connection: &Connection, kind: Kind, work: &Work) -> Result<String, Failure> {
        match kind {
            Kind::Sqlite => self.export_database(connection, work),
            Kind::Sql => self.export_dump(connection, work),
            Kind::Csv | Kind::Tsv | Kind::Jsonl => self.export_tables(connection, kind, work),
        }
    }

    fn export_database(&self, connection: &Connection, work: &Work) -> Result<String, Failure> {
        let file = NewFile::beside(&self.file, self.force)?;
        let made = file.path();
        let parent = place::parent_of(&made).canonicalize();
        let parent = parent.map_err(|error| Failure::io("making a temporary directory", error))?;
        let url = format!("{}?synchronous=off", file_url(&parent.join("new")));
        let copy = Opened::with_mode(&url, Mode::ReadWriteCreate)?;
        work.also(copy.connection.interrupt_handle());
        let progress = Progress::of_items("exporting pages", Some(0), self.quiet);
        whole::copy(connection, &copy.connection, work, &progress)?;
        drop(progress);
        // Closing moves everything out of the log; the file is synced before it gets its name.
        copy.close()?;
        file.finish()?;
        Ok(format!("wrote {}", self.file.display()))
    }

    fn export_dump(&self, connection: &Connection, work: &Work) -> Result<String, Failure> {
        let tables = self.table.iter().map(|table| like(table)).collect::<Vec<_>>();
        for table in &self.table {
            check_exists(connection, table)?;
        }
        let dump = Dump { connection, work, patterns: &tables };
        let progress = Progress::of_items("exporting rows", None, self.quiet);
        let mut count = 0;
        let mut counting = |rows| {
            count = rows;
            progress.at(rows);
        };
        self.write_file(|out| dump.write(out, &mut counting))?;
        Ok(format!("wrote {count} rows to {}", self.shown()))
    }

    fn export_tables(&self, connection: &Connection, kind: Kind, work: &Work) -> Result<String, Failure> {
        let look = self.look(kind);
        if let [table] = self.table.as_slice() {
            check_exists(connection, table)?;
            let mut count = 0;
            self.write_file(|out| {
                count = write_table(connection, table, &look, work, self.quiet, out)?;
                Ok(())
            })?;
            return Ok(format!("wrote {count} rows to {}", self.shown()));
        }
        if self.is_stdout() {
            return Err(Failure::Usage("one table goes to standard output: add --table NAME".to_owned()));
        }
        let tables = if self.table.is_empty() { tables(connection)? } else { self.table.clone() };
        if self.file.extension().is_some() && !self.file.is_dir() && tables.len() != 1 {
            return Err(Failure::Usage(format!(
                "{} would be a directory with a file for each of {} tables: choose one with --table, or give a name \
                 without an ending and --format {}",
                self.file.display(),
                tables.len(),
                kind.ending()
            )));
        }
        if let [only] = tables.as_slice()
            && self.file.extension().is_some()
        {
            let mut count = 0;
            self.write_file(|out| {
                count = write_table(connection, only, &look, work, self.quiet, out)?;
                Ok(())
            })?;
            return Ok(format!("wrote {count} rows of {only} to {}", self.file.display()));
        }
        self.export_directory(connection, &tables, kind, &look, work)
    }

    fn export_directory(
        &self,
        connection: &Connection,
        tables: &[String],
        kind: Kind,
        look: &Look,
        work: &Work,
    ) -> Result<String, Failure> {
        let directory = NewFile::beside(&self.file, false)?;
        let made = directory.path();
        fs::create_dir(&made).map_err(|error| Failure::io("making a directory", error))?;
        let count = in_snapshot(connection, || {
            let mut count = 0;
            for table in tables {
                check_exists(connection, table)?;
                let path = made.join(format!("{}.{}", file_name(table), kind.ending()));
                let failed = |error| Failure::io(format!("writing {}", path.display()), error);
                let mut out = BufWriter::new(File::create_new(&path).map_err(failed)?);
                count += write_table(connection, table, look, work, self.quiet, &mut out)?;
                out.flush().map_err(failed)?;
            }
            Ok(count)
        })?;
        directory.finish()?;
        Ok(format!("wrote {count} rows of {} tables to {}", tables.len(), self.file.display()))
    }

    fn look(&self, kind: Kind) -> Look {
        Look {
            format: match kind {
                Kind::Jsonl => Format::Jsonl,
                Kind::Tsv => Format::Tabs,
                Kind::Csv | Kind::Sql | Kind::Sqlite => Format::Csv,
            },
            headers: Some(!self.no_header),
            null: Some(self.null.clone()),
            separator: self.separator.map(|byte| char::from(byte).to_string()),
            ..Look::default()
        }
    }

    /// Writes a file that is complete or not there, or standard output.
    fn write_file(&self, write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
        if self.is_stdout() {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut out)?;
            return out.flush().map_err(written);
        }
        let file = NewFile::beside(&self.file, self.force)?;
        let failed = |error| Failure::io(format!("writing {}", self.file.display()), error);
        let mut out = BufWriter::with_capacity(256 * 1024, File::create_new(file.path()).map_err(failed)?);
        write(&mut out)?;
        out.flush().map_err(failed)?;
        drop(out);
        file.finish()
    }
}

fn write_table(
    connection: &Connection,
    table: &str,
    look: &Look,
    work: &Work,
    is_quiet: bool,
    out: &mut dyn Write,
) -> Result<u64, Failure> {
    let sql = format!("SELECT * FROM {}", literal::name(table));
    let statement = connection.prepare(&sql).map_err(|error| Failure::statement(error, &sql))?;
    let columns: Vec<String> = statement.columns().iter().map(|column| column.name.clone()).collect();
    let progress = Progress::of_items(table, None, is_quiet);
    let mut sheet = look.begin(&columns, out).map_err(written)?;
    let mut count = 0;
    each_row(connection, work, &sql, |cells| {
        count += 1;
        progress.at(count);
        sheet.row(cells)
    })?;
    sheet.end().map_err(written)?;
    Ok(count)
}

/// The user's tables.
fn tables(connection: &Connection) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT name FROM pragma_table_list AS listed WHERE schema = 'main' AND type IN ('table', 'virtual') AND \
         {IS_USERS} ORDER BY name"
    );
    Ok(query(connection, &sql)?
        .into_iter()
        .flatten()
        .filter_map(|value| if let Value::Text(name) = value { Some(name) } else { None })
        .collect())
}

fn check_exists(connection: &Connection, table: &str) -> Result<(), Failure> {
    let sql = format!(
        "SELECT 1 FROM sqlite_schema WHERE name = {} COLLATE NOCASE AND type IN ('table', 'view')",
        literal::quoted(table)
    );
    match query(connection, &sql)?.is_empty() {
        false => Ok(()),
        true => Err(Failure::Refused(format!("there is no table or view {table}"))),
    }
}

/// The pattern of exactly one name.
fn like(table: &str) -> String {
    table.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// A table's name as a file's name.
fn file_name(table: &str) -> String {
    let mut name = String::new();
    for character in table.chars() {
        match character {
            '/' | '\0' | '%' | '\\' => name.push_str(&format!("%{:02X}", u32::from(character))),
            '.' if name.is_empty() => name.push_str("%2E"),
            _ => name.push(character),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_of_tables_become_names_of_files() {
        for (table, file) in
            [("city", "city"), ("a/b", "a%2Fb"), ("..", "%2E."), ("50%", "50%25"), ("é", "é")]
        {
            assert_eq!(file_name(table), file);
            assert!(Path::new(&file_name(table)).components().count() == 1);
        }
    }
}
