//! What can go wrong below the seam, sorted by what the caller can do about it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A cause kept for the reader of logs. Shared, because one failed append fails every commit built on it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Every error a [`crate::Storage`] gives. Cloneable: one failure reaches every commit that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The writer slot did not come free in time. Try again.
    #[error("database is locked: another writer held it for {waited:?}")]
    Busy {
        /// How long the caller queued.
        waited: Duration,
    },
    /// The wait was interrupted. Nothing happened.
    #[error("interrupted")]
    Interrupted,
    /// The commit does not build on the newest appended state. Start the transaction again.
    #[error("conflict: {what}")]
    Conflict {
        /// Which states did not match.
        what: String,
    },
    /// Another writer owns the timeline now. Reopen.
    #[error("fenced: {what}")]
    Fenced {
        /// Who fenced, as far as known.
        what: String,
    },
    /// The outcome of a commit is unknown; only reopening reads the truth.
    #[error("the outcome of the commit is unknown: {what}; reopen the database to learn it")]
    Indeterminate {
        /// What failed.
        what: String,
        /// The failure.
        #[source]
        source: Option<Cause>,
    },
    /// The medium did not answer, or the storage is closed. Nothing was applied.
    #[error("{what}")]
    Unavailable {
        /// What was attempted, and on what.
        what: String,
        /// The failure.
        #[source]
        source: Option<Cause>,
    },
    /// Bytes that do not say what they must.
    #[error("{object} is corrupt: expected {expected}, found {found}")]
    Corrupt {
        /// Which file, object or page.
        object: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The medium has no room. Nothing was applied.
    #[error("{what}: no space left")]
    Full {
        /// Which file or store is full.
        what: String,
        /// The failure.
        #[source]
        source: Option<Cause>,
    },
    /// The storage was opened, or can only be opened, for reading.
    #[error("the database is read-only: {what}")]
    ReadOnly {
        /// Why.
        what: String,
    },
    /// The snapshot could not be pinned and its pages are gone. Start a new read.
    #[error("the snapshot expired")]
    SnapshotExpired,
    /// The caller broke a rule of the trait. Nothing was applied.
    #[error("invalid: {what}")]
    Invalid {
        /// Which rule.
        what: String,
    },
    /// An earlier commit failed or is indeterminate; writes are refused until reopened.
    #[error("writes are refused until the database is reopened, because an earlier commit failed: {cause}")]
    Poisoned {
        /// The first failure.
        #[source]
        cause: Arc<StorageError>,
    },
}

impl StorageError {
    /// [`StorageError::Invalid`] with this rule.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// [`StorageError::Poisoned`] by `cause`; a poisoned cause is not wrapped again.
    #[must_use]
    pub fn poisoned(cause: &Self) -> Self {
        if matches!(cause, Self::Poisoned { .. }) {
            return cause.clone();
        }
        Self::Poisoned { cause: Arc::new(cause.clone()) }
    }

    /// [`StorageError::Unavailable`] for an operation on a closed storage.
    #[must_use]
    pub fn closed() -> Self {
        Self::Unavailable { what: "the database is closed".to_owned(), source: None }
    }
}
