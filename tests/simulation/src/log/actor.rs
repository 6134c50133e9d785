//! A process of the log's simulation: in each life it does what its habits say until it dies or the curtain falls.
//!
//! Invariants:
//! 1. What a client remembers over its deaths (receipts of commits, positions it has seen) is plain values that the world
//!    keeps for it; everything else dies with a life.
//! 2. Everything that the log tells is handed to the oracle before anything else is done with it.
//!
//! Crash: at every point, and at any await. Refuses: nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use twill_commitlog_cas::{Identity, Loaded, LogError, Position, Register, Site};
use twill_types::seeded::Chance;

use super::environment::SimulatedEnvironment;
use super::oracle::{Oracle, Receipt};
use super::plan::Plan;
use super::sabotage::Sabotage;
use super::{keeping, reading, writing};
use crate::process::{Process, ProcessId};
use crate::store::{Bucket, Client};
use crate::world::lock;

/// Makes the branch record's register for one life of a process; planted faults put another in its place.
pub type MakeRegister = Arc<dyn Fn(&Cast, &Process) -> Arc<dyn Register> + Send + Sync>;

/// How many receipts and positions a process remembers.
const REMEMBERED: usize = 40;

/// What a process remembers over its deaths.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Commits it handed in.
    pub receipts: Vec<Receipt>,
    /// Boundaries of the history that it has seen.
    pub positions: Vec<Position>,
}

/// What all processes of a run share.
#[derive(Clone)]
pub struct Cast {
    /// The bucket.
    pub bucket: Bucket,
    /// Who sees everything.
    pub oracle: Oracle,
    /// What the run is like.
    pub plan: Arc<Plan>,
    /// The timeline.
    pub identity: Identity,
    /// Set when sessions shall come to their end.
    pub curtain: Arc<Mutex<bool>>,
    /// What each process remembers.
    pub memories: Arc<Mutex<BTreeMap<ProcessId, Memory>>>,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
    /// Makes registers.
    pub register: MakeRegister,
}

impl std::fmt::Debug for Cast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cast").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// The folder of the timeline.
#[must_use]
pub fn root() -> Path {
    Path::from("db/timelines/main")
}

/// The branch record.
#[must_use]
pub fn record() -> Path {
    Path::from("db/branches/main")
}

/// One life of a process.
#[derive(Clone)]
pub struct Actor {
    /// What it shares with the others.
    pub cast: Cast,
    /// The life.
    pub process: Process,
    /// The log, as it reaches it.
    pub site: Site,
    /// Its way to the bucket.
    pub client: Client,
}

impl Cast {
    /// A life's own view of the log.
    #[must_use]
    pub fn actor(&self, process: &Process) -> Actor {
        let client = self.bucket.client(process);
        let store: Arc<dyn ObjectStore> = Arc::new(client.clone());
        let site = Site {
            store,
            root: root(),
            identity: self.identity,
            register: (self.register)(self, process),
            environment: Arc::new(SimulatedEnvironment(process.clone())),
            options: self.plan.options.clone(),
        };
        Actor { cast: self.clone(), process: process.clone(), site, client }
    }

    /// Whether sessions shall come to their end.
    #[must_use]
    pub fn curtain(&self) -> bool {
        *lock(&self.curtain)
    }
}

impl Actor {
    /// Who this is, for breaches: process, life, and what it was doing.
    #[must_use]
    pub fn witness(&self, doing: &str) -> String {
        let at = self.process.world().now();
        format!("[{:.6}] {doing} of {:?}", at.as_secs_f64(), self.process)
    }

    /// The oracle.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.cast.oracle
    }

    /// Enters what was just done into the trace.
    pub fn note(&self, what: &'static str, subject: &str, number: u64) {
        self.process.world().note(what, Some(self.process.id()), subject, number);
    }

    /// Remembers a boundary.
    pub fn remember_position(&self, position: Position) {
        let mut memories = lock(&self.cast.memories);
        let positions = &mut memories.entry(self.process.id()).or_default().positions;
        if positions.last() != Some(&position) {
            positions.push(position);
        }
        if positions.len() > REMEMBERED {
            positions.remove(0);
        }
    }

    /// Remembers a receipt.
    pub fn remember_receipt(&self, receipt: Receipt) {
        let mut memories = lock(&self.cast.memories);
        let receipts = &mut memories.entry(self.process.id()).or_default().receipts;
        receipts.push(receipt);
        if receipts.len() > REMEMBERED {
            receipts.remove(0);
        }
    }

    /// What this process remembers.
    #[must_use]
    pub fn memory(&self) -> Memory {
        lock(&self.cast.memories).get(&self.process.id()).cloned().unwrap_or_default()
    }

    /// Some leisure.
    pub async fn pause(&self, chance: &mut Chance) {
        let most = u64::try_from(self.cast.plan.leisure.as_micros()).unwrap_or(u64::MAX - 1);
        self.process.sleep(Duration::from_micros(chance.range(0..=most))).await;
    }

    /// The branch record, or the oracle's opinion of the error.
    pub async fn load(&self, doing: &str) -> Option<Loaded> {
        match self.site.register.load().await {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                self.excuse(&error, doing);
                None
            }
        }
    }

    /// Hands an error to the oracle.
    pub fn excuse(&self, error: &LogError, doing: &str) {
        self.note("error", doing, 0);
        self.oracle().excuse(error, &self.witness(doing));
    }
}

/// One life, from boot to death or curtain.
pub async fn live(actor: Actor) {
    let mut chance = actor.process.fork_chance("habits");
    let habits = actor.cast.plan.habits;
    actor.pause(&mut chance).await;
    while !actor.cast.curtain() {
        let weights = [
            habits.write,
            habits.follow,
            habits.read,
            habits.recover,
            habits.collect,
            habits.merge,
            habits.pin,
        ];
        match chance.weighted(&weights) {
            0 => writing::write(&actor, &mut chance).await,
            1 => reading::follow(&actor, &mut chance).await,
            2 => reading::read(&actor, &mut chance).await,
            3 => reading::recover(&actor, &mut chance).await,
            4 => keeping::collect(&actor, &mut chance).await,
            5 => keeping::merge(&actor, &mut chance).await,
            _ => keeping::pin(&actor, &mut chance).await,
        }
        actor.pause(&mut chance).await;
    }
}
