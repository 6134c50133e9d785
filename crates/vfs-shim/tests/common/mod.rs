//! Connections over in-memory storages, found by name, for the tests of the shim.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use rusqlite::{Connection, OpenFlags};
use twill_types::Synchronous;
use twill_vfs_shim::{OpenFailure, Opened, Resolver, Session, register_vfs};
use twill_vfs_trait::{MemoryStorage, Storage};

type Places = Mutex<HashMap<String, Arc<dyn Storage>>>;

fn places() -> &'static Places {
    static PLACES: OnceLock<Places> = OnceLock::new();
    PLACES.get_or_init(|| {
        register_vfs("twill-test", Arc::new(Names)).unwrap();
        Mutex::default()
    })
}

struct Names;

impl Resolver for Names {
    fn canonicalize(&self, name: &str) -> Result<String, OpenFailure> {
        Ok(name.to_owned())
    }

    fn open(
        &self,
        name: &str,
        _: &[(String, String)],
        read_only: bool,
        _: bool,
    ) -> Result<Opened, OpenFailure> {
        let mut places = places().lock().unwrap();
        let storage = places.entry(name.to_owned()).or_insert_with(|| Arc::new(MemoryStorage::new()));
        Ok(Opened {
            storage: Arc::clone(storage),
            key: format!("test://{name}"),
            synchronous: Synchronous::Full,
            read_only,
            keep_alive: None,
        })
    }
}

/// A connection with its session.
pub struct Client {
    pub db: Connection,
    pub session: Arc<Session>,
}

/// Puts `storage` at `name`, to be found by [`connect`] and ATTACH.
pub fn place(name: &str, storage: Arc<dyn Storage>) {
    places().lock().unwrap().insert(name.to_owned(), storage);
}

/// Connects to the storage at `name`, an empty one if there is none.
pub fn connect(name: &str) -> Client {
    places();
    let session = Session::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let db =
        Connection::open_with_flags_vfs_and_wal(name, flags, "twill-test", session.wal_manager()).unwrap();
    // SAFETY: the handle belongs to `db`, which lives beside the session and is dropped with it.
    #[expect(unsafe_code, reason = "the session needs its handle")]
    unsafe {
        session.attach(db.handle());
    }
    Client { db, session }
}

impl Client {
    /// Runs statements that must work.
    #[track_caller]
    pub fn run(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// All rows as text, columns separated by `|`, rows by newlines.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> String {
        let mut statement = self.db.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| {
                (0..columns)
                    .map(|column| row.get::<_, rusqlite::types::Value>(column).map(show))
                    .collect::<Result<Vec<_>, _>>()
            })
            .unwrap();
        rows.map(|row| row.unwrap().join("|")).collect::<Vec<_>>().join("\n")
    }

    /// The extended code that statements fail with.
    #[track_caller]
    pub fn code(&self, sql: &str) -> i32 {
        match self.db.execute_batch(sql) {
            Ok(()) => 0,
            Err(error) => error.sqlite_error().unwrap_or_else(|| panic!("{sql}: {error}")).extended_code,
        }
    }
}

fn show(value: rusqlite::types::Value) -> String {
    use rusqlite::types::Value;
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value,
        Value::Blob(value) => format!("{value:x?}"),
    }
}
