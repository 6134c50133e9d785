//! Rows of a file into a table, and SQL scripts into a database.
//!
//! ```text
//! survey: the whole file once, for its columns and their types ─► CREATE TABLE ─► each row once more ─► INSERT
//! ```
//!
//! Invariants:
//! 1. A load is one transaction, or one savepoint of the transaction around it: all of the file or nothing.
//! 2. No value is changed without being asked for: a column becomes INTEGER or REAL only if each of its values reads back
//!    as it was written.
//!
//! It refuses rows that do not fit the columns, naming the line; it never pads or cuts them.

mod json_rows;
mod script;
mod separated;
mod source;

use std::collections::HashSet;

use clap::ValueEnum;
use twill_engine::{Connection, Params, TransactionMode, Value, ValueRef};

pub(crate) use json_rows::JsonRows;
pub(crate) use script::run_script;
pub(crate) use separated::{Layout, SeparatedRows};
pub(crate) use source::Source;

use crate::dump::query;
use crate::failure::Failure;
use crate::interrupt::Work;
use crate::json::Read;
use crate::literal;
use crate::progress::Progress;

/// How a new table's columns get their types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Types {
    /// The narrowest type that keeps every value as it is
    #[default]
    Infer,
    /// TEXT for every column
    Text,
    /// No types: values are stored as they come
    None,
}

/// What happens to a table that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Refuse,
    Append,
    Replace,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) table: String,
    pub(crate) types: Types,
    /// Types of single columns, as they are to be declared.
    pub(crate) chosen: Vec<(String, String)>,
    pub(crate) existing: Existing,
}

/// A column of a file.
#[derive(Clone, Debug)]
pub(crate) struct SurveyedColumn {
    pub(crate) name: String,
    /// The type that keeps its values; empty: none.
    pub(crate) inferred: &'static str,
}

/// A file of rows.
pub(crate) trait Rows {
    /// Looks through the file: the columns its rows have.
    fn survey(&mut self, work: &Work, progress: &Progress) -> Result<Vec<SurveyedColumn>, Failure>;

    /// Begins to read the rows; `declared` are the types of the table's columns, in the order of the survey.
    fn begin(&mut self, declared: &[String]) -> Result<(), Failure>;

    /// The next row, a value for each column; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<Read>>, Failure>;

    /// Where the file is being read, for messages and progress.
    fn place(&self) -> Place<'_>;
}

/// Where a file is being read.
pub(crate) struct Place<'a> {
    pub(crate) origin: &'a str,
    /// The line of the row read last.
    pub(crate) line: u64,
    pub(crate) bytes: u64,
}

/// Loads rows into a table and answers how many.
pub(crate) fn load(
    connection: &Connection,
    rows: &mut dyn Rows,
    target: &Target,
    work: &Work,
    progress: &Progress,
) -> Result<u64, Failure> {
    let columns = rows.survey(work, progress)?;
    check_names(&columns, rows.place().origin)?;
    atomically(connection, || {
        let declared = prepare_table(connection, target, &columns)?;
        rows.begin(&declared)?;
        insert_all(connection, rows, target, &columns, work, progress)
    })
}

fn check_names(columns: &[SurveyedColumn], origin: &str) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for (index, column) in columns.iter().enumerate() {
        if column.name.is_empty() {
            return Err(Failure::Refused(format!(
                "{origin}: column {} has no name; give all names with --columns",
                index + 1
            )));
        }
        if !seen.insert(column.name.to_lowercase()) {
            return Err(Failure::Refused(format!(
                "{origin}: two columns are named {}; give all names with --columns",
                column.name
            )));
        }
    }
    match columns.is_empty() {
        true => {
            Err(Failure::Refused(format!("{origin}: there are no columns, so there is nothing to import")))
        }
        false => Ok(()),
    }
}

/// Makes the table where it must be made, and answers the declared types of the file's columns.
fn prepare_table(
    connection: &Connection,
    target: &Target,
    columns: &[SurveyedColumn],
) -> Result<Vec<String>, Failure> {
    let table = &target.table;
    let existing = table_columns(connection, table)?;
    if let Some((name, _)) =
        target.chosen.iter().find(|(name, _)| !columns.iter().any(|column| column.name == *name))
    {
        return Err(Failure::Usage(format!("--type {name}=…: the file has no column {name}")));
    }
    match (existing.is_empty(), target.existing) {
        (false, Existing::Refuse) => {
            return Err(Failure::Refused(format!(
                "the table {table} exists; --append adds to it, --force replaces it"
            )));
        }
        (false, Existing::Append) => return declared_types(&existing, target, columns),
        (false, Existing::Replace) => run(connection, &format!("DROP TABLE {}", literal::name(table)))?,
        (true, _) => {}
    }
    let declared: Vec<String> = columns.iter().map(|column| declared_type(target, column)).collect();
    let listed: Vec<String> = columns
        .iter()
        .zip(&declared)
        .map(|(column, declared)| format!("{} {declared}", literal::name(&column.name)).trim_end().to_owned())
        .collect();
    run(connection, &format!("CREATE TABLE {}({})", literal::name(table), listed.join(", ")))?;
    Ok(declared)
}

fn declared_type(target: &Target, column: &SurveyedColumn) -> String {
    if let Some((_, declared)) = target.chosen.iter().find(|(name, _)| *name == column.name) {
        return declared.clone();
    }
    match target.types {
        Types::Infer => column.inferred,
        Types::Text => "TEXT",
        Types::None => "",
    }
    .to_owned()
}

/// The types that an existing table declares for the file's columns; the inferred ones where it declares none.
fn declared_types(
    existing: &[(String, String)],
    target: &Target,
    columns: &[SurveyedColumn],
) -> Result<Vec<String>, Failure> {
    let declared = |column: &SurveyedColumn| {
        let found = existing.iter().find(|(name, _)| name.eq_ignore_ascii_case(&column.name));
        let Some((_, declared)) = found else {
            let names: Vec<&str> = existing.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Failure::Refused(format!(
                "the table {} has no column {}; it has {}",
                target.table,
                column.name,
                names.join(", ")
            )));
        };
        let is_open = declared.is_empty() && target.types == Types::Infer;
        Ok(if is_open { column.inferred.to_owned() } else { declared.clone() })
    };
    columns.iter().map(declared).collect()
}

/// Names and declared types of a table's columns that can be inserted; none if there is no such table.
pub(crate) fn table_columns(connection: &Connection, table: &str) -> Result<Vec<(String, String)>, Failure> {
    let sql = format!(
        "SELECT name, type FROM pragma_table_xinfo({}) WHERE hidden IN (0, 1)",
        literal::quoted(table)
    );
    let columns = query(connection, &sql)?.into_iter().filter_map(|row| match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(name), Value::Text(declared)]) => Some((name, declared)),
        _ => None,
    });
    Ok(columns.collect())
}

fn insert_all(
    connection: &Connection,
    rows: &mut dyn Rows,
    target: &Target,
    columns: &[SurveyedColumn],
    work: &Work,
    progress: &Progress,
) -> Result<u64, Failure> {
    let names: Vec<String> = columns.iter().map(|column| literal::name(&column.name)).collect();
    let opening = format!("INSERT INTO {}({}) VALUES", literal::name(&target.table), names.join(","));
    let marks = vec!["?"; names.len()].join(",");
    let usual = format!("{opening}({marks})");
    let statement = connection.prepare(&usual).map_err(|error| Failure::statement(error, &usual))?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        work.check()?;
        let values: Option<Vec<ValueRef<'_>>> = row
            .iter()
            .map(|read| match read {
                Read::Value(value) => Some(value.into()),
                Read::Garbled(_) => None,
            })
            .collect();
        let inserted = match values {
            Some(values) => statement.execute_ref(&values).map(drop),
            None => insert_garbled(connection, &opening, row),
        };
        let place = rows.place();
        inserted.map_err(|error| Failure::statement(error, "").at(place.origin, place.line))?;
        progress.at(place.bytes);
        count += 1;
    }
    Ok(count)
}

/// Inserts a row with text that is not UTF-8, which only SQL itself can make of bytes.
fn insert_garbled(connection: &Connection, opening: &str, row: Vec<Read>) -> Result<(), twill_engine::Error> {
    let mut marks = Vec::new();
    let mut values = Vec::new();
    for read in row {
        match read {
            Read::Value(value) => {
                marks.push("?");
                values.push(value);
            }
            Read::Garbled(bytes) => {
                marks.push("CAST(? AS TEXT)");
                values.push(Value::Blob(bytes));
            }
        }
    }
    connection.execute(&format!("{opening}({})", marks.join(",")), Params::Positional(values)).map(drop)
}

/// Runs work in a transaction of its own, or in a savepoint of the one that is open.
pub(crate) fn atomically<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |error| Failure::statement(error, "");
    if connection.is_autocommit() {
        let transaction = connection.transaction(TransactionMode::Immediate).map_err(failed)?;
        let done = work()?;
        transaction.commit().map_err(failed)?;
        return Ok(done);
    }
    run(connection, "SAVEPOINT twill_load")?;
    match work() {
        Ok(done) => run(connection, "RELEASE twill_load").map(|()| done),
        Err(failure) => {
            // The failure may have ended the whole transaction.
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK TO twill_load; RELEASE twill_load").map_err(failed)?;
            }
            Err(failure)
        }
    }
}

fn run(connection: &Connection, sql: &str) -> Result<(), Failure> {
    connection.execute(sql, ()).map(drop).map_err(|error| Failure::statement(error, sql))
}
