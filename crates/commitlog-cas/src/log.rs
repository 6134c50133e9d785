//! The log opened for writing: the handle that appends and waits, and the driver that does the work.
//!
//! Invariants:
//! 1. Nothing here waits inside [`Log::append`]; everything else may be dropped at any time without changing anything.
//! 2. Without its driver being polled, a log does nothing; a driver that is dropped tells everybody.
//! 3. An open log that nobody appends to sends nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use twill_types::{Epoch, Lsn, TimelineId};

use crate::commit::{CommitId, NewCommit, Verdict};
use crate::error::{LogError, Outcome};
use crate::open::Opening;
use crate::pipeline::Pipeline;
use crate::position::{Position, Token, WriterId};
use crate::read::Reader;
use crate::recover::Recovered;
use crate::register::LogState;
use crate::retention::{self, Raise};
use crate::shared::Shared;
use crate::site::Site;

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

/// The handle of a log that is open for writing. Clones share one log; when the last is dropped the log closes.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    writer: WriterId,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The future that does a log's work: sends, settles, acknowledges.
#[must_use = "the log does nothing unless its driver is polled"]
pub struct Driver {
    shared: Arc<Shared>,
    work: BoxFuture<'static, ()>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.work.poll_unpin(context)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.finish();
    }
}

impl Log {
    /// Opens for writing: [`Opening::begin`] and [`Opening::confirm`], begun again when superseded, up to
    /// `open_attempts` times.
    ///
    /// # Errors
    /// As these two.
    pub async fn open(site: &Site) -> Result<Opened, LogError> {
        let mut attempts = site.options.open_attempts.max(1);
        loop {
            attempts -= 1;
            let opened = match Opening::begin(site).await {
                Ok(opening) => opening.confirm().await,
                Err(error) => Err(error),
            };
            match opened {
                Err(LogError::Superseded) if attempts > 0 => {}
                opened => return opened,
            }
        }
    }

    pub(crate) fn start(
        site: Arc<Site>,
        writer: WriterId,
        recovered: &Recovered,
        put_took: Option<Duration>,
    ) -> (Self, Driver) {
        let shared = Shared::new(site, recovered);
        let work = Pipeline::new(&shared, writer, put_took).run().boxed();
        let handle = Arc::new(Handle { shared: Arc::clone(&shared), writer });
        (Self { handle }, Driver { shared, work })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Hands one commit to the log, after every commit before, and gives its number. Never blocks; not durable yet.
    /// Two threads that call it get consecutive numbers; who must commit in a certain order calls it in that order.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Fenced`], [`LogError::Sealed`], [`LogError::Closed`], or
    /// [`LogError::Invalid`] for a payload beyond the format's limit; nothing was appended.
    pub fn append(&self, commit: NewCommit) -> Result<Lsn, LogError> {
        self.shared().append(commit)
    }

    /// Completes when the commit's outcome is known. Dropping the future changes nothing; any number may wait; asked
    /// again it says the same. Commits from before this opening are durable.
    pub async fn wait_durable(&self, lsn: Lsn) -> Outcome {
        self.shared().wait_outcome(lsn).await
    }

    /// The commit's outcome, if it is known.
    #[must_use]
    pub fn outcome(&self, lsn: Lsn) -> Option<Outcome> {
        self.shared().outcome(lsn)
    }

    /// Completes when fewer than `queue_bytes` payload bytes wait for a slot, or the log takes no commits any more.
    pub async fn room(&self) {
        self.shared().wait_room().await;
    }

    /// The newest appended commit, durable or not.
    #[must_use]
    pub fn appended_lsn(&self) -> Lsn {
        self.shared().appended()
    }

    /// The newest durable commit.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.shared().durable().lsn
    }

    /// The boundary after the newest durable record.
    #[must_use]
    pub fn durable_position(&self) -> Position {
        self.shared().durable()
    }

    /// The newest boundary between records at or before commit `lsn`, among those this opening has seen: where a
    /// floor may be raised to when all commits up to `lsn` rest elsewhere.
    #[must_use]
    pub fn boundary_at(&self, lsn: Lsn) -> Option<Position> {
        self.shared().boundary_at(lsn)
    }

    /// The epoch this opening owns.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared().base.slot.epoch
    }

    /// The boundary at which this opening's epoch begins: what is at or before its LSN was there before.
    #[must_use]
    pub fn base(&self) -> Position {
        self.shared().base
    }

    /// This opening's own id.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        self.handle.writer
    }

    /// What names commit `lsn` of this opening for ever.
    #[must_use]
    pub fn commit_id(&self, lsn: Lsn) -> CommitId {
        CommitId { timeline: self.shared().site.identity.timeline, epoch: self.epoch(), lsn }
    }

    /// Why the log takes no commits, if it does not.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        self.shared().refusal()
    }

    /// Ends the timeline for ever, after everything appended is durable: no opener gets past a seal. `redirect` names
    /// the timeline in which the branch goes on. Afterwards the log takes no commits.
    ///
    /// # Errors
    /// That of the commits before, or of the seal itself; [`LogError::Unsettled`] leaves open whether it is sealed.
    pub async fn seal(&self, redirect: Option<TimelineId>) -> Result<(), LogError> {
        self.shared().ask_seal(redirect)?;
        self.shared().wait_sealed().await
    }

    /// Takes no more commits, settles everything appended, and lets the driver complete. Idempotent. The epoch needs
    /// no release: the next opener fences it.
    ///
    /// # Errors
    /// The first failure, if something appended did not become durable.
    pub async fn close(&self) -> Result<(), LogError> {
        self.shared().close();
        self.shared().wait_finished().await
    }

    /// Raises floor or horizon in the branch record, see [`retention::raise`]; what this handle remembers of the log
    /// below the floor is forgotten.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for a floor that is not durable yet; otherwise as [`retention::raise`].
    pub async fn raise(&self, raise: Raise) -> Result<LogState, LogError> {
        let durable = self.shared().durable();
        if raise.floor.is_some_and(|floor| floor.slot > durable.slot || floor.lsn > durable.lsn) {
            return Err(LogError::invalid("a floor beyond the durable commits"));
        }
        let state = retention::raise(&self.shared().site, raise).await?;
        self.shared().forget_before(&state.floor);
        Ok(state)
    }

    /// What became of a commit of an earlier opening (or of this one, once it is settled).
    ///
    /// # Errors
    /// [`LogError::Invalid`] for a commit of another timeline or a later epoch; that of the commit itself where it is
    /// this opening's and indeterminate; otherwise that of reading.
    pub async fn verdict(&self, id: CommitId) -> Result<Verdict, LogError> {
        let shared = self.shared();
        if id.timeline != shared.site.identity.timeline || id.epoch > self.epoch() {
            return Err(LogError::invalid(format!("commit {} of another timeline or a later epoch", id.lsn)));
        }
        if id.epoch == self.epoch() {
            if id.lsn <= shared.base.lsn {
                return Ok(Verdict::NotApplied);
            }
            return match self.wait_durable(id.lsn).await {
                Outcome::Durable => Ok(Verdict::Durable(id.lsn)),
                Outcome::NotApplied(_) | Outcome::Fenced(_) => Ok(Verdict::NotApplied),
                Outcome::Indeterminate(error) => Err(LogError::clone(&error)),
            };
        }
        if id.lsn > shared.base.lsn {
            return Ok(Verdict::NotApplied);
        }
        let (mut reader, _) = self.reader_before(id.lsn).await?;
        loop {
            let commits = match reader.next(id.lsn).await {
                Ok(commits) => commits,
                Err(LogError::Expired { .. }) => return Ok(Verdict::Forgotten),
                Err(error) => return Err(error),
            };
            if commits.is_empty() {
                return Ok(Verdict::Forgotten);
            }
            if let Some(commit) = commits.iter().find(|commit| commit.lsn == id.lsn) {
                let same = commit.slot.epoch == id.epoch;
                return Ok(if same { Verdict::Durable(id.lsn) } else { Verdict::NotApplied });
            }
        }
    }

    /// Looks for a token among the commits after `since`, which the client remembers from before it committed. Waits
    /// until everything appended before this call is settled.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for the zero token; that of a commit of this opening that is indeterminate; otherwise that
    /// of reading.
    pub async fn find(&self, token: Token, since: Lsn) -> Result<Verdict, LogError> {
        if token == Token::default() {
            return Err(LogError::invalid("the zero token names no commit"));
        }
        if let Outcome::Indeterminate(error) = self.wait_durable(self.appended_lsn()).await {
            return Err(LogError::clone(&error));
        }
        let (mut reader, reaches) = self.reader_before(since.next()).await?;
        while let commits @ [_, ..] = reader.next(self.durable_lsn()).await?.as_slice() {
            if let Some(found) = commits.iter().find(|commit| commit.token == token) {
                return Ok(Verdict::Durable(found.lsn));
            }
        }
        Ok(if reaches { Verdict::NotApplied } else { Verdict::Forgotten })
    }

    /// A reader that begins before commit `lsn`, or (`false`) where the log begins, if that is later.
    async fn reader_before(&self, lsn: Lsn) -> Result<(Reader, bool), LogError> {
        let shared = self.shared();
        let before = Lsn::new(lsn.get().saturating_sub(1));
        if let Some(boundary) = shared.boundary_at(before) {
            return Ok((Reader::new(&shared.site, boundary), true));
        }
        let horizon = shared.site.register.load().await?.state.horizon;
        Ok((Reader::new(&shared.site, horizon), horizon.lsn <= before))
    }
}
