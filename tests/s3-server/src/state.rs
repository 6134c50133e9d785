//! What the HTTP side, the control endpoint and the handle share.
//!
//! Invariants:
//! 1. Everything here may change while requests are under way; a request meets what held when it arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use twill_types::Door;
use twill_types::seeded::Chance;

use crate::faults::{Action, Faults};
use crate::journal::Journal;
use crate::latency::{Drawn, Latency};
use crate::objects::Objects;
use crate::request::Target;

pub(crate) struct State {
    pub(crate) objects: Arc<Objects>,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    latency: Mutex<Latency>,
    chance: Mutex<Chance>,
    same_key: Mutex<SameKey>,
    door: Arc<dyn Door>,
    started: Duration,
}

/// R2 takes one write per second and key: when each key was written last, while that is limited.
#[derive(Default)]
struct SameKey {
    interval: Option<Duration>,
    written: BTreeMap<String, Duration>,
}

impl State {
    pub(crate) fn new(objects: Arc<Objects>, latency: Latency, seed: u64, door: Arc<dyn Door>) -> Self {
        Self {
            objects,
            journal: Journal::default(),
            faults: Faults::default(),
            latency: Mutex::new(latency),
            chance: Mutex::new(Chance::from_seed(seed)),
            same_key: Mutex::default(),
            started: door.now(),
            door,
        }
    }

    pub(crate) fn since_start(&self) -> Duration {
        self.door.now().saturating_sub(self.started)
    }

    /// Sleeps until so long after the server's start.
    pub(crate) async fn sleep_until(&self, moment: Duration) {
        let left = moment.saturating_sub(self.since_start());
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }

    pub(crate) fn set_latency(&self, latency: Latency) {
        *locked(&self.latency) = latency;
    }

    pub(crate) fn set_same_key_interval(&self, interval: Option<Duration>) {
        *locked(&self.same_key) = SameKey { interval, written: BTreeMap::new() };
    }

    /// This request's latency and faults.
    pub(crate) fn draw(&self, target: &Target) -> (Drawn, Vec<Action>) {
        let latency = *locked(&self.latency);
        let mut chance = locked(&self.chance);
        (latency.draw(target.kind, &mut chance), self.faults.strike(target, &mut chance))
    }

    /// The refusal of a write that comes too soon after one to the same key.
    pub(crate) fn too_often(&self, target: &Target, now: Duration) -> Option<Action> {
        let mut same_key = locked(&self.same_key);
        let interval = same_key.interval.filter(|_| target.kind.writes() && !target.key.is_empty())?;
        let name = format!("{}/{}", target.bucket, target.key);
        if same_key.written.get(&name).is_some_and(|last| now.saturating_sub(*last) < interval) {
            return Some(Action::Answer { status: 429, code: None, applied: false });
        }
        same_key.written.insert(name, now);
        None
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
