//! The log opened for writing: the handle that appends and waits, and the driver that does the work.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use twill_types::{Epoch, Lsn, TimelineId};

use crate::commit::{CommitId, NewCommit, Verdict};
use crate::error::{LogError, Outcome};
use crate::position::{Position, Token, WriterId};
use crate::recover::Recovered;
use crate::site::Site;

/// A log that is fenced but not confirmed: what it recovered may be read, nothing may be acknowledged.
pub struct Opening {}

impl Opening {
    /// Reads the branch record, lists the log from its floor, reads the tail and fences the epoch before.
    ///
    /// # Errors
    /// [`LogError::Sealed`] for a timeline that ended; otherwise that of the store or of what was read.
    pub async fn begin(site: &Site) -> Result<Self, LogError> {
        let _ = site;
        unimplemented!()
    }

    /// The history from the floor to the fence.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        unimplemented!()
    }

    /// Replaces the branch record this opening began with. From here on commits may be acknowledged.
    ///
    /// # Errors
    /// [`LogError::Superseded`] if the record changed meanwhile: throw away all that was recovered and begin again.
    pub async fn confirm(self) -> Result<Opened, LogError> {
        unimplemented!()
    }
}

/// A log open for writing.
pub struct Opened {
    /// The handle.
    pub log: Log,
    /// Does the log's work; poll it (spawn it) until it completes, which it does after [`Log::close`] or when every
    /// handle is dropped and everything appended is settled. Dropping it earlier makes what is unsettled
    /// indeterminate.
    pub driver: Driver,
    /// The history from the floor to the fence.
    pub recovered: Recovered,
}

/// The handle of a log that is open for writing. Clones share one log.
#[derive(Clone)]
pub struct Log {}

/// The future that does a log's work: sends, settles, acknowledges.
#[must_use = "the log does nothing unless its driver is polled"]
pub struct Driver {}

impl Future for Driver {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        unimplemented!()
    }
}

impl Log {
    /// Opens for writing: [`Opening::begin`] and [`Opening::confirm`], begun again when superseded, up to
    /// `open_attempts` times.
    ///
    /// # Errors
    /// As these two.
    pub async fn open(site: &Site) -> Result<Opened, LogError> {
        let _ = site;
        unimplemented!()
    }

    /// Hands one commit to the log, after every commit before, and gives its number. Never blocks; not durable yet.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`], or [`LogError::Invalid`] for a payload beyond the format's limit;
    /// nothing was appended.
    pub fn append(&self, commit: NewCommit) -> Result<Lsn, LogError> {
        let _ = commit;
        unimplemented!()
    }

    /// Completes when the commit's outcome is known. Dropping the future changes nothing; any number may wait; asked
    /// again it says the same. Commits from before this opening are durable.
    pub async fn wait_durable(&self, lsn: Lsn) -> Outcome {
        let _ = lsn;
        unimplemented!()
    }

    /// Completes when fewer than `queue_bytes` payload bytes wait for a slot, or the log takes no commits any more.
    pub async fn room(&self) {
        unimplemented!()
    }

    /// The newest appended commit, durable or not.
    #[must_use]
    pub fn appended_lsn(&self) -> Lsn {
        unimplemented!()
    }

    /// The newest durable commit.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        unimplemented!()
    }

    /// The boundary after the newest durable record.
    #[must_use]
    pub fn durable_position(&self) -> Position {
        unimplemented!()
    }

    /// The newest boundary between records at or before commit `lsn`, among those this opening has seen: where a
    /// floor may be raised to when all commits up to `lsn` rest elsewhere.
    #[must_use]
    pub fn boundary_at(&self, lsn: Lsn) -> Option<Position> {
        let _ = lsn;
        unimplemented!()
    }

    /// The epoch this opening owns.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        unimplemented!()
    }

    /// This opening's own id.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        unimplemented!()
    }

    /// Why the log takes no commits, if it does not.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        unimplemented!()
    }

    /// Ends the timeline for ever, after everything appended is durable: no opener gets past a seal. `redirect` names
    /// the timeline in which the branch goes on. Afterwards the log takes no commits.
    ///
    /// # Errors
    /// That of the commits before, or of the seal itself; [`LogError::Unsettled`] leaves open whether it is sealed.
    pub async fn seal(&self, redirect: Option<TimelineId>) -> Result<(), LogError> {
        let _ = redirect;
        unimplemented!()
    }

    /// Takes no more commits, settles everything appended, and lets the driver complete. Idempotent. The epoch needs
    /// no release: the next opener fences it.
    ///
    /// # Errors
    /// The first failure, if something appended did not become durable.
    pub async fn close(&self) -> Result<(), LogError> {
        unimplemented!()
    }

    /// What became of a commit of an earlier opening (or of this one, once it is settled).
    ///
    /// # Errors
    /// That of reading.
    pub async fn verdict(&self, id: CommitId) -> Result<Verdict, LogError> {
        let _ = id;
        unimplemented!()
    }

    /// Looks for a token among the durable commits after `since`, which the client remembers from before it
    /// committed.
    ///
    /// # Errors
    /// That of reading.
    pub async fn find(&self, token: Token, since: Lsn) -> Result<Verdict, LogError> {
        let _ = (token, since);
        unimplemented!()
    }
}
