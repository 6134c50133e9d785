//! Merging of small objects below the floor, so that a week of single commits is not a million objects.

use crate::error::LogError;
use crate::position::Position;
use crate::site::Site;

/// How to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeOptions {
    /// A merged object takes no further record once it has this many bytes.
    pub target_bytes: usize,
    /// Fewer records than this in a row are left alone.
    pub records_min: usize,
    /// At most this many merged objects are made by one call.
    pub objects_max: usize,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self { target_bytes: 8 << 20, records_min: 16, objects_max: 16 }
    }
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Merged objects published.
    pub objects: u64,
    /// Records that are now in them, and deleted as objects of their own.
    pub records: u64,
    /// Where the next merge may begin, so that it need not list what this one has seen.
    pub next: Position,
}

/// Merges records from `from` (at or after the horizon) up to the floor: publishes, then deletes.
///
/// # Errors
/// That of the store, or of what was read. Whatever was published or deleted until then is in order.
pub async fn merge(site: &Site, from: Position, options: &MergeOptions) -> Result<Merged, LogError> {
    let _ = (site, from, options);
    unimplemented!()
}
