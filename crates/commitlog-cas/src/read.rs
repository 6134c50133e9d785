//! Reading history in order, from any position at or after the horizon.

use twill_types::Lsn;

use crate::commit::Commit;
use crate::error::LogError;
use crate::position::Position;
use crate::site::Site;

/// A cursor over the history.
pub struct Reader {}

impl Reader {
    /// A cursor that begins at `from`.
    #[must_use]
    pub fn new(site: &Site, from: Position) -> Self {
        let _ = (site, from);
        unimplemented!()
    }

    /// Reads on, up to and including commit `to`, in batches; an empty batch is the end of the history as it is now.
    ///
    /// # Errors
    /// [`LogError::Expired`] when the position was collected; otherwise that of the store or of what was read.
    pub async fn next(&mut self, to: Lsn) -> Result<Vec<Commit>, LogError> {
        let _ = to;
        unimplemented!()
    }

    /// The boundary after what was read.
    #[must_use]
    pub fn position(&self) -> Position {
        unimplemented!()
    }
}
