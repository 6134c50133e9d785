//! Where the databases of a test live. The one place of the suites that names backends.
//!
//! Invariants:
//! 1. Two places never share a database; within a place, the same name is the same database.
//! 2. A place keeps its databases until it is dropped, also while nobody has them open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;
use twill_engine::{Database, Error};

/// A kind of storage, by its URL scheme.
#[derive(Clone, Copy)]
pub struct Backend {
    /// What test output calls it.
    pub name: &'static str,
    /// Whether data outlives the last open handle.
    pub durable: bool,
    place: fn() -> anyhow::Result<Place>,
}

/// A fresh, private place for databases, gone when dropped.
pub struct Place {
    prefix: String,
    suffix: &'static str,
    durable: bool,
    kept: Mutex<HashMap<String, Database>>,
    _directory: Option<TempDir>,
}

impl Backend {
    /// `memory://`
    pub const MEMORY: Self = Self { name: "memory", durable: false, place: memory_place };
    /// `file://` in a temporary directory, `synchronous=full`.
    pub const FILE: Self = Self { name: "file", durable: true, place: || file_place("") };
    /// `file://` in a temporary directory, `synchronous=off`: for runs whose purpose is SQL, not durability.
    pub const FILE_OFF: Self =
        Self { name: "file-off", durable: true, place: || file_place("?synchronous=off") };

    /// Every backend that each suite runs on.
    pub const ALL: &'static [Self] = &[Self::MEMORY, Self::FILE];

    /// The backend of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::MEMORY, Self::FILE, Self::FILE_OFF].into_iter().find(|backend| backend.name == name)
    }

    /// A fresh place.
    ///
    /// # Errors
    /// When a temporary directory cannot be made.
    pub fn place(&self) -> anyhow::Result<Place> {
        (self.place)()
    }
}

impl Place {
    /// The URL of a database in this place.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("{}{name}{}", self.prefix, self.suffix)
    }

    /// Opens a database in this place.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(&self, name: &str) -> Result<Database, Error> {
        let database = Database::open(&self.url(name))?;
        if !self.durable {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(name.to_owned()).or_insert_with(|| database.clone());
        }
        Ok(database)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that every backend's constructor has")]
fn memory_place() -> anyhow::Result<Place> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("memory://place-{}-", COUNT.fetch_add(1, Ordering::Relaxed));
    Ok(Place { prefix, suffix: "", durable: false, kept: Mutex::default(), _directory: None })
}

fn file_place(suffix: &'static str) -> anyhow::Result<Place> {
    let directory = tempfile::Builder::new().prefix("twill-sql-").tempdir()?;
    let prefix = format!("file://{}/", directory.path().display());
    Ok(Place { prefix, suffix, durable: true, kept: Mutex::default(), _directory: Some(directory) })
}
