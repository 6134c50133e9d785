//! The walk from the floor to the end of the history: one LIST, then the listed records at once.

use twill_types::Lsn;

use crate::commit::Commit;
use crate::error::LogError;
use crate::position::Position;
use crate::register::LogState;
use crate::site::Site;

/// What a walk found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The branch record's part it began with.
    pub state: LogState,
    /// The commits after the floor, in order, without gaps.
    pub commits: Vec<Commit>,
    /// The boundary after the last of them (for an opener: slot 0 of its own epoch).
    pub end: Position,
    /// The seal, if the timeline ended. Openers for writing answer [`LogError::Sealed`] instead.
    pub seal: Option<crate::record::Seal>,
}

/// Reads the history from the floor to its end, writing nothing.
///
/// # Errors
/// That of the store, or of what was read.
pub async fn recover(site: &Site) -> Result<Recovered, LogError> {
    let _ = (site, Lsn::ZERO);
    unimplemented!()
}
