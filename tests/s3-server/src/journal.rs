//! What was asked: a counter per kind of request, and the newest requests one by one.
//!
//! Invariants:
//! 1. A request is counted when it arrives, before anything can go wrong with it; its reply when it leaves.
//! 2. The log keeps the newest [`Journal::KEPT`] requests, in the order of arrival; counters never forget.
//!
//! Requests to the control endpoint are not counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::request::{Kind, Precondition, Target};

/// What was counted of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Requests that arrived.
    pub requests: u64,
    /// Of those, answered with a status below 300.
    pub succeeded: u64,
    /// Of those, answered with any other status.
    pub refused: u64,
    /// Of those, ended without a reply.
    pub dropped: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of reply bodies, where their length was known.
    pub bytes_out: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 0.
    pub number: u64,
    /// When it arrived, in milliseconds since the server started.
    pub at_ms: f64,
    /// How long it took until the reply left, in milliseconds; `None` while it is under way.
    pub took_ms: Option<f64>,
    /// What it asked for.
    pub kind: Kind,
    /// The bucket.
    pub bucket: String,
    /// The key or prefix.
    pub key: String,
    /// Its precondition.
    pub precondition: Option<Precondition>,
    /// The status of its reply; `None` while under way and for replies that were dropped.
    pub status: Option<u16>,
    /// Whether a fault was injected.
    pub struck: bool,
}

/// Counters by kind.
pub type Counters = BTreeMap<Kind, Counter>;

/// How a request ended.
pub(crate) struct Ending {
    pub(crate) status: Option<u16>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) took: Duration,
}

#[derive(Debug, Default)]
struct Pages {
    next: u64,
    counters: Counters,
    log: VecDeque<Entry>,
}

/// The request log.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pages: Mutex<Pages>,
}

impl Journal {
    /// Requests that the log keeps.
    pub(crate) const KEPT: usize = 100_000;

    pub(crate) fn arrived(&self, target: &Target, at: Duration, struck: bool) -> u64 {
        let mut pages = self.pages();
        let number = pages.next;
        pages.next += 1;
        pages.counters.entry(target.kind).or_default().requests += 1;
        if pages.log.len() == Self::KEPT {
            pages.log.pop_front();
        }
        pages.log.push_back(Entry {
            number,
            at_ms: at.as_secs_f64() * 1e3,
            took_ms: None,
            kind: target.kind,
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            precondition: target.precondition,
            status: None,
            struck,
        });
        number
    }

    pub(crate) fn ended(&self, number: u64, kind: Kind, ending: &Ending) {
        let mut pages = self.pages();
        let counter = pages.counters.entry(kind).or_default();
        counter.bytes_in += ending.bytes_in;
        counter.bytes_out += ending.bytes_out;
        match ending.status {
            Some(status) if status < 300 => counter.succeeded += 1,
            Some(_) => counter.refused += 1,
            None => counter.dropped += 1,
        }
        let first = pages.log.front().map_or(0, |entry| entry.number);
        let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(entry) = place.and_then(|place| pages.log.get_mut(place)) {
            entry.took_ms = Some(ending.took.as_secs_f64() * 1e3);
            entry.status = ending.status;
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.pages().counters.clone()
    }

    pub(crate) fn log(&self) -> Vec<Entry> {
        self.pages().log.iter().cloned().collect()
    }

    pub(crate) fn forget(&self) {
        let mut pages = self.pages();
        pages.counters.clear();
        pages.log.clear();
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
