//! The table of all workloads, and the databases that reading ones start from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::side::{Argument, Plain, Prepared, Session, Side};
use crate::stage::Stage;

pub(super) const SCHEMA: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, quantity INTEGER NOT NULL, note TEXT NOT NULL)";
pub(super) const INSERT: &str = "INSERT INTO item(name, quantity, note) VALUES(?1, ?2, ?3)";
/// Texts are cut from this one.
const WORDS: &str = "the quick brown fox jumps over the lazy dog while five boxing wizards pack my box with a dozen \
                     liquor jugs and sphinx of black quartz judges every vow that was ever made here";
const NAME_LEN: usize = 12;
const NOTE_LEN: usize = 80;

/// Inserts row number `row` of every table there is.
pub(super) fn insert_row(insert: &mut impl Prepared, row: i64) -> Result<()> {
    let place = usize::try_from(row).unwrap_or(0).wrapping_mul(7) % (WORDS.len() - NOTE_LEN);
    let text = |len| WORDS.get(place..place + len).unwrap_or_default();
    insert.execute(&[
        Argument::Text(text(NAME_LEN)),
        Argument::Integer(row % 1000),
        Argument::Text(text(NOTE_LEN)),
    ])
}

/// Rows that a file holds.
pub(super) fn fill(session: &impl Session, rows: i64, stage: &Stage) -> Result<()> {
    session.batch(SCHEMA)?;
    session.batch("BEGIN")?;
    let mut insert = session.prepare(INSERT)?;
    for row in 1..=rows {
        insert_row(&mut insert, row)?;
        if row % 10_000 == 0 {
            stage.check()?;
        }
    }
    session.batch("COMMIT")
}

/// Removes a database and what lies beside it.
pub(crate) fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // What is not there need not go; what cannot go is in a directory that is removed at the end.
        drop(std::fs::remove_file(PathBuf::from(name)));
    }
}

/// Databases to read, a copy for each side.
pub(crate) struct Fixtures {
    directory: PathBuf,
}

/// A database to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixture {
    /// One row.
    Tiny,
    /// Fits the page cache.
    Small,
    /// About 110 MB.
    Large,
}

impl Fixtures {
    /// Makes the databases with plain libSQL, closes them cleanly, and copies them.
    pub(crate) fn create(stage: &Stage, sides: [&str; 2]) -> Result<Self> {
        let fixtures = Self { directory: stage.directory.path("") };
        for (fixture, rows) in [
            (Fixture::Tiny, 1),
            (Fixture::Small, stage.scale.small_rows),
            (Fixture::Large, stage.scale.large_rows),
        ] {
            let [first, second] = sides.map(|side| fixtures.path(fixture, side));
            let session = Plain::open(&first)?.connect()?;
            fill(&session, rows, stage)?;
            session.batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
            drop(session);
            std::fs::copy(&first, &second).context("copying a database")?;
        }
        Ok(fixtures)
    }

    fn path(&self, fixture: Fixture, side: &str) -> PathBuf {
        let name = match fixture {
            Fixture::Tiny => "tiny",
            Fixture::Small => "small",
            Fixture::Large => "large",
        };
        self.directory.join(format!("{name}-{side}.db"))
    }

    /// The copy of a side.
    pub(super) fn of<S: Side>(&self, fixture: Fixture) -> PathBuf {
        self.path(fixture, S::NAME)
    }
}
