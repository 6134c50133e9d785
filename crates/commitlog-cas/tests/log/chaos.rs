//! Writers that open, commit, crash and come back, a keeper that raises, merges and collects, and a follower, over a
//! store that loses, delays and repeats requests: nothing acknowledged is lost, and nobody ever sees another history.
//!
//! `TWILL_LOG_SEEDS=5000 cargo test -p twill-commitlog-cas --test log chaos` runs more of them, `TWILL_LOG_SEED=17` one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use futures_util::pin_mut;
use twill_commitlog_cas::{
    Environment, Follower, Log, LogError, MergeOptions, NewCommit, Opened, Options, Outcome, Pinned, Polling,
    Raise, Reader, collect, merge, raise, recover,
};
use twill_types::Lsn;

use crate::world::{MS, World};

/// What everybody was told.
#[derive(Default)]
struct Told {
    durable: BTreeMap<Lsn, String>,
    not_applied: Vec<String>,
    /// What was read: the same for every reader, for ever.
    seen: BTreeMap<Lsn, String>,
    openings: usize,
}

impl Told {
    fn see(&mut self, who: &str, lsn: Lsn, payload: String) {
        let before = self.seen.entry(lsn).or_insert_with(|| payload.clone());
        assert_eq!(*before, payload, "{who} reads another commit {lsn} than was read before");
    }
}

fn options(world: &World) -> Options {
    Options {
        window: 1 + usize::try_from(world.below(6)).unwrap(),
        part_bytes: 64,
        record_bytes: 200,
        ..Options::default()
    }
}

/// One life of a writing process: from opening to closing, unless it is dropped before.
async fn write(world: World, told: Arc<Mutex<Told>>, name: String) {
    let site = world.site_with(options(&world));
    let before = told.lock().unwrap().durable.clone();
    let Ok(Opened { log, driver, recovered }) = Log::open(&site).await else { return };
    {
        let mut told = told.lock().unwrap();
        told.openings += 1;
        for commit in &recovered.commits {
            told.see("an opener", commit.lsn, String::from_utf8(commit.payload.to_vec()).unwrap());
        }
        for (lsn, payload) in before.iter().filter(|(lsn, _)| **lsn > recovered.state.floor.lsn) {
            let found = recovered.commits.iter().find(|commit| commit.lsn == *lsn);
            assert!(found.is_some(), "acknowledged {lsn} {payload} is missing from an opening");
        }
    }
    let writes = async {
        let mut commits = Vec::new();
        for number in 0..1 + world.below(12) {
            let size = usize::try_from(if world.below(6) == 0 { 300 } else { world.below(40) }).unwrap();
            let payload = format!("{name}.{number} {}", "x".repeat(size));
            let Ok(lsn) = log.append(NewCommit::new(payload.clone())) else { break };
            commits.push(settle(&log, &told, lsn, payload));
            world.sleep(MS * u32::try_from(world.below(60)).unwrap()).await;
        }
        join_all(commits).await;
        if world.below(3) == 0 {
            drop(log.raise(Raise { floor: log.boundary_at(log.durable_lsn()), horizon: None }).await);
        }
        drop(log.close().await);
    };
    pin_mut!(writes);
    match select(writes, driver).await {
        Either::Left(_) => {}
        Either::Right(((), writes)) => writes.await,
    }
}

async fn settle(log: &Log, told: &Mutex<Told>, lsn: Lsn, payload: String) {
    let outcome = log.wait_durable(lsn).await;
    let mut told = told.lock().unwrap();
    match outcome {
        Outcome::Durable => {
            let before = told.durable.insert(lsn, payload.clone());
            assert_eq!(before, None, "{lsn} acknowledged twice");
            told.see("a writer", lsn, payload);
        }
        Outcome::NotApplied(_) | Outcome::Fenced(_) => told.not_applied.push(payload),
        Outcome::Indeterminate(_) => {}
    }
}

/// Lives one life after another; some end suddenly, some stall for long.
async fn writer(world: World, told: Arc<Mutex<Told>>, name: u64) {
    for life in 0..4 {
        world.sleep(MS * u32::try_from(world.below(3_000)).unwrap()).await;
        let life = write(world.clone(), Arc::clone(&told), format!("w{name}.{life}"));
        let death = match world.below(3) {
            0 => MS * u32::try_from(world.below(1_500)).unwrap(),
            _ => Duration::from_secs(100_000),
        };
        let death = world.sleep(death);
        pin_mut!(life);
        drop(select(life, death).await);
    }
}

/// Reads everything from the horizon on, and checks it against what was read before.
async fn read_all(world: &World, told: &Mutex<Told>) -> Result<Option<Reader>, LogError> {
    let site = world.site_with(options(world));
    let from = site.register.load().await?.state.horizon;
    let mut reader = Reader::new(&site, from);
    loop {
        let commits = match reader.next(Lsn::new(u64::MAX)).await {
            Ok(commits) => commits,
            Err(LogError::Expired { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if commits.is_empty() {
            return Ok(Some(reader));
        }
        for commit in commits {
            told.lock().unwrap().see(
                "a reader",
                commit.lsn,
                String::from_utf8(commit.payload.to_vec()).unwrap(),
            );
        }
    }
}

async fn keeper(world: World, told: Arc<Mutex<Told>>) {
    for _ in 0..12 {
        world.sleep(MS * u32::try_from(world.below(2_000)).unwrap()).await;
        let site = world.site_with(options(&world));
        let small = MergeOptions { target_bytes: 2_000, records_min: 2, objects_max: 2 };
        let worked: Result<(), LogError> = async {
            read_all(&world, &told).await?;
            let recovered = recover(&site).await?;
            match world.below(4) {
                0 => {
                    let at = usize::try_from(world.below(recovered.boundaries.len() as u64 + 1)).unwrap();
                    let floor = recovered.boundaries.get(at).copied();
                    raise(&site, Raise { floor, horizon: None }).await?;
                }
                1 | 2 => drop(merge(&site, recovered.state.horizon, &small).await?),
                _ => {
                    let horizon = Some(recovered.state.floor).filter(|_| world.below(2) == 0);
                    let state = raise(&site, Raise { floor: None, horizon }).await?;
                    let lsn = Lsn::new(1 + world.below(state.horizon.lsn.get() + 1));
                    collect(&site, &[Pinned { first: lsn, last: lsn }]).await?;
                }
            }
            Ok(())
        }
        .await;
        if let Err(error) = worked {
            check(&error);
        }
    }
}

async fn follower(world: World, told: Arc<Mutex<Told>>) {
    let site = world.site_with(options(&world));
    let Ok(loaded) = site.register.load().await else { return };
    let mut follower = Follower::new(&site, loaded.state.floor, Polling::Never);
    for _ in 0..40 {
        world.sleep(MS * u32::try_from(world.below(800)).unwrap()).await;
        match follower.advance().await {
            Ok(commits) => {
                for commit in commits {
                    let payload = String::from_utf8(commit.payload.to_vec()).unwrap();
                    told.lock().unwrap().see("the follower", commit.lsn, payload);
                }
            }
            Err(LogError::Expired { .. }) => match site.register.load().await {
                Ok(loaded) => follower = Follower::new(&site, loaded.state.floor, Polling::Never),
                Err(error) => check(&error),
            },
            Err(error) => check(&error),
        }
    }
}

/// A store that answers 5xx for long may leave a request unsettled; it may never make the log look damaged.
fn check(error: &LogError) {
    let harmless = matches!(
        error,
        LogError::Unsettled { .. }
            | LogError::Unreachable { .. }
            | LogError::Superseded
            | LogError::Expired { .. }
    );
    assert!(harmless, "{error:?}");
}

fn run(seed: u64) -> usize {
    let world = World::from_seed(seed).begin();
    world.chaos([6, 12, 40][usize::try_from(seed % 3).unwrap()]);
    let hook = world.clone();
    world.hook(move |_| {
        let stall = MS * u32::try_from(hook.below(20_000)).unwrap();
        (hook.below(60) == 0).then(|| hook.sleep(stall))
    });
    let told = Arc::new(Mutex::new(Told::default()));
    let mut work: Vec<futures_util::future::BoxFuture<'static, ()>> = Vec::new();
    for name in 0..3 {
        work.push(Box::pin(writer(world.clone(), Arc::clone(&told), name)));
    }
    work.push(Box::pin(keeper(world.clone(), Arc::clone(&told))));
    work.push(Box::pin(follower(world.clone(), Arc::clone(&told))));
    world.run(join_all(work));
    // The store is well again; late requests arrive.
    world.chaos(0);
    world.unhook();
    world.pass(Duration::from_secs(200));
    let (log, _) = world.open(&world.site()).unwrap();
    let last = world.commit(&log, &["the end"]);
    let reader = world.run(read_all(&world, &told)).unwrap().unwrap();
    assert_eq!(reader.position().lsn, last);
    let told = told.lock().unwrap();
    for (lsn, payload) in &told.durable {
        assert_eq!(told.seen.get(lsn), Some(payload), "acknowledged {lsn} is not in the history");
    }
    for payload in &told.not_applied {
        assert!(!told.seen.values().any(|seen| seen == payload), "{payload} was told not to be applied");
    }
    assert!(told.seen.keys().copied().eq((1..=last.get()).map(Lsn::new)), "LSNs have gaps");
    let mut payloads: Vec<_> = told.seen.values().collect();
    payloads.sort_unstable();
    payloads.dedup();
    assert_eq!(payloads.len(), told.seen.len(), "a commit was applied twice");
    told.durable.len()
}

#[test]
fn nothing_acknowledged_is_lost_whatever_the_store_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("TWILL_LOG_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TWILL_LOG_SEEDS").unwrap_or(60)).collect(),
    };
    let mut durable = 0;
    for seed in &seeds {
        let result = std::panic::catch_unwind(|| run(*seed));
        match result {
            Ok(count) => durable += count,
            Err(_) => panic!("seed {seed}: run it again with TWILL_LOG_SEED={seed}"),
        }
    }
    assert!(durable >= 10 * seeds.len() || seeds.len() < 10, "only {durable} commits were acknowledged");
}

#[test]
fn a_seed_repeats_exactly() {
    let trace = |seed| {
        let world = World::from_seed(seed);
        let told = Arc::new(Mutex::new(Told::default()));
        let world = world.begin();
        world.chaos(6);
        world.run(join_all((0..2).map(|name| writer(world.clone(), Arc::clone(&told), name))));
        (world.requests(), world.now())
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
