//! Reading history in order, from any position at or after the horizon, through merged objects and across fences.
//!
//! Invariants:
//! 1. What is given continues what was given before, checked record by record, without gaps.
//! 2. Below the floor an empty place may have been fenced by an opener that was superseded. So a fence that was read
//!    from a slot counts only if a LIST made after reading it shows no merged object over the slot (merged objects are
//!    published before the slots they hold are deleted).
//! 3. The position moves over a record only with its commits; a read that fails changes nothing.
//! 4. What was collected is [`LogError::Expired`], never a shorter history.

use std::sync::Arc;

use twill_types::Lsn;

use crate::commit::Commit;
use crate::error::LogError;
use crate::name::LogName;
use crate::position::Position;
use crate::record::Seal;
use crate::site::Site;
use crate::walk::{Listing, Met, Piece, Step, Walker, commits};

/// How often a reader lists anew, in one call, when the log changes under it.
const ATTEMPTS_MAX: u32 = 4;

/// A cursor over the history.
pub struct Reader {
    walker: Walker,
    /// The boundary after what was given.
    position: Position,
    listed: bool,
    /// Whether the end is held against the floor.
    checks_floor: bool,
}

impl Reader {
    /// A cursor that begins at `from`. Sends nothing yet.
    #[must_use]
    pub fn new(site: &Site, from: Position) -> Self {
        let site = Arc::new(site.clone());
        Self { walker: Walker::new(&site, from), position: from, listed: false, checks_floor: true }
    }

    /// The same, but its end may be where the floor left it behind: its owner looks after the floor.
    pub(crate) fn unchecked(site: &Site, from: Position) -> Self {
        Self { checks_floor: false, ..Self::new(site, from) }
    }

    /// Reads on, up to and including commit `to`, in batches of whole records; an empty batch is the end of the
    /// history as it is now, or the last record before `to`. Commits beyond `to` are left out, and the position stays
    /// before their record.
    ///
    /// # Errors
    /// [`LogError::Expired`] when the position was collected; otherwise that of the store or of what was read.
    pub async fn next(&mut self, to: Lsn) -> Result<Vec<Commit>, LogError> {
        let mut batch = Vec::new();
        while batch.is_empty() && self.position.lsn < to {
            match self.read_on(to, &mut batch).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // The walk is ahead of what was given.
                    self.return_to(self.position);
                    return Err(error);
                }
            }
        }
        Ok(batch)
    }

    /// Reads the next records; `false` when there is nothing more up to `to`.
    async fn read_on(&mut self, to: Lsn, batch: &mut Vec<Commit>) -> Result<bool, LogError> {
        let pieces = self.pieces().await?;
        let goes_on = !pieces.is_empty();
        for piece in pieces {
            // What lies beyond `to` may be gone: a pin keeps no more than it names.
            if self.position.lsn >= to {
                self.return_to(self.position);
                return Ok(false);
            }
            let read = match commits(&self.walker.site, &piece).await {
                // Collection deletes the parts of a record before the record.
                Err(error @ LogError::Missing { .. }) => {
                    self.expired(self.position.lsn).await?;
                    return Err(error);
                }
                read => read?,
            };
            batch.extend(read.into_iter().filter(|commit| commit.lsn <= to));
            if piece.after.lsn > to {
                self.return_to(self.position);
                return Ok(false);
            }
            self.position = piece.after;
        }
        Ok(goes_on)
    }

    /// The boundary after what was read.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The seal, if the reader has come to it.
    #[must_use]
    pub const fn seal(&self) -> Option<Seal> {
        self.walker.seal()
    }

    fn return_to(&mut self, position: Position) {
        let site = Arc::clone(&self.walker.site);
        self.walker = Walker::new(&site, position);
        self.listed = false;
    }

    /// The next records; empty at the end.
    pub(crate) async fn pieces(&mut self) -> Result<Vec<Piece>, LogError> {
        let mut suspect = None;
        for _ in 0..ATTEMPTS_MAX {
            let fresh = !self.listed;
            if fresh {
                self.walker.list().await?;
                self.listed = true;
            }
            let before = self.walker.position;
            match self.walker.advance().await {
                Ok(Met::Pieces(pieces)) => {
                    if !self.is_superseded_fence(&pieces).await? {
                        return Ok(pieces);
                    }
                }
                Ok(Met::End) if self.walker.seal().is_some() => return Ok(Vec::new()),
                // The listing is at its end; one made now may go on.
                Ok(Met::End) if !fresh => {}
                Ok(Met::End) => {
                    if !self.checks_floor || suspect.is_none() && !self.is_behind(before.lsn).await? {
                        // The next call lists again: a later end may be further on.
                        self.listed = false;
                        return Ok(Vec::new());
                    }
                    // The floor is beyond. Perhaps it came there just now, with what this LIST did not see.
                    if suspect == Some(before.lsn) {
                        break;
                    }
                    suspect = Some(before.lsn);
                }
                Ok(Met::Vanished(_)) => {}
                // What a superseded opener left behind does not fit; a newer LIST shows what holds the place.
                Err(LogError::Corrupt { .. }) if !fresh => {}
                Err(error @ LogError::Corrupt { .. }) => {
                    self.expired(before.lsn).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            self.return_to(before);
        }
        self.expired(self.walker.position.lsn).await?;
        let object = LogName::Slot(self.walker.position.slot).path(&self.walker.site.root).to_string();
        Err(LogError::Missing { object })
    }

    /// Whether the floor has passed this commit.
    async fn is_behind(&self, lsn: Lsn) -> Result<bool, LogError> {
        Ok(self.walker.site.register.load().await?.state.floor.lsn > lsn)
    }

    /// [`LogError::Expired`], if the floor has passed this commit and nothing is left to go on with.
    async fn expired(&self, lsn: Lsn) -> Result<(), LogError> {
        let state = self.walker.site.register.load().await?.state;
        if state.floor.lsn > lsn {
            Err(LogError::Expired { lsn, horizon: state.horizon.lsn })
        } else {
            Ok(())
        }
    }

    /// Whether the last of `pieces` is a fence in a slot that a merged object holds.
    async fn is_superseded_fence(&self, pieces: &[Piece]) -> Result<bool, LogError> {
        match pieces.last() {
            Some(Piece { step: Step::Fence, name: LogName::Slot(slot), .. }) => {
                let listing = Listing::load_epoch(&self.walker.site, *slot).await?;
                Ok(listing.merged_over(*slot).is_some())
            }
            _ => Ok(false),
        }
    }
}
