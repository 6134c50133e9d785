//! The one error of the engine: an SQLite result code, a message that says what to do, and the cause.
//!
//! Invariants:
//! 1. `extended_code() & 0xff == code()`, and both are SQLite's numbers, whatever layer failed.
//! 2. When a storage failed below SQLite, [`Error::storage`] has its error and the message is the storage's, not
//!    SQLite's generic one for the code.
//!
//! It refuses to keep meaning in the message alone: callers match on codes or on [`Error::storage`].

use std::error::Error as StdError;
use std::fmt;

use rusqlite::ffi;
use twill_vfs_shim::{OpenFailure, Session, sqlite_code, take_open_failure};
use twill_vfs_trait::StorageError;

/// Any failure of the engine.
pub struct Error(Box<Detail>);

struct Detail {
    extended_code: i32,
    message: String,
    offset: Option<usize>,
    storage: Option<StorageError>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with an (extended) SQLITE_* code. User functions make theirs this way.
    pub fn new(extended_code: i32, message: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            extended_code,
            message: message.into(),
            offset: None,
            storage: None,
            source: None,
        }))
    }

    /// SQLITE_ERROR with this message.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_ERROR, message)
    }

    /// SQLITE_MISUSE: the caller broke a rule of this API.
    pub fn misuse(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_MISUSE, message)
    }

    pub(crate) fn cannot_open(message: impl Into<String>) -> Self {
        Self::new(ffi::SQLITE_CANTOPEN, message)
    }

    pub(crate) fn at_offset(mut self, offset: Option<usize>) -> Self {
        self.0.offset = offset;
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The primary SQLITE_* code.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.0.extended_code & 0xff
    }

    /// The extended SQLITE_* code; equal to the primary one where SQLite has no finer answer.
    #[must_use]
    pub fn extended_code(&self) -> i32 {
        self.0.extended_code
    }

    /// What happened and, where it helps, what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Byte offset of the offending token in the SQL, for syntax errors.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// The storage's own error, when one is behind this.
    #[must_use]
    pub fn storage(&self) -> Option<&StorageError> {
        self.0.storage.as_ref()
    }

    /// Whether trying again may help: the database was locked by another writer or process.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.code(), ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED)
    }

    /// Whether the call was interrupted.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.code() == ffi::SQLITE_INTERRUPT
    }

    /// Puts what lies behind the SQLite error in front, the storage's error or the refusal to open a name, and forgets what
    /// does not belong to it.
    #[cold]
    pub(crate) fn explained_by(mut self, session: &Session) -> Self {
        if let Some(refusal) = take_open_failure()
            && refusal.code & 0xff == self.code()
        {
            self.0.extended_code = refusal.code;
            self.0.message = refusal.message;
        }
        if let Some(storage) = session.take_error()
            && self.0.storage.is_none()
            && sqlite_code(&storage) & 0xff == self.code()
        {
            self.0.message = storage.to_string();
            self.0.storage = Some(storage);
        }
        self
    }

    /// The error as rusqlite's, for callbacks that must return one.
    pub(crate) fn to_rusqlite(&self) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(self.0.extended_code), Some(self.0.message.clone()))
    }
}

impl From<StorageError> for Error {
    #[cold]
    fn from(error: StorageError) -> Self {
        let mut result = Self::new(sqlite_code(&error), error.to_string());
        result.0.storage = Some(error);
        result
    }
}

impl From<rusqlite::Error> for Error {
    #[cold]
    #[expect(clippy::wildcard_enum_match_arm, reason = "non-exhaustive; all others are misuse of one kind")]
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqliteFailure(failure, message) => {
                let message = message
                    .filter(|message| !message.is_empty())
                    .unwrap_or_else(|| ffi::code_to_str(failure.extended_code).to_owned());
                Self::new(failure.extended_code, message)
            }
            rusqlite::Error::SqlInputError { error, msg, offset, .. } => {
                let mut result = Self::new(error.extended_code, msg);
                result.0.offset = usize::try_from(offset).ok();
                result
            }
            rusqlite::Error::NulError(_) => Self::misuse("the text contains a NUL byte").with_source(error),
            _ => Self::misuse(error.to_string()).with_source(error),
        }
    }
}

impl From<OpenFailure> for Error {
    fn from(failure: OpenFailure) -> Self {
        Self::new(failure.code, failure.message)
    }
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        Self { code: error.0.extended_code, message: error.0.message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { extended_code, message, offset, storage, source } = &*self.0;
        f.debug_struct("Error")
            .field("extended_code", extended_code)
            .field("message", message)
            .field("offset", offset)
            .field("storage", storage)
            .field("source", source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.0.source, &self.0.storage) {
            (Some(source), _) => Some(&**source),
            (None, Some(storage)) => Some(storage),
            (None, None) => None,
        }
    }
}
