//! Following a log that another process writes, without writing anything.
//!
//! Invariants (rule 18):
//! 1. It sends nothing by itself: only [`Follower::advance`] does, and [`Follower::changed`] where polling was asked for.
//! 2. A 404 at the next slot says nothing yet: the slot may have been merged away. At the first, and from time to time,
//!    the log is listed and the floor read again; who was left behind is told [`LogError::Expired`], and reopens.

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

/// Looks in vain between two that LIST and read the floor.
const LOOKS_PER_LIST: u32 = 8;

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
    looks_in_vain: u32,
    seal: Option<crate::record::Seal>,
}

impl Follower {
    /// A follower that has read everything before `from`. Sends nothing.
    #[must_use]
    pub fn new(site: &Site, from: Position, polling: Polling) -> Self {
        Self { site: Arc::new(site.clone()), position: from, polling, looks_in_vain: 0, seal: None }
    }

    /// Looks once: all commits that are in the history now and were not given before; empty when there are none. That
    /// costs one GET, and at the first look and each eighth in vain a LIST and the branch record.
    ///
    /// # Errors
    /// [`LogError::Expired`] when it was left behind by merging or collection (reopen at the floor);
    /// [`LogError::Sealed`] when the timeline ended and everything before the seal was given.
    pub async fn advance(&mut self) -> Result<Vec<Commit>, LogError> {
        if let Some(seal) = self.seal {
            return Err(LogError::Sealed { redirect: seal.redirect });
        }
        let next = LogName::Slot(self.position.slot).path(&self.site.root);
        let is_there = requests::get_front(&self.site, &next, 1).await?.is_some();
        let looks_around = !is_there && self.looks_in_vain.is_multiple_of(LOOKS_PER_LIST);
        if !is_there && !looks_around {
            self.looks_in_vain += 1;
            return Ok(Vec::new());
        }
        let site = &self.site;
        let mut reader = if looks_around {
            Reader::new(site, self.position)
        } else {
            Reader::unchecked(site, self.position)
        };
        let mut batch = Vec::new();
        loop {
            match reader.next(Lsn::new(u64::MAX)).await {
                Ok(commits) if commits.is_empty() => break,
                Ok(commits) => batch.extend(commits),
                // What was read before it is given first; the next look meets the error again.
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        self.looks_in_vain = if reader.position() == self.position { self.looks_in_vain + 1 } else { 0 };
        self.position = reader.position();
        self.seal = reader.seal();
        match self.seal {
            Some(seal) if batch.is_empty() => Err(LogError::Sealed { redirect: seal.redirect }),
            _ => Ok(batch),
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
