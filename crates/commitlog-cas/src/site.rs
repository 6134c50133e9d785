//! Where a log is and what it works with: the store, the folder, the identity, the branch record, the environment.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use crate::environment::Environment;
use crate::options::Options;
use crate::position::Identity;
use crate::register::Register;

/// Everything an operation on one timeline's log needs. Cheap to clone.
///
/// The client behind `store` must not retry by itself: `RetryConfig { max_retries: 0, .. }`. A client that repeats a
/// conditional PUT whose first reply was lost reports "exists" for its own object (settled here by reading back), but
/// it also hides how many attempts there were, and a definite refusal after an attempt of unknown fate would pass for
/// "not applied". It should also tell status codes apart: see [`crate::reply`].
#[derive(Clone)]
pub struct Site {
    /// The bucket. Its conditional creates must be atomic.
    pub store: Arc<dyn ObjectStore>,
    /// The timeline's folder; `log/` and `parts/` are below it.
    pub root: Path,
    /// Whose log it is; records of another are refused.
    pub identity: Identity,
    /// The branch record.
    pub register: Arc<dyn Register>,
    /// Clock, timer, randomness.
    pub environment: Arc<dyn Environment>,
    /// The settings.
    pub options: Options,
}
