//! Faults that are planted on purpose, to prove that the harness finds them; and the founding of a log.
//!
//! Each breaks one rule of the log, or one promise of the store, and nothing else. A run under sabotage must end in a breach
//! within a number of seeds that `tests/sabotage.rs` states; a run without must not.
//!
//! Crash: see [`super::actor`]. Refuses: nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use twill_commitlog_cas::{Loaded, LogError, LogState, ObjectRegister, Outcome, Register, Swapped, Version};
use twill_types::Lsn;

use super::actor::{Actor, Cast, record, root};
use super::environment::SimulatedEnvironment;
use super::plan::Plan;
use crate::process::Process;
use crate::store::Planted;
use crate::world::World;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// The store breaks a promise.
    Store(Planted),
    /// The branch record is replaced without comparing: an opener acknowledges although its record changed (rule 8).
    BlindSwap,
    /// Somebody deletes the last record of old epochs: fences (rule 9).
    FencesDeleted,
    /// The branch record names a floor one slot further than what rests elsewhere.
    FloorTooFar,
    /// A collector does not look at pins (rule 14).
    PinsIgnored,
    /// A client takes an indeterminate outcome for success.
    DoubtIsSuccess,
    /// A client takes an indeterminate outcome for failure.
    DoubtIsFailure,
}

impl Sabotage {
    /// Changes what the fault needs to show itself.
    pub fn adapt(self, plan: &mut Plan) {
        match self {
            Self::Store(planted) => plan.faults.planted = planted,
            Self::PinsIgnored => {
                plan.habits.pin = plan.habits.pin.max(4);
                plan.habits.collect = plan.habits.collect.max(4);
                plan.floor = plan.floor.max(20);
            }
            Self::FloorTooFar => plan.floor = plan.floor.max(20),
            Self::None
            | Self::BlindSwap
            | Self::FencesDeleted
            | Self::DoubtIsSuccess
            | Self::DoubtIsFailure => {}
        }
    }

    /// The branch record as a process reaches it.
    #[must_use]
    pub fn register(self, cast: &Cast, process: &Process) -> Arc<dyn Register> {
        let honest = Arc::new(honest(cast, process));
        match self {
            Self::BlindSwap => Arc::new(Blind(honest)),
            Self::FloorTooFar => Arc::new(TooFar(honest)),
            Self::None
            | Self::Store(_)
            | Self::FencesDeleted
            | Self::PinsIgnored
            | Self::DoubtIsSuccess
            | Self::DoubtIsFailure => honest,
        }
    }

    /// What a client believes that it was told.
    #[must_use]
    pub fn believes(self, outcome: &Outcome) -> Outcome {
        match (self, outcome) {
            (Self::DoubtIsSuccess, Outcome::Indeterminate(_)) => Outcome::Durable,
            (Self::DoubtIsFailure, Outcome::Indeterminate(error)) => Outcome::NotApplied(error.clone()),
            _ => outcome.clone(),
        }
    }

    /// Starts what goes on beside the processes.
    pub fn begin(self, world: &World, cast: &Cast) {
        if self == Self::FencesDeleted {
            let (outside, bucket) = (world.clone(), cast.bucket.clone());
            let until = world.now() + cast.plan.storm;
            world.spawn(async move {
                while outside.now() < until {
                    outside.sleep(Duration::from_secs(3)).await;
                    bucket.tamper(|shelf| {
                        for key in last_of_old_epochs(shelf.objects().map(|(key, _)| key)) {
                            shelf.remove(&key);
                        }
                    });
                }
            });
        }
    }
}

/// The last record of each epoch but the newest.
fn last_of_old_epochs<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<String> {
    let prefix = format!("{}/log/", root());
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for key in keys {
        if let Some((epoch, _)) = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) {
            // Keys come in order, so the last one stays.
            last.insert(epoch, key);
        }
    }
    last.pop_last();
    last.into_values().map(str::to_owned).collect()
}

fn honest(cast: &Cast, process: &Process) -> ObjectRegister {
    ObjectRegister::new(
        Arc::new(cast.bucket.client(process)),
        record(),
        cast.identity,
        Arc::new(SimulatedEnvironment(process.clone())),
        cast.plan.options.clone(),
    )
}

/// Creates the branch record.
///
/// # Errors
/// What the store says.
pub async fn found(actor: &Actor) -> Result<(), String> {
    let register = honest(&actor.cast, &actor.process);
    let created = register.create(Lsn::ZERO, Bytes::new()).await;
    created.map(drop).map_err(|error| format!("founding: {error}"))
}

/// Swaps against whatever is there.
struct Blind(Arc<dyn Register>);

impl Register for Blind {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LogError>> {
        self.0.load()
    }

    fn swap(&self, _: Version, state: LogState) -> BoxFuture<'_, Result<Swapped, LogError>> {
        async move {
            loop {
                let there = self.0.load().await?;
                if let done @ Swapped::Done(_) = self.0.swap(there.version, state).await? {
                    return Ok(done);
                }
            }
        }
        .boxed()
    }
}

/// Says that the floor is one slot further than it is.
struct TooFar(Arc<dyn Register>);

impl Register for TooFar {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LogError>> {
        async move {
            let mut loaded = self.0.load().await?;
            if loaded.state.floor.slot.seq.0 > 0 {
                loaded.state.floor.slot = loaded.state.floor.slot.next();
            }
            Ok(loaded)
        }
        .boxed()
    }

    fn swap(&self, version: Version, state: LogState) -> BoxFuture<'_, Result<Swapped, LogError>> {
        self.0.swap(version, state)
    }
}
