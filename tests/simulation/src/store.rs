//! A simulated object store: one bucket, reached by each process through a client of its own.
//!
//! The bucket's contents change in single instants, in the order in which requests *arrive*. Between a client and the bucket
//! everything may go wrong that goes wrong between a machine and S3; the [`Faults`] of a run say what and how often. The
//! errors are those that `object_store` 0.14's S3 client makes with its own retries switched off, texts included.
//!
//! Invariants:
//! 1. A request that was sent arrives, or not, whatever becomes of its sender: it may arrive hours after the sender gave up on
//!    it or died, and it may arrive twice.
//! 2. A conditional write is decided at the instant of its arrival, atomically. A read sees every write that arrived before.
//! 3. A LIST takes time: what exists from its beginning to its end is in it, what never does meanwhile is not, and each key
//!    that appears or vanishes meanwhile is or is not, independently of the others.
//! 4. Every request is in the history, with what became of it.
//!
//! Crash: the bucket never loses what it acknowledged, unless a [`Planted`] fault says so, which is there to prove that the
//! oracle notices. Refuses: to send anything for a process whose life has ended.

pub mod client;
mod error;
mod faults;
mod shelf;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use twill_types::seeded::Chance;

use crate::process::{Process, ProcessId};
use crate::world::{World, lock};

pub use client::Client;
pub use error::{Refusal, StoreFault};
pub use faults::{Faults, Latency, Outage, Planted};
pub use shelf::{Listed, Shelf, Stored};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Write whatever is there.
    Put,
    /// Write if nothing is there.
    Create,
    /// Write if the ETag is still the one named.
    Update,
    /// Read all, or a range.
    Get,
    /// Read the metadata.
    Head,
    /// List a page of keys.
    List,
    /// Delete one or many.
    Delete,
    /// A step of a multipart upload.
    Upload,
}

impl Verb {
    /// The verb as traces and histories name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::List => "LIST",
            Self::Delete => "DELETE",
            Self::Upload => "UPLOAD",
        }
    }

    /// The HTTP method, as the S3 client's errors name it.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Put | Self::Create | Self::Update => "PUT",
            Self::Get | Self::List => "GET",
            Self::Head => "HEAD",
            Self::Delete | Self::Upload => "POST",
        }
    }

    /// Whether the request changes the bucket.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::List)
    }
}

/// One request, and what became of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it, and in which life.
    pub sender: (ProcessId, u32),
    /// What it asks for.
    pub verb: Verb,
    /// The key, or the first of several.
    pub key: String,
    /// When it was sent.
    pub sent: Duration,
    /// When it took effect, each time.
    pub arrived: Vec<(Duration, Result<(), Refusal>)>,
    /// When the answer reached the sender, if it did.
    pub answered: Option<Duration>,
}

/// A bucket of the simulated store; clones are the same bucket.
#[derive(Clone)]
pub struct Bucket {
    world: World,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

pub(crate) struct State {
    pub(crate) shelf: Shelf,
    pub(crate) faults: Faults,
    pub(crate) outages: BTreeMap<ProcessId, Outage>,
    pub(crate) chance: Chance,
    pub(crate) history: Vec<Request>,
}

impl Bucket {
    /// An empty bucket.
    #[must_use]
    pub fn new(world: &World, seed: u64, faults: Faults) -> Self {
        let shelf = Shelf::new(faults.etag_of_content, faults.planted);
        let state = State {
            shelf,
            faults,
            outages: BTreeMap::new(),
            chance: Chance::from_seed(seed).fork("bucket"),
            history: Vec::new(),
        };
        Self { world: world.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// The way to this bucket for one life of a process.
    #[must_use]
    pub fn client(&self, process: &Process) -> Client {
        Client::new(self.clone(), process.clone())
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.shelf.plant(faults.planted);
        state.faults = faults;
    }

    /// Changes what goes wrong for one process alone.
    pub fn set_outage(&self, id: ProcessId, outage: Outage) {
        self.world.note("outage", Some(id), outage.name(), 0);
        self.state().outages.insert(id, outage);
    }

    /// Every request so far, in the order of sending.
    #[must_use]
    pub fn history(&self) -> Vec<Request> {
        self.state().history.clone()
    }

    /// How many requests were sent so far, by one process or by all.
    #[must_use]
    pub fn requests(&self, sender: Option<ProcessId>) -> usize {
        let state = self.state();
        match sender {
            None => state.history.len(),
            Some(id) => state.history.iter().filter(|request| request.sender.0 == id).count(),
        }
    }

    /// What is in the bucket now, as nobody who has to ask can see it.
    pub fn look<T>(&self, with: impl FnOnce(&Shelf) -> T) -> T {
        with(&self.state().shelf)
    }

    /// Changes what is in the bucket behind everybody's back: for damage that is planted on purpose.
    pub fn tamper<T>(&self, with: impl FnOnce(&mut Shelf) -> T) -> T {
        with(&mut self.state().shelf)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }
}
