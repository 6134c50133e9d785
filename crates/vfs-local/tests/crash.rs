//! Simulated crashes: seeded random commits, checkpoints, pins and faults on a disk that loses, reorders and tears what
//! was not synced. `TWILL_CRASH_SEEDS` sets how many seeds run, `TWILL_CRASH_SEED` repeats one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{image, page_size, read_all};
use twill_types::seeded::Chance;
use twill_types::{Door, PageNo, Synchronous};
use twill_vfs_local::disk::{Fault, SimDisk};
use twill_vfs_local::{LocalFileStorage, LocalOptions};
use twill_vfs_trait::{Commit, PageImage, Snapshot, Storage, StorageError, Wait};

const PATH: &str = "/sim/app.db";

/// One committed state: what each page holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    pages: Vec<Vec<u8>>,
}

struct Run {
    chance: Chance,
    disk: SimDisk,
    synchronous: Synchronous,
    faults: bool,
    /// Every state that may be there, the newest last; all but those after `floor` are certain.
    states: Vec<State>,
    /// The newest state that must survive a crash.
    floor: usize,
    /// The newest state that was acknowledged, and must survive a killed process.
    acknowledged: usize,
    fill: u32,
    storage: Option<Arc<LocalFileStorage>>,
    pins: Vec<(Snapshot, State)>,
}

/// The storage is of no use any more.
struct Broken;

impl Run {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::from_seed(seed);
        let synchronous = match chance.below(4) {
            0 => Synchronous::Normal,
            _ => Synchronous::Full,
        };
        Self {
            disk: SimDisk::new(chance.next()),
            faults: chance.one_in(2),
            chance,
            synchronous,
            states: vec![State::default()],
            floor: 0,
            acknowledged: 0,
            fill: 0,
            storage: None,
            pins: Vec::new(),
        }
    }

    fn open(&mut self) -> Result<(), String> {
        let options = LocalOptions {
            synchronous: self.synchronous,
            background: false,
            checkpoint_frames: 20,
            wal_frames_max: 10 + self.chance.below(30),
            ..LocalOptions::default()
        };
        let disk = Arc::new(self.disk.clone());
        let storage = LocalFileStorage::open_on(disk, Path::new(PATH), options, <dyn Door>::system())
            .map_err(|error| error.to_string())?;
        self.storage = Some(storage);
        Ok(())
    }

    fn storage(&self) -> Arc<LocalFileStorage> {
        Arc::clone(self.storage.as_ref().unwrap())
    }

    /// After a crash: the state is one of those it may be, and the run goes on from there.
    fn recover(&mut self, mut killed: bool) {
        if self.floor > 0 {
            let file = self.disk.bytes(Path::new(PATH)).expect("the database file is there");
            assert!(!file.is_empty(), "stock SQLite would delete the log of an empty database file");
        }
        // The next power loss may come while it recovers.
        while self.chance.one_in(3) {
            let at = self.disk.operations() + self.chance.below(25);
            self.disk.fail_at(at, if self.chance.one_in(4) { Fault::Broken } else { Fault::Crash });
            drop(self.open());
            self.storage = None;
            self.disk.restart();
            killed = false;
        }
        self.open().expect("a crashed database opens");
        if killed {
            // Without a power loss even a commit that was never synced is there.
            self.floor = self.floor.max(self.acknowledged);
        }
        let storage = self.storage();
        let at = storage.snapshot().unwrap();
        let found = State { pages: read_all(&*storage, &at) };
        let which = self.states.iter().rposition(|state| *state == found);
        let Some(which) = which else {
            panic!("found a state that was never committed: {:?}", summary(&found));
        };
        assert!(
            which >= self.floor,
            "state {which} was found, but {} was acknowledged: {:?}",
            self.floor,
            summary(&found)
        );
        self.states.truncate(which + 1);
        self.floor = which;
        self.acknowledged = which;
    }

    fn draft(&mut self) -> (BTreeMap<u32, Vec<u8>>, State) {
        let base = self.states.last().unwrap().clone();
        self.fill += 1;
        let count = base.pages.len() as u32;
        let new_count = match self.chance.below(6) {
            0 => 1 + self.chance.below(count.max(1)),
            1 | 2 => count + 1 + self.chance.below(6),
            _ => count.max(1),
        }
        .min(40);
        let mut pages = BTreeMap::from([(1, image(1, self.fill, new_count))]);
        for _ in 0..self.chance.below(5) {
            let page = 1 + self.chance.below(new_count);
            pages.insert(page, image(page, self.fill, new_count));
        }
        let mut state = base;
        state.pages.resize(new_count as usize, vec![0; page_size().bytes()]);
        for (page, bytes) in &pages {
            state.pages[*page as usize - 1].clone_from(bytes);
        }
        (pages, state)
    }

    /// Appends one commit. `None`: it was refused and will never be there.
    fn append(&mut self) -> Result<Option<Snapshot>, Broken> {
        let storage = self.storage();
        let ticket = match storage.begin_write(Wait::none()) {
            Ok(ticket) => ticket,
            Err(error) => return self.refused(&error).map(|()| None),
        };
        let (pages, state) = self.draft();
        let page_count = state.pages.len() as u32;
        let images: Vec<_> = pages
            .iter()
            .map(|(page, bytes)| PageImage { page: PageNo::new(*page).unwrap(), bytes })
            .collect();
        let commit = Commit { page_size: page_size(), page_count, pages: &images };
        match storage.append(ticket, commit) {
            Ok(at) => {
                self.states.push(state);
                Ok(Some(at))
            }
            Err(error) => {
                if self.disk.crashed() || matches!(error, StorageError::Indeterminate { .. }) {
                    self.states.push(state);
                }
                self.refused(&error)?;
                // A power loss right after a refusal must not bring the commit back.
                if self.chance.one_in(4) { Err(Broken) } else { Ok(None) }
            }
        }
    }

    /// An error that leaves the storage usable, or not.
    fn refused(&self, error: &StorageError) -> Result<(), Broken> {
        if self.disk.crashed() {
            return Err(Broken);
        }
        assert!(self.faults, "an error without a fault: {error}");
        if matches!(error, StorageError::Full { .. } | StorageError::Unavailable { .. }) {
            return Ok(());
        }
        let poisoned = matches!(error, StorageError::Indeterminate { .. } | StorageError::Poisoned { .. });
        assert!(poisoned, "{error}");
        Err(Broken)
    }

    fn step(&mut self) -> Result<(), Broken> {
        let storage = self.storage();
        match self.chance.below(10) {
            0..=5 => {
                let mut newest = None;
                for _ in 0..1 + self.chance.below(3) {
                    newest = self.append()?.or(newest);
                }
                if let Some(at) = newest {
                    storage.wait_durable(&at).or_else(|error| self.refused(&error))?;
                    self.acknowledged = self.states.len() - 1;
                    if self.synchronous == Synchronous::Full {
                        self.floor = self.states.len() - 1;
                    }
                }
            }
            6 => match storage.checkpoint() {
                Ok(_) => self.floor = self.states.len() - 1,
                Err(error) => self.refused(&error)?,
            },
            7 => self.pin()?,
            8 => {
                self.check_pins()?;
                if !self.pins.is_empty() {
                    let which = self.chance.below(self.pins.len() as u32);
                    self.pins.swap_remove(which as usize);
                }
            }
            _ if self.chance.one_in(4) => {
                self.pins.clear();
                match storage.close() {
                    Ok(()) => self.floor = self.states.len() - 1,
                    Err(error) => self.refused(&error)?,
                }
                self.storage = None;
                drop(storage);
                self.open().map_err(|error| {
                    assert!(self.disk.crashed() || self.faults, "{error}");
                    Broken
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn pin(&mut self) -> Result<(), Broken> {
        let storage = self.storage();
        let at = storage.snapshot().unwrap();
        let state = self.read(&at)?;
        assert_eq!(&state, self.states.last().unwrap(), "the snapshot is the newest state");
        self.pins.push((at, state));
        Ok(())
    }

    fn check_pins(&self) -> Result<(), Broken> {
        for (at, state) in &self.pins {
            assert!(self.read(at)? == *state, "a pinned snapshot changed: {:?}", summary(state));
        }
        Ok(())
    }

    fn read(&self, at: &Snapshot) -> Result<State, Broken> {
        let storage = self.storage();
        let mut pages = Vec::new();
        for page in 1..=at.page_count() {
            let mut bytes = vec![0; page_size().bytes()];
            loop {
                match storage.read_page(at, PageNo::new(page).unwrap(), &mut bytes) {
                    Ok(()) => break,
                    // A failed read may be tried again.
                    Err(error) => self.refused(&error)?,
                }
            }
            pages.push(bytes);
        }
        Ok(State { pages })
    }

    fn life(&mut self) {
        let start = self.disk.operations();
        if self.faults {
            for _ in 0..1 + self.chance.below(4) {
                let fault = if self.chance.one_in(2) { Fault::NoSpace } else { Fault::Broken };
                self.disk.fail_at(start + self.chance.below(300), fault);
            }
        }
        self.disk.fail_at(start + 30 + self.chance.below(400), Fault::Crash);
        for _ in 0..60 {
            if let Err(Broken) = self.step() {
                break;
            }
        }
        self.pins.clear();
        self.storage = None;
        // Half the time only the process dies, and the next one finds what the system still has in memory.
        if self.chance.one_in(3) {
            self.disk.kill();
            self.recover(true);
        } else {
            self.disk.restart();
            self.recover(false);
        }
    }
}

/// Page count and the distinct fills, to read in a failure.
fn summary(state: &State) -> (usize, Vec<u32>) {
    let fill = |page: &Vec<u8>| u32::from_be_bytes(page[508..512].try_into().unwrap());
    (state.pages.len(), state.pages.iter().map(fill).collect())
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    if run.open().is_err() {
        run.disk.restart();
        run.recover(false);
    }
    for _ in 0..4 {
        run.life();
    }
}

#[test]
fn a_crash_at_any_operation_leaves_a_prefix_with_everything_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds = match number("TWILL_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TWILL_CRASH_SEEDS").unwrap_or(2000),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("repeat with TWILL_CRASH_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
