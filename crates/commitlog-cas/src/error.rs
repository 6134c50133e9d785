//! What can go wrong with the log, sorted by what the caller can do about it, and the outcomes of a commit.
//!
//! Invariants:
//! 1. Every error is cloneable: one failure reaches every commit that it concerns, with its cause.
//! 2. [`Outcome::NotApplied`] and [`Outcome::Fenced`] are told only when the commit can never become durable.
//! 3. An outcome, once told, is told for ever: asking again gives the same.

use std::error::Error;
use std::sync::Arc;

use twill_types::{Epoch, Lsn, TimelineId};

use crate::position::{Slot, WriterId};

/// A cause kept for the reader of logs.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Every error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The credentials are valid but do not allow this. Nothing was applied by the refused request.
    #[error("the object store refuses {what}: permission denied (is the bucket read-only?)")]
    Denied {
        /// Which request on which object.
        what: String,
        /// The store's answer.
        #[source]
        source: Cause,
    },
    /// The credentials are not valid.
    #[error("the object store refuses {what}: the credentials are not valid")]
    Unauthenticated {
        /// Which request on which object.
        what: String,
        /// The store's answer.
        #[source]
        source: Cause,
    },
    /// The bucket is not there (any more).
    #[error("the bucket does not exist: {what}")]
    BucketGone {
        /// Which request on which object.
        what: String,
        /// The store's answer.
        #[source]
        source: Cause,
    },
    /// The store cannot be reached: nothing was sent.
    #[error("the object store cannot be reached for {what}")]
    Unreachable {
        /// Which request on which object.
        what: String,
        /// The failure.
        #[source]
        source: Cause,
    },
    /// The store did not settle the request within the deadline.
    #[error("the object store did not settle {what} within {waited_ms} ms")]
    Unsettled {
        /// Which request on which object.
        what: String,
        /// How long it was tried.
        waited_ms: u64,
        /// The last failure.
        #[source]
        source: Cause,
    },
    /// The store refuses the request for good, for a reason this crate does not know.
    #[error("the object store refuses {what}")]
    Refused {
        /// Which request on which object.
        what: String,
        /// The store's answer.
        #[source]
        source: Cause,
    },
    /// Bytes that do not say what they must.
    #[error("{object} is corrupt: expected {expected}, found {found}")]
    Corrupt {
        /// Which object.
        object: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Written by a newer version of this software.
    #[error("{object} has format version {found}; this software reads up to version {supported}")]
    NewerFormat {
        /// Which object.
        object: String,
        /// Its version.
        found: u16,
        /// The newest this build reads.
        supported: u16,
    },
    /// An object that must be there is not: it was deleted by somebody else than this software.
    #[error("{object} is missing from the log")]
    Missing {
        /// Which object.
        object: String,
    },
    /// The branch record is not there.
    #[error("there is no branch record at {object}")]
    NoRecord {
        /// Where it was looked for.
        object: String,
    },
    /// The position was left behind by the floor or the horizon. Reopen at a newer one.
    #[error("commit {lsn} lies before what the log still holds, which begins after commit {horizon}")]
    Expired {
        /// Which commit was asked for.
        lsn: Lsn,
        /// The last commit that was given up.
        horizon: Lsn,
    },
    /// Another writer owns the timeline now. Reopen.
    #[error("fenced at slot {slot}: writer {by} owns epoch {}", epoch.0)]
    Fenced {
        /// The fence.
        slot: Slot,
        /// The epoch it opens.
        epoch: Epoch,
        /// Who opened it.
        by: WriterId,
    },
    /// The timeline ended: it was deleted, or the branch was reset to another one.
    #[error("the timeline is sealed{}", redirect.map(|to| format!("; the branch goes on in timeline {to}")).unwrap_or_default())]
    Sealed {
        /// Where the branch goes on.
        redirect: Option<TimelineId>,
    },
    /// The branch record changed while the log was being opened, so what was read may be outdated. Open again.
    #[error("the branch record changed while the log was being opened")]
    Superseded,
    /// An earlier commit failed or is indeterminate.
    #[error("the log takes no commits until it is reopened, because an earlier one failed: {cause}")]
    Poisoned {
        /// The first failure.
        #[source]
        cause: Arc<LogError>,
    },
    /// The log is closed, or its driver was dropped.
    #[error("the log is closed")]
    Closed,
    /// The caller broke a rule of this crate. Nothing was applied.
    #[error("invalid: {what}")]
    Invalid {
        /// Which rule.
        what: String,
    },
}

impl LogError {
    /// [`LogError::Invalid`] with this rule.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) fn corrupt(object: &str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Corrupt { object: object.to_owned(), expected: expected.to_string(), found: found.to_string() }
    }

    /// [`LogError::Poisoned`] by `cause`; a poisoned cause is not wrapped again.
    #[must_use]
    pub fn poisoned(cause: &Self) -> Self {
        if matches!(cause, Self::Poisoned { .. }) {
            return cause.clone();
        }
        Self::Poisoned { cause: Arc::new(cause.clone()) }
    }
}

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It and every commit before it are in the history for ever.
    Durable,
    /// It is not in the history and never will be.
    NotApplied(Arc<LogError>),
    /// It is not in the history and never will be: another writer owns the timeline now.
    Fenced(Arc<LogError>),
    /// Nobody knows. Only reopening tells.
    Indeterminate(Arc<LogError>),
}

impl Outcome {
    /// Whether the commit is in the history for ever.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(self, Self::Durable)
    }

    /// Whether the commit can never become durable.
    #[must_use]
    pub const fn is_not_applied(&self) -> bool {
        matches!(self, Self::NotApplied(_) | Self::Fenced(_))
    }

    /// Why the commit is not known to be durable.
    #[must_use]
    pub fn error(&self) -> Option<&LogError> {
        match self {
            Self::Durable => None,
            Self::NotApplied(error) | Self::Fenced(error) | Self::Indeterminate(error) => Some(error),
        }
    }
}
