//! Immutable read views: a state's name, its size, and the pin that keeps its bytes readable.
//!
//! Invariant: while any clone of a [`Snapshot`] lives, its pin lives.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use twill_types::{Epoch, Lsn, PageSize, TimelineId};

/// The name of one state of one database. Two states with equal names hold equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateId {
    /// Which history.
    pub timeline: TimelineId,
    /// Which writer produced it.
    pub epoch: Epoch,
    /// Which commit it is.
    pub lsn: Lsn,
}

/// An immutable state, pinned until the last clone is dropped.
#[derive(Clone)]
pub struct Snapshot {
    id: StateId,
    page_count: u32,
    page_size: PageSize,
    pin: Arc<dyn Any + Send + Sync>,
}

impl Snapshot {
    /// For backends: a state whose bytes stay readable while `pin` lives.
    #[must_use]
    pub fn new(id: StateId, page_count: u32, page_size: PageSize, pin: Arc<dyn Any + Send + Sync>) -> Self {
        Self { id, page_count, page_size, pin }
    }

    /// The state's name.
    #[must_use]
    pub const fn id(&self) -> StateId {
        self.id
    }

    /// The state's commit number; never a name by itself.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.id.lsn
    }

    /// Pages in the database; 0 for a database that was never written.
    #[must_use]
    pub const fn page_count(&self) -> u32 {
        self.page_count
    }

    /// Size of every page. For an empty database only a proposal: its first commit decides.
    #[must_use]
    pub const fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// For backends: the pin, if it is of this type.
    #[must_use]
    pub fn pin<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.pin.downcast_ref()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("id", &self.id)
            .field("page_count", &self.page_count)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}
