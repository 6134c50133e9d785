//! Following a log that another process writes, without writing anything.

use std::time::Duration;

use crate::commit::Commit;
use crate::error::LogError;
use crate::position::Position;
use crate::site::Site;

/// Whether a follower looks for news by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// It sends nothing unless [`Follower::advance`] is called.
    Never,
    /// [`Follower::changed`] looks this often.
    Every(Duration),
}

/// A reader that stays at the end of the history.
pub struct Follower {}

impl Follower {
    /// A follower that has read everything before `from`. Sends nothing.
    #[must_use]
    pub fn new(site: &Site, from: Position, polling: Polling) -> Self {
        let _ = (site, from, polling);
        unimplemented!()
    }

    /// Looks once: all commits that are in the history now and were not given before; empty when there are none.
    ///
    /// # Errors
    /// [`LogError::Expired`] when it was left behind by merging or collection (reopen at the floor);
    /// [`LogError::Sealed`] when the timeline ended and everything before the seal was given.
    pub async fn advance(&mut self) -> Result<Vec<Commit>, LogError> {
        unimplemented!()
    }

    /// Waits for commits, looking as [`Polling`] says; with [`Polling::Never`] it waits for ever and sends nothing.
    ///
    /// # Errors
    /// As [`Follower::advance`].
    pub async fn changed(&mut self) -> Result<Vec<Commit>, LogError> {
        unimplemented!()
    }

    /// The boundary after what was given.
    #[must_use]
    pub fn position(&self) -> Position {
        unimplemented!()
    }
}
