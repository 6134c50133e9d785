//! `twill import FILE URL`.
//!
//! Invariants:
//! 1. An import that fails or is interrupted changes nothing: rows go in by one transaction; a dump or an SQLite file
//!    becomes the database by one commit, after all of it was read. A database that did not exist before is removed
//!    again.
//! 2. What exists is refused unless --append or --force says otherwise.
//!
//! On a crash the same holds, but a new, empty file may stay, and a hidden directory `.twill-…` beside the database.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use twill_engine::{Mode, file_url};

use crate::failure::Failure;
use crate::input::Script;
use crate::interrupt::{Interrupts, Work};
use crate::load::{self, Existing, JsonRows, Layout, SeparatedRows, Source, Target, Types};
use crate::place::{self, Opened};
use crate::progress::Progress;
use crate::whole;

/// Load a CSV, JSON Lines or SQL file, or an SQLite database
///
/// Rows (csv, tsv, jsonl) go into one table, which is made if it does not exist. A dump (sql) or an SQLite database
/// becomes the whole content of the database, which must be empty. All of it or nothing: an import that fails or is
/// interrupted changes nothing.
///
/// In csv and tsv a field that is empty and not quoted is NULL, and "" is the empty text.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file; - is standard input
    file: PathBuf,
    /// The database; it is created if it does not exist
    url: String,
    /// What the file is; otherwise its name or its first bytes tell
    #[arg(long, short = 'f', value_enum)]
    format: Option<Kind>,
    /// The table for the rows; otherwise the file's name without its ending
    #[arg(long, short = 't')]
    table: Option<String>,
    /// How a new table's columns get their types
    #[arg(long, value_enum, default_value_t)]
    types: Types,
    /// The type of one column of a new table
    #[arg(long = "type", value_name = "COLUMN=TYPE", value_parser = chosen_type)]
    chosen: Vec<(String, String)>,
    /// The names of the columns, instead of those of a csv file's first line
    #[arg(long, value_delimiter = ',', value_name = "NAME,NAME…")]
    columns: Option<Vec<String>>,
    /// The first line of the csv file is a row, not the names
    #[arg(long)]
    no_header: bool,
    /// The field, not quoted, that means NULL
    #[arg(long, value_name = "TEXT", default_value = "")]
    null: String,
    /// The character between fields
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// Add to a table, or run a dump in a database, that exists
    #[arg(long, conflicts_with = "force")]
    append: bool,
    /// Replace a table, or a database's content, that exists
    #[arg(long)]
    force: bool,
    /// Show no progress and no count
    #[arg(long, short = 'q')]
    quiet: bool,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Csv,
    Tsv,
    Jsonl,
    Sql,
    Sqlite,
}

fn chosen_type(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, declared))
            if !column.is_empty()
                && declared
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '(' | ')' | ',')) =>
        {
            Ok((column.to_owned(), declared.to_owned()))
        }
        _ => Err("write COLUMN=TYPE, such as id=INTEGER".to_owned()),
    }
}

/// One byte that can lie between fields.
pub(super) fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("write one ASCII character, or \\t".to_owned()),
    }
}

impl Import {
    pub(super) fn run(&self, interrupts: &Interrupts) -> Result<(), Failure> {
        let source = Source::open(&self.file)?;
        let kind = self.kind(&source)?;
        let destination = Opened::as_url_says(&self.url)?;
        let work = interrupts.work([destination.connection.interrupt_handle()]);
        match self.load(source, kind, &destination, &work) {
            Ok(done) => {
                drop(work);
                destination.close()?;
                if !self.quiet {
                    eprintln!("{done}");
                }
                Ok(())
            }
            Err(failure) => {
                drop(destination);
                // SIGINT may have arrived in the middle of anything that then failed.
                Err(if work.is_interrupted() { Failure::Interrupted } else { failure })
            }
        }
    }

    fn kind(&self, source: &Source) -> Result<Kind, Failure> {
        if let Some(kind) = self.format {
            return Ok(kind);
        }
        if source.is_sqlite()? {
            return Ok(Kind::Sqlite);
        }
        let ending = self.file.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("csv") => Ok(Kind::Csv),
            Some("tsv" | "tab") => Ok(Kind::Tsv),
            Some("jsonl" | "ndjson") => Ok(Kind::Jsonl),
            Some("sql") => Ok(Kind::Sql),
            _ => Err(Failure::Usage(format!(
                "what {} is cannot be told from its name: add --format csv, tsv, jsonl, sql or sqlite",
                source.name()
            ))),
        }
    }

    fn load(&self, source: Source, kind: Kind, to: &Opened, work: &Work) -> Result<String, Failure> {
        match kind {
            Kind::Csv | Kind::Tsv => {
                let layout = Layout {
                    separator: self.separator.unwrap_or(if kind == Kind::Tsv { b'\t' } else { b',' }),
                    has_header: !self.no_header,
                    columns: self.columns.clone(),
                    null: self.null.clone(),
                    skip: 0,
                };
                let length = source.len();
                self.load_rows(&mut SeparatedRows::open(source, layout)?, length, to, work)
            }
            Kind::Jsonl => {
                let length = source.len();
                self.load_rows(&mut JsonRows::open(source)?, length, to, work)
            }
            Kind::Sql if self.append => self.append_script(&source, to, work),
            Kind::Sql => self.load_script(&source, to, work),
            Kind::Sqlite => self.load_database(to, work),
        }
    }

    fn load_rows(
        &self,
        rows: &mut dyn load::Rows,
        length: Option<u64>,
        to: &Opened,
        work: &Work,
    ) -> Result<String, Failure> {
        let existing = match (self.append, self.force) {
            (true, _) => Existing::Append,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        };
        let target =
            Target { table: self.table()?, types: self.types, chosen: self.chosen.clone(), existing };
        let progress = Progress::of_bytes("importing", length, self.quiet);
        let count = load::load(&to.connection, rows, &target, work, &progress)?;
        let plural = if count == 1 { "" } else { "s" };
        Ok(format!("imported {count} row{plural} into {}", target.table))
    }

    fn table(&self) -> Result<String, Failure> {
        let stem = || self.file.file_stem().filter(|_| self.file.as_os_str() != "-");
        match self.table.clone().or_else(|| stem().map(|stem| stem.to_string_lossy().into_owned())) {
            Some(table) if !table.is_empty() => Ok(table),
            _ => Err(Failure::Usage("name the table: --table NAME".to_owned())),
        }
    }

    /// Runs the script in a database of its own, which then becomes the content of ours.
    fn load_script(&self, source: &Source, to: &Opened, work: &Work) -> Result<String, Failure> {
        self.refuse_if_filled(to)?;
        let directory = scratch(to)?;
        let path = directory.path().canonicalize().unwrap_or_else(|_| directory.path().to_owned());
        let url = format!("{}?synchronous=off", file_url(&path.join("new")));
        let made = Opened::with_mode(&url, Mode::ReadWriteCreate)?;
        let connection = &made.connection;
        work.also(connection.interrupt_handle());
        connection.execute("PRAGMA foreign_keys = OFF", ()).map_err(|error| Failure::statement(error, ""))?;
        let count = {
            let progress = Progress::of_bytes("importing", source.len(), self.quiet);
            let mut script = Script::new(source.reader()?, source.name(), false);
            load::run_script(connection, &mut script, false, work, &progress)?
        };
        let progress = Progress::of_items("storing pages", Some(0), self.quiet);
        whole::copy(connection, &to.connection, work, &progress)?;
        made.close()?;
        Ok(format!("ran {count} statements of {}", source.name()))
    }

    /// Runs the script inside one transaction of the database.
    fn append_script(&self, source: &Source, to: &Opened, work: &Work) -> Result<String, Failure> {
        let connection = &to.connection;
        let failed = |error| Failure::statement(error, "");
        connection.execute("PRAGMA foreign_keys = OFF", ()).map_err(failed)?;
        let progress = Progress::of_bytes("importing", source.len(), self.quiet);
        let mut script = Script::new(source.reader()?, source.name(), false);
        let count = load::atomically(connection, || {
            let count = load::run_script(connection, &mut script, true, work, &progress)?;
            match crate::dump::query(connection, "PRAGMA foreign_key_check")?.len() {
                0 => Ok(count),
                orphans => Err(Failure::Refused(format!(
                    "{orphans} rows would have no parent: foreign_key_check of the result fails"
                ))),
            }
        })?;
        Ok(format!("ran {count} statements of {}", source.name()))
    }

    fn load_database(&self, to: &Opened, work: &Work) -> Result<String, Failure> {
        if self.append {
            return Err(Failure::Usage(
                "an SQLite database cannot be appended; export its tables first".to_owned(),
            ));
        }
        if self.file.as_os_str() == "-" {
            return Err(Failure::Usage("an SQLite database must be a file, not standard input".to_owned()));
        }
        self.refuse_if_filled(to)?;
        let path = self
            .file
            .canonicalize()
            .map_err(|error| Failure::File { path: self.file.display().to_string(), error })?;
        if to.database.path() == Some(path.as_path()) {
            return Err(Failure::Usage("the file is the database itself".to_owned()));
        }
        let from = Opened::with_mode(&file_url(&path), Mode::ReadOnly)?;
        work.also(from.connection.interrupt_handle());
        let progress = Progress::of_items("importing pages", Some(0), self.quiet);
        whole::copy(&from.connection, &to.connection, work, &progress)?;
        from.close()?;
        Ok(format!("imported the database {}", self.file.display()))
    }

    fn refuse_if_filled(&self, to: &Opened) -> Result<(), Failure> {
        if self.force || whole::is_empty(&to.connection)? {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "{} is not empty; --force replaces all of it{}",
            to.database.url(),
            if self.file.extension().is_some_and(|ending| ending == "sql") {
                ", --append adds to it"
            } else {
                ""
            }
        )))
    }
}

/// A directory for a database that is being made, on the disk of the one it is for where that is known.
fn scratch(beside: &Opened) -> Result<tempfile::TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".twill-");
    let made = match beside.database.path() {
        Some(path) => builder.tempdir_in(place::parent_of(path)),
        None => builder.tempdir(),
    };
    made.map_err(|error| Failure::io("making a temporary directory", error))
}
