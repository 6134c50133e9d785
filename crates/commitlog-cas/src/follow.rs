//! Following a log that another process writes, without writing anything.
//!
//! Invariants (rule 18):
//! 1. It sends nothing by itself: only [`Follower::advance`] does, and [`Follower::changed`] where polling was asked for.
//! 2. A 404 at the next slot says nothing yet: the slot may have been merged away. It is listed, and from time to time
//!    the floor is read again; who was left behind is told [`LogError::Expired`], and reopens.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use twill_types::Lsn;

use crate::commit::Commit;
use crate::error::LogError;
use crate::name::LogName;
use crate::position::Position;
use crate::read::Reader;
use crate::requests;
use crate::site::Site;

/// Looks without news between two readings of the floor.
const LOOKS_PER_FLOOR: u32 = 16;

/// Whether a follower looks for news by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// It sends nothing unless [`Follower::advance`] is called.
    Never,
    /// [`Follower::changed`] looks this often.
    Every(Duration),
}

/// A reader that stays at the end of the history.
pub struct Follower {
    site: Arc<Site>,
    position: Position,
    polling: Polling,
    looks: u32,
    seal: Option<crate::record::Seal>,
}

impl Follower {
    /// A follower that has read everything before `from`. Sends nothing.
    #[must_use]
    pub fn new(site: &Site, from: Position, polling: Polling) -> Self {
        Self { site: Arc::new(site.clone()), position: from, polling, looks: 0, seal: None }
    }

    /// Looks once: all commits that are in the history now and were not given before; empty when there are none. Costs
    /// one GET and one LIST when there is nothing new, and now and then the branch record.
    ///
    /// # Errors
    /// [`LogError::Expired`] when it was left behind by merging or collection (reopen at the floor);
    /// [`LogError::Sealed`] when the timeline ended and everything before the seal was given.
    pub async fn advance(&mut self) -> Result<Vec<Commit>, LogError> {
        if let Some(seal) = self.seal {
            return Err(LogError::Sealed { redirect: seal.redirect });
        }
        let mut batch = Vec::new();
        let next = LogName::Slot(self.position.slot).path(&self.site.root);
        let is_there = requests::get_front(&self.site, &next, 1).await?.is_some();
        self.looks += 1;
        if !is_there && self.looks >= LOOKS_PER_FLOOR {
            self.check_floor().await?;
        }
        let mut reader = Reader::new(&self.site, self.position);
        loop {
            match reader.next(Lsn::new(u64::MAX)).await {
                Ok(commits) if commits.is_empty() => break,
                Ok(commits) => batch.extend(commits),
                // What was read before is given first; the next look meets the error again.
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        self.position = reader.position();
        self.seal = reader.seal();
        match self.seal {
            Some(seal) if batch.is_empty() => Err(LogError::Sealed { redirect: seal.redirect }),
            _ => Ok(batch),
        }
    }

    async fn check_floor(&mut self) -> Result<(), LogError> {
        self.looks = 0;
        let state = self.site.register.load().await?.state;
        let lsn = self.position.lsn;
        if state.floor.lsn > lsn {
            Err(LogError::Expired { lsn, horizon: state.horizon.lsn })
        } else {
            Ok(())
        }
    }

    /// Waits for commits, looking as [`Polling`] says; with [`Polling::Never`] it waits for ever and sends nothing.
    ///
    /// # Errors
    /// As [`Follower::advance`].
    pub async fn changed(&mut self) -> Result<Vec<Commit>, LogError> {
        let every = match self.polling {
            Polling::Never => return future::pending().await,
            Polling::Every(every) => every,
        };
        loop {
            let batch = self.advance().await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.site.environment.sleep(every).await;
        }
    }

    /// The boundary after what was given.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }
}
