//! One process, one storage: the map from canonical URLs to open storages.
//!
//! Invariants:
//! 1. At most one storage per canonical URL is open in the process at any time. Opening waits for an open or a close of
//!    the same URL that is under way; different URLs do not wait for each other.
//! 2. A storage closes when the last [`Shared`] handle to it goes, and is forgotten only after its close returned.
//! 3. No lock of this module is held while a `Shared` is dropped, so a drop may close.
//!
//! On a crash nothing here matters. It refuses to give a handle to a storage that is open with other options: one opened
//! read-only is not upgraded, and another `synchronous` is an error that names both. A read-only handle on a storage
//! open for writing is given; its connections refuse writes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use twill_types::{Door, Synchronous};
use twill_vfs_trait::Storage;

use crate::Error;
use crate::backend::{self, Backend};
use crate::connection::Watchdog;
use crate::delegation::Delegation;
use crate::metrics::Census;
use crate::url::{Mode, Options, Target, canonical_path, file_url, memory_url};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);

#[derive(Default)]
struct Registry {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

/// One canonical URL.
#[derive(Default)]
struct Entry {
    occupant: Mutex<Occupant>,
    vacated: Condvar,
}

#[derive(Default)]
enum Occupant {
    /// Nothing is open.
    #[default]
    Vacant,
    /// Some thread is opening the storage.
    Opening,
    /// Open; when the handle no longer upgrades, its close is under way.
    Open(Weak<Shared>),
}

/// An open storage and what belongs to it, shared by every handle and connection of the process.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) backend: Backend,
    /// The canonical URL.
    pub(crate) url: String,
    /// The name SQLite gets; it leads back here through the resolver.
    pub(crate) name: String,
    pub(crate) path: Option<PathBuf>,
    pub(crate) synchronous: Synchronous,
    pub(crate) read_only: bool,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) census: Census,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) delegation: Arc<Delegation>,
    process: u32,
    entry: Arc<Entry>,
}

/// A target with its canonical name.
pub(crate) struct Place {
    url: String,
    name: String,
    kind: Kind,
}

enum Kind {
    Memory,
    File(PathBuf),
}

impl Place {
    /// The place a target leads to; every private memory database is a place of its own.
    pub(crate) fn of(target: &Target) -> Result<Self, Error> {
        Ok(match target {
            Target::PrivateMemory => {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                let name = format!("{PRIVATE_PREFIX}{}", NEXT.fetch_add(1, Ordering::Relaxed));
                Self { url: name.clone(), name, kind: Kind::Memory }
            }
            Target::SharedMemory(name) => {
                let url = memory_url(name);
                Self { name: url.clone(), url, kind: Kind::Memory }
            }
            Target::File(path) => {
                let path = canonical_path(path)?;
                Self {
                    url: file_url(&path),
                    name: path.to_string_lossy().into_owned(),
                    kind: Kind::File(path),
                }
            }
        })
    }

    /// The name SQLite shall know this place by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Names of private memory databases begin so. SQLite itself keeps `:memory:`.
pub(crate) const PRIVATE_PREFIX: &str = ":memory:#";

/// The storage at a place, opened if it is not open yet.
pub(crate) fn open(place: Place, options: &Options) -> Result<Arc<Shared>, Error> {
    let entry = Arc::clone(REGISTRY.entries().entry(place.url.clone()).or_default());
    if let Some(shared) = entry.wait_for_claim() {
        shared.check_process()?;
        shared.check_compatible(options)?;
        return Ok(shared);
    }
    // This thread has claimed the entry: everyone else waits until the claim is dropped.
    let mut claim = Claim { entry: &entry, url: &place.url, opened: None };
    let shared = place.open_storage(options, &entry)?;
    claim.opened = Some(Arc::downgrade(&shared));
    drop(claim);
    Ok(shared)
}

/// The storage with this canonical URL, if it is open.
pub(crate) fn find(url: &str) -> Option<Arc<Shared>> {
    let entry = REGISTRY.entries().get(url).cloned()?;
    let occupant = entry.occupant();
    match &*occupant {
        Occupant::Open(shared) => shared.upgrade(),
        Occupant::Vacant | Occupant::Opening => None,
    }
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn occupant(&self) -> MutexGuard<'_, Occupant> {
        self.occupant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open storage; or `None`, and then the caller must open one under a [`Claim`].
    fn wait_for_claim(&self) -> Option<Arc<Shared>> {
        let mut occupant = self.occupant();
        loop {
            match &*occupant {
                Occupant::Vacant => {
                    *occupant = Occupant::Opening;
                    return None;
                }
                Occupant::Open(shared) => {
                    if let Some(shared) = shared.upgrade() {
                        return Some(shared);
                    }
                }
                Occupant::Opening => {}
            }
            occupant = self.vacated.wait(occupant).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends an opening or a close.
    fn settle(self: &Arc<Self>, url: &str, opened: Option<Weak<Shared>>) {
        let is_vacant = opened.is_none();
        *self.occupant() = opened.map_or(Occupant::Vacant, Occupant::Open);
        self.vacated.notify_all();
        if is_vacant {
            REGISTRY.forget(url, self);
        }
    }
}

/// The right to open one URL, given back also by an error or a panic.
struct Claim<'a> {
    entry: &'a Arc<Entry>,
    url: &'a str,
    opened: Option<Weak<Shared>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.entry.settle(self.url, self.opened.take());
    }
}

impl Registry {
    /// Removes a vacant entry that nobody else looks at. Under the map's lock nobody can begin to.
    fn forget(&self, url: &str, entry: &Arc<Entry>) {
        // The map's own and the caller's.
        const HOLDERS: usize = 2;
        let mut entries = self.entries();
        let is_ours = entries.get(url).is_some_and(|present| Arc::ptr_eq(present, entry));
        if is_ours && Arc::strong_count(entry) <= HOLDERS && matches!(*entry.occupant(), Occupant::Vacant) {
            entries.remove(url);
        }
    }
}

impl Place {
    fn open_storage(&self, options: &Options, entry: &Arc<Entry>) -> Result<Arc<Shared>, Error> {
        let _span = tracing::debug_span!("open", url = %self.url).entered();
        let door = <dyn Door>::system();
        let mode = options.mode.unwrap_or(Mode::ReadWriteCreate);
        let synchronous = options.synchronous.unwrap_or_default();
        let (storage, backend) = match &self.kind {
            Kind::Memory if mode != Mode::ReadWriteCreate => {
                return Err(Error::cannot_open(format!(
                    "{} does not exist; open it without mode=ro or mode=rw first",
                    self.url
                )));
            }
            Kind::Memory => backend::open_memory(),
            Kind::File(path) => backend::open_file(path, mode, synchronous, &door)?,
        };
        Ok(Arc::new(Shared {
            storage,
            backend,
            url: self.url.clone(),
            name: self.name.clone(),
            path: match &self.kind {
                Kind::Memory => None,
                Kind::File(path) => Some(path.clone()),
            },
            synchronous,
            read_only: mode == Mode::ReadOnly,
            watchdog: Watchdog::new(Arc::clone(&door)),
            delegation: Delegation::new(Arc::clone(&door)),
            door,
            census: Census::default(),
            process: std::process::id(),
            entry: Arc::clone(entry),
        }))
    }
}

impl Shared {
    /// Refuses a child process that came by fork: it shares file descriptors and locks with its parent.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.process == std::process::id() {
            return Ok(());
        }
        Err(Error::misuse(format!(
            "{} was opened before this process forked; open databases after fork, not before",
            self.url
        )))
    }

    fn check_compatible(&self, options: &Options) -> Result<(), Error> {
        if self.read_only && options.mode.is_some_and(|mode| mode != Mode::ReadOnly) {
            return Err(Error::cannot_open(format!(
                "{} is already open read-only in this process; close it before opening it for writing",
                self.url
            )));
        }
        match options.synchronous {
            Some(asked) if asked != self.synchronous => Err(Error::cannot_open(format!(
                "{} is already open in this process with synchronous={}, not {}",
                self.url,
                synchronous_name(self.synchronous),
                synchronous_name(asked)
            ))),
            _ => Ok(()),
        }
    }

    /// Settles everything and releases the medium. The drop that follows closes again, which does nothing.
    pub(crate) fn close(&self) -> Result<(), Error> {
        let _span = tracing::debug_span!("close", url = %self.url).entered();
        Ok(self.storage.close()?)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A forked child must not settle its parent's files; nor drop the storage, which would give the parent's lock
            // back, since the two share it, and wait for a thread that only the parent has.
            let _leaked = Arc::into_raw(Arc::clone(&self.storage));
        } else if let Err(error) = self.storage.close() {
            tracing::warn!(url = %self.url, %error, "the database did not close cleanly");
        }
        self.entry.settle(&self.url, None);
    }
}

const fn synchronous_name(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::Off => "off",
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    }
}
