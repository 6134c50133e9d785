//! What a name in SQL leads to: the main database of a connection, ATTACH and VACUUM INTO.
//!
//! SQLite takes `file:` URIs apart before it asks, so a name is a path here, or `memory://name` with its parameters. `''`
//! and `:memory:` are SQLite's own and never arrive.
//!
//! Invariants:
//! 1. A name leads to the storage that [`crate::Database::open`] gives for the same URL: one storage per canonical URL,
//!    kept open while SQLite holds the file.
//! 2. The name of an open database leads to it even if its file was moved since.

use std::path::PathBuf;
use std::sync::Arc;

use twill_vfs_shim::{OpenFailure, Opened, Resolver};

use crate::Error;
use crate::registry::{self, PRIVATE_PREFIX, Place, Shared};
use crate::url::{Location, Mode, Options, Target, file_url};

/// Leads every name through the registry.
pub(crate) struct RegistryResolver;

impl Resolver for RegistryResolver {
    fn canonicalize(&self, name: &str) -> Result<String, OpenFailure> {
        if live(name).is_some() {
            return Ok(name.to_owned());
        }
        if name.contains("://") {
            // Its parameters stay with the name until `open` reads them.
            Location::parse(name)?;
            return Ok(name.to_owned());
        }
        Ok(Place::of(&Target::File(PathBuf::from(name)))?.name().to_owned())
    }

    fn open(
        &self,
        name: &str,
        params: &[(String, String)],
        read_only: bool,
        create: bool,
    ) -> Result<Opened, OpenFailure> {
        let (target, mut options) = if name.contains("://") {
            let location = Location::parse(name)?;
            (location.target, location.options)
        } else {
            (Target::File(PathBuf::from(name)), Options::from_pairs(params, "file", true)?)
        };
        if options.busy_timeout.is_some() || options.idle_transaction_timeout.is_some() {
            let message = format!("{name}: timeouts belong to the connection, not to one database of it");
            return Err(Error::cannot_open(message).into());
        }
        let read_only = read_only || options.mode == Some(Mode::ReadOnly);
        // Without parameters there is nothing that could conflict.
        let shared = match live(name).filter(|_| params.is_empty()) {
            Some(shared) => shared,
            None => {
                if read_only {
                    options.mode = Some(Mode::ReadOnly);
                } else if !create {
                    options.mode = Some(Mode::ReadWrite);
                }
                registry::open(Place::of(&target)?, &options)?
            }
        };
        Ok(opened(shared, read_only))
    }
}

/// The open storage that SQLite knows by this name.
fn live(name: &str) -> Option<Arc<Shared>> {
    if name.starts_with(PRIVATE_PREFIX) || name.contains("://") {
        return registry::find(name);
    }
    registry::find(&file_url(name.as_ref()))
}

fn opened(shared: Arc<Shared>, read_only: bool) -> Opened {
    Opened {
        storage: Arc::clone(&shared.storage),
        key: shared.url.clone(),
        synchronous: shared.synchronous,
        read_only: read_only || shared.read_only,
        keep_alive: Some(shared),
    }
}

/// Registers the VFS, once per process, and checks that the linked libSQL is the one that was tested.
pub(crate) fn register() -> Result<(), Error> {
    static OUTCOME: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    let outcome = OUTCOME.get_or_init(|| {
        let report = twill_libsql::check_build().map_err(|error| error.to_string())?;
        for warning in report.performance_warnings() {
            tracing::warn!(%warning, "the linked libSQL is slower than it could be");
        }
        twill_vfs_shim::register_vfs(VFS_NAME, Arc::new(RegistryResolver)).map_err(|error| error.to_string())
    });
    outcome.clone().map_err(|message| Error::new(rusqlite::ffi::SQLITE_INTERNAL, message))
}

/// The name the VFS is registered under.
pub(crate) const VFS_NAME: &str = "twill";
