//! Commits: what a caller hands in, and what a reader gets.

use bytes::Bytes;
use twill_types::{Epoch, Lsn, TimelineId};

use crate::position::{CommitTime, Slot, Token};

/// A commit to append: bytes that mean nothing to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewCommit {
    /// The bytes. Never looked into.
    pub payload: Bytes,
    /// The client's name for the commit; all zeros for none.
    pub token: Token,
}

impl NewCommit {
    /// A commit without a token.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), token: Token::default() }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(self, token: Token) -> Self {
        Self { token, ..self }
    }
}

/// A commit of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its number.
    pub lsn: Lsn,
    /// The slot of the record that holds it; `slot.epoch` is its writer's epoch.
    pub slot: Slot,
    /// When it was appended, by its writer's clock; never before the commit before it.
    pub time: CommitTime,
    /// The client's name for it.
    pub token: Token,
    /// The bytes.
    pub payload: Bytes,
}

/// Names one appended commit for ever: what a client keeps to ask after a reopening what became of it. LSNs alone do
/// not: a commit that was not applied leaves its LSN to another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommitId {
    /// The history.
    pub timeline: TimelineId,
    /// The writer's number.
    pub epoch: Epoch,
    /// The commit's number.
    pub lsn: Lsn,
}

/// The answer about a [`CommitId`] or a [`Token`], given by who has read the log to its end after a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the history, with this number.
    Durable(Lsn),
    /// It is not in the history and never will be.
    NotApplied,
    /// The log no longer reaches back that far (for a token: as far as was asked).
    Forgotten,
}
