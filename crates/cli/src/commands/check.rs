//! `twill check URL`: what the file says of itself, and whether it is sound.
//!
//! Invariants:
//! 1. Nothing is written: the database is opened for reading only.
//! 2. Every check that ran is named, with its outcome; damage ends with exit code 4.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use twill_engine::{Connection, Database, Mode, Value};

use crate::dump::query;
use crate::failure::Failure;
use crate::interrupt::{Interrupts, Work};
use crate::place::Opened;
use crate::session::written;

/// Look for damage, changing nothing
///
/// Runs integrity_check and foreign_key_check on one snapshot, and tells the state of the file and its log. While it runs,
/// other processes cannot write. Ends with exit code 4 if anything is wrong.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The database
    url: String,
}

/// Findings that are listed one by one; further ones are counted.
const LISTED_MAX: usize = 100;

const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

impl Check {
    pub(super) fn run(&self, interrupts: &Interrupts) -> Result<(), Failure> {
        let opened = Opened::with_mode(&self.url, Mode::ReadOnly).map_err(as_damage)?;
        let work = interrupts.work([opened.connection.interrupt_handle()]);
        let mut out = io::stdout().lock();
        let findings = examine(&opened.database, &opened.connection, &mut out, &work).map_err(as_damage)?;
        drop(work);
        opened.close()?;
        match findings {
            0 => Ok(()),
            1 => Err(Failure::Damage("1 finding; the database is damaged".to_owned())),
            _ => Err(Failure::Damage(format!("{findings} findings; the database is damaged"))),
        }
    }
}

/// What a damaged file makes impossible is damage, too.
fn as_damage(failure: Failure) -> Failure {
    let (Failure::Statement { error, .. } | Failure::Open { error, .. }) = &failure else { return failure };
    if matches!(error.code(), SQLITE_CORRUPT | SQLITE_NOTADB) {
        return Failure::Damage(failure.to_string());
    }
    failure
}

fn examine(
    database: &Database,
    connection: &Connection,
    out: &mut dyn Write,
    work: &Work,
) -> Result<usize, Failure> {
    crate::dump::in_snapshot(connection, || {
        tell_files(database, out)?;
        tell_pages(connection, out)?;
        let mut findings = 0;
        let integrity = query(connection, "PRAGMA integrity_check(1000)")?;
        work.check()?;
        let integrity: Vec<String> =
            integrity.into_iter().flatten().map(shown).filter(|finding| finding != "ok").collect();
        findings += tell_findings("integrity_check", &integrity, out)?;
        let orphans = query(connection, "PRAGMA foreign_key_check")?;
        work.check()?;
        let orphans: Vec<String> = orphans.into_iter().map(|row| orphan(&row)).collect();
        findings += tell_findings("foreign_key_check", &orphans, out)?;
        Ok(findings)
    })
}

fn tell(out: &mut dyn Write, what: &str, text: &str) -> Result<(), Failure> {
    writeln!(out, "{what:<18} {text}").map_err(written)
}

fn tell_files(database: &Database, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(path) = database.path() else { return tell(out, "database", database.url()) };
    let length = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.len());
    tell(out, "file", &format!("{}, {} bytes", path.display(), length(path).unwrap_or(0)))?;
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        length(Path::new(&name))
    };
    let log = match beside("-wal") {
        None | Some(0) => "none: everything is in the file".to_owned(),
        Some(bytes) => format!("{bytes} bytes beside the file, which belong to it: keep both together"),
    };
    tell(out, "log (-wal)", &log)?;
    if beside("-journal").is_some_and(|bytes| bytes > 0) {
        tell(out, "rollback journal", "there is one beside the file; a first open for writing clears it")?;
    }
    Ok(())
}

fn tell_pages(connection: &Connection, out: &mut dyn Write) -> Result<(), Failure> {
    let pragma = |name: &str| -> Result<String, Failure> {
        let rows = query(connection, &format!("PRAGMA {name}"))?;
        Ok(rows.into_iter().flatten().next().map(shown).unwrap_or_default())
    };
    let pages = format!(
        "{} of {} bytes, {} of them free",
        pragma("page_count")?,
        pragma("page_size")?,
        pragma("freelist_count")?
    );
    tell(out, "pages", &pages)?;
    let counted = query(connection, "SELECT type, count(*) FROM sqlite_schema GROUP BY type ORDER BY type")?;
    let counted: Vec<String> = counted
        .into_iter()
        .filter_map(|row| match row.as_slice() {
            [Value::Text(kind), Value::Integer(count)] => Some(format!("{kind} {count}")),
            _ => None,
        })
        .collect();
    let schema = if counted.is_empty() { "empty".to_owned() } else { counted.join(", ") };
    tell(
        out,
        "schema",
        &format!("{schema}; {}, user_version {}", pragma("encoding")?, pragma("user_version")?),
    )
}

fn tell_findings(what: &str, findings: &[String], out: &mut dyn Write) -> Result<usize, Failure> {
    if findings.is_empty() {
        tell(out, what, "ok")?;
        return Ok(0);
    }
    for finding in findings.iter().take(LISTED_MAX) {
        tell(out, what, finding)?;
    }
    if findings.len() > LISTED_MAX {
        tell(out, what, &format!("… and {} more", findings.len() - LISTED_MAX))?;
    }
    Ok(findings.len())
}

/// A row of foreign_key_check: table, rowid, the table it should refer to, the number of the constraint.
fn orphan(row: &[Value]) -> String {
    match row {
        [table, Value::Null, parent, ..] => {
            format!("a row of {} has no parent in {}", shown(table.clone()), shown(parent.clone()))
        }
        [table, rowid, parent, ..] => format!(
            "row {} of {} has no parent in {}",
            shown(rowid.clone()),
            shown(table.clone()),
            shown(parent.clone())
        ),
        _ => String::new(),
    }
}

fn shown(value: Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value.trim_end().to_owned(),
        Value::Blob(value) => crate::literal::blob(&value),
    }
}
