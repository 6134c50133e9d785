//! The backends behind URLs. The one place that names them.

use std::path::Path;
use std::sync::Arc;

use twill_types::{Door, Synchronous};
use twill_vfs_trait::{MemoryStorage, Storage};

use crate::Error;
use crate::metrics::StorageMetrics;
use crate::url::Mode;

/// What a storage offers beyond the trait.
pub(crate) enum Backend {
    Memory,
}

impl Backend {
    pub(crate) fn metrics(&self) -> Option<StorageMetrics> {
        match self {
            Self::Memory => None,
        }
    }
}

pub(crate) fn open_memory() -> (Arc<dyn Storage>, Backend) {
    (Arc::new(MemoryStorage::new()), Backend::Memory)
}

pub(crate) fn open_file(
    path: &Path,
    _mode: Mode,
    _synchronous: Synchronous,
    _door: &Arc<dyn Door>,
) -> Result<(Arc<dyn Storage>, Backend), Error> {
    Err(Error::cannot_open(format!("cannot open {}: file: is not in this build", path.display())))
}
