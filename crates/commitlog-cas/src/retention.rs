//! Floor, horizon and collection: what the log gives up, and in which order.

use twill_types::Lsn;

use crate::error::LogError;
use crate::position::Position;
use crate::register::LogState;
use crate::site::Site;

/// What to raise. What is not newer than the record's own is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raise {
    /// Everything before it rests elsewhere, durably.
    pub floor: Option<Position>,
    /// History before it is given up. At most the floor.
    pub horizon: Option<Position>,
}

/// Raises floor or horizon in the branch record. Deletes nothing.
///
/// # Errors
/// [`LogError::Invalid`] for a horizon beyond the floor; otherwise that of the store.
pub async fn raise(site: &Site, raise: Raise) -> Result<LogState, LogError> {
    let _ = (site, raise);
    unimplemented!()
}

/// Commits that a pin keeps although they are below the horizon: `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The first kept commit.
    pub first: Lsn,
    /// The last kept commit.
    pub last: Lsn,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Records and merged objects deleted.
    pub records: u64,
    /// Parts deleted.
    pub parts: u64,
    /// Objects kept because of a pin.
    pub kept: u64,
}

/// Deletes what lies below the horizon, but no fence, no seal, and nothing pinned. The caller lists its pins *after*
/// [`raise`] returned.
///
/// # Errors
/// That of the store. What was deleted until then stays deleted; the next collection goes on.
pub async fn collect(site: &Site, pinned: &[Pinned]) -> Result<Collected, LogError> {
    let _ = (site, pinned);
    unimplemented!()
}
