//! A whole database copied page by page: SQLite files in and out.
//!
//! Invariants:
//! 1. The destination holds its old content until the last page is there, then all of the new.

use std::ops::ControlFlow;

use twill_engine::{Connection, Value};

use crate::dump::query;
use crate::failure::Failure;
use crate::interrupt::Work;
use crate::progress::Progress;

/// Copies the main database of one connection over that of another.
pub(crate) fn copy(
    from: &Connection,
    to: &Connection,
    work: &Work,
    progress: &Progress,
) -> Result<(), Failure> {
    const PAGES_PER_STEP: i32 = 256;
    let failed = |error| Failure::statement(error, "");
    if let Some(Value::Integer(page_size)) = query(from, "PRAGMA page_size")?.into_iter().flatten().next()
        && is_without_pages(to)?
    {
        to.execute(&format!("PRAGMA page_size = {page_size}"), ()).map_err(failed)?;
    }
    let copied = from.backup_to(to, PAGES_PER_STEP, |step| {
        let count = |pages| u64::try_from(pages).unwrap_or(0);
        progress.set_total(count(step.pagecount));
        progress.at(count(step.pagecount - step.remaining));
        if work.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    copied.map_err(failed)
}

fn is_without_pages(connection: &Connection) -> Result<bool, Failure> {
    Ok(query(connection, "PRAGMA page_count")? == [[Value::Integer(0)]])
}

/// Whether a database holds nothing: no table, view or trigger.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool, Failure> {
    Ok(query(connection, "SELECT count(*) FROM sqlite_schema")? == [[Value::Integer(0)]])
}
