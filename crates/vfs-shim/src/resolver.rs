//! Where a database name leads: given by the layer above, which alone knows the backends.

use std::any::Any;
use std::ffi::c_int;
use std::sync::Arc;

use twill_types::Synchronous;
use twill_vfs_trait::Storage;

/// A storage that a name led to.
#[derive(Clone)]
pub struct Opened {
    /// The storage.
    pub storage: Arc<dyn Storage>,
    /// The canonical URL: equal keys are one storage, and locks are taken in key order.
    pub key: String,
    /// What `PRAGMA synchronous` truthfully answers.
    pub synchronous: Synchronous,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Dropped when libSQL closes the file.
    pub keep_alive: Option<Arc<dyn Any + Send + Sync>>,
}

/// Why a name could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct OpenFailure {
    /// The (extended) SQLITE_* code.
    pub code: c_int,
    /// What happened and what to do.
    pub message: String,
}

/// Leads names, of the main database and of ATTACH alike, to storages.
pub trait Resolver: Send + Sync + 'static {
    /// The stable name that [`Resolver::open`] will be given. `name` is what `sqlite3_open` or ATTACH got, after libSQL
    /// took a `file:` URI apart.
    ///
    /// # Errors
    /// When the name can lead nowhere.
    fn canonicalize(&self, name: &str) -> Result<String, OpenFailure>;

    /// The storage behind a canonical name. `params` are the parameters of a `file:` URI, in order.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(
        &self,
        name: &str,
        params: &[(String, String)],
        read_only: bool,
        create: bool,
    ) -> Result<Opened, OpenFailure>;
}
