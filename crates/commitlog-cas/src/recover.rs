//! The walk from the floor to the end of the history: the branch record, one LIST, then the listed records at once.
//!
//! Invariants:
//! 1. What is returned is a prefix of the durable history, checked record by record, that contains every commit
//!    acknowledged before the walk began.
//! 2. Nothing is written.
//! 3. Where an object is gone or does not fit, and the branch record has changed meanwhile, the walk starts over:
//!    merging and collection move on below the reader. If it has not changed, that is an error.

use std::sync::Arc;

use crate::commit::Commit;
use crate::environment::Point;
use crate::error::LogError;
use crate::position::Position;
use crate::record::Seal;
use crate::register::{Loaded, LogState};
use crate::site::Site;
use crate::walk::{Met, Walker, commits};

/// What a walk found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The branch record's part it began with.
    pub state: LogState,
    /// The commits after the floor, in order, without gaps.
    pub commits: Vec<Commit>,
    /// The boundary after each record that holds them, in order.
    pub boundaries: Vec<Position>,
    /// The boundary after the last of them (for an opener: slot 0 of its own epoch).
    pub end: Position,
    /// The seal, if the timeline ended. Openers for writing answer [`LogError::Sealed`] instead.
    pub seal: Option<Seal>,
}

/// Reads the history from the floor to its end, writing nothing.
///
/// # Errors
/// That of the store, or of what was read.
pub async fn recover(site: &Site) -> Result<Recovered, LogError> {
    let site = Arc::new(site.clone());
    let mut attempts = site.options.open_attempts.max(1);
    loop {
        attempts -= 1;
        let walked = match Walk::begin(&site).await {
            Ok(walk) => walk.confirm_reading().await,
            Err(error) => Err(error),
        };
        match walked {
            Err(LogError::Superseded) if attempts > 0 => {}
            walked => return Ok(walked?.finish()),
        }
    }
}

/// A walk at the end of what was listed.
pub(crate) struct Walk {
    pub loaded: Loaded,
    pub walker: Walker,
    pub commits: Vec<Commit>,
    pub boundaries: Vec<Position>,
}

impl Walk {
    /// Reads the branch record, lists from its floor, and walks to the end.
    pub(crate) async fn begin(site: &Arc<Site>) -> Result<Self, LogError> {
        let loaded = site.register.load().await?;
        site.environment.point(Point::AfterRecordRead).await;
        let walker = Walker::new(site, loaded.state.floor);
        let mut walk = Self { loaded, walker, commits: Vec::new(), boundaries: Vec::new() };
        walk.list().await?;
        site.environment.point(Point::AfterList).await;
        walk.walk_on().await?;
        // A LIST is not one instant: it may have passed the place of a record before that was created, and seen what
        // came later. One more closes the gap; what is missing then is really not there.
        if walk.walker.seal().is_none()
            && walk.walker.listing().reaches_beyond(walk.walker.position.slot.epoch)
        {
            walk.list().await?;
            walk.walk_on().await?;
        }
        Ok(walk)
    }

    pub(crate) async fn list(&mut self) -> Result<(), LogError> {
        self.walker.list().await
    }

    /// Reads on to the first slot that the listing does not have.
    pub(crate) async fn walk_on(&mut self) -> Result<(), LogError> {
        loop {
            match self.walker.advance().await {
                Ok(Met::Pieces(pieces)) => {
                    for piece in pieces {
                        self.add(&piece).await?;
                    }
                }
                Ok(Met::End) => return Ok(()),
                Ok(Met::Vanished(name)) => {
                    let object = name.path(&self.walker.site.root).to_string();
                    return Err(self.blame(LogError::Missing { object }).await);
                }
                Err(error @ LogError::Corrupt { .. }) => return Err(self.blame(error).await),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn add(&mut self, piece: &crate::walk::Piece) -> Result<(), LogError> {
        match commits(&self.walker.site, piece).await {
            Ok(commits) => self.commits.extend(commits),
            Err(error @ LogError::Missing { .. }) => return Err(self.blame(error).await),
            Err(error) => return Err(error),
        }
        self.boundaries.push(piece.after);
        Ok(())
    }

    /// Nobody else checks what a walk that only reads has found. If it went over a fence, that may be a superseded
    /// opener's, in a place that was emptied meanwhile; if it ended in a gap, what was there may have been merged. So
    /// then it counts only if the floor is where it was.
    async fn confirm_reading(self) -> Result<Self, LogError> {
        let floor = self.loaded.state.floor;
        let end = self.walker.position.slot;
        let doubtful = end.epoch > floor.slot.epoch || self.walker.listing().reaches_behind(end);
        if doubtful && self.walker.seal().is_none() {
            let now = self.walker.site.register.load().await?.state.floor;
            if now != floor {
                return Err(LogError::Superseded);
            }
        }
        Ok(self)
    }

    /// [`LogError::Superseded`] if the branch record has changed since, otherwise `error`.
    pub(crate) async fn blame(&self, error: LogError) -> LogError {
        match self.walker.site.register.load().await {
            Ok(now) if now.state.stamp != self.loaded.state.stamp => LogError::Superseded,
            Ok(_) => error,
            Err(unread) => unread,
        }
    }

    pub(crate) fn finish(self) -> Recovered {
        let Self { loaded, walker, commits, boundaries } = self;
        Recovered { state: loaded.state, commits, boundaries, end: walker.position, seal: walker.seal() }
    }
}
