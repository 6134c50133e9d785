//! SQL on a simulated disk that crashes at a random operation, loses and reorders what was not synced, and tears sectors.
//!
//! ```text
//! life:  open (recovers) ─ read everything, judge ─ transactions, checkpoints, VACUUM, pinned readers ─ the power goes
//! ```
//!
//! Invariants:
//! 1. One thread, one seed, a door without a clock: a run repeats itself to the last operation of the disk.
//! 2. The state read back is exactly the last acknowledged one, or one whose commit was attempted after it and failed.
//!    With `synchronous=normal` a power loss may go back further, to a commit since the last checkpoint; a killed process
//!    never does, nor with `off`, which no power loss is tried with.
//! 3. A reader's snapshot reads the same until it ends, whatever is committed and checkpointed meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use twill_types::seeded::Chance;
use twill_types::{Door, Synchronous};
use twill_vfs_local::disk::{Fault, SimDisk};
use twill_vfs_local::{LocalFileStorage, LocalOptions};
use twill_vfs_shim::{OpenFailure, Opened, Resolver, Session, register_vfs};
use twill_vfs_trait::Storage;

const VFS: &str = "crash-sim";
const PATH: &str = "/sim/app.db";
/// Lives of one disk, after which it would only get fuller.
const LIVES: u64 = 8;
const STEPS_MAX: u64 = 120;
const SQLITE_CANTOPEN: i32 = 14;

/// What was done and seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Times the disk lost its power or the process died.
    pub crashes: u64,
    /// Of these, while the database was being opened and recovered.
    pub crashes_in_recovery: u64,
    /// Of these, kills of the process alone.
    pub kills: u64,
    /// Disks.
    pub disks: u64,
    /// Operations of the disks.
    pub operations: u64,
    /// Acknowledged commits.
    pub acknowledged: u64,
    /// Commits whose call failed, and that were there after the crash.
    pub found_unacknowledged: u64,
    /// Acknowledged commits that `synchronous=normal` lost with the power, as it may.
    pub lost_as_allowed: u64,
    /// Checkpoints that succeeded.
    pub checkpoints: u64,
    /// Writes that found no room, and operations that failed, without a crash.
    pub other_faults: u64,
}

/// What the database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The commit's number, in `PRAGMA user_version`; 0 before the first.
    number: i64,
    /// Rows of the table, each with the seed of its bytes.
    rows: BTreeMap<i64, i64>,
}

/// A clock that stands still and randomness from a seed.
struct StillDoor {
    chance: Mutex<Chance>,
    ticks: AtomicU64,
}

impl Door for StillDoor {
    fn now(&self) -> Duration {
        Duration::from_micros(self.ticks.fetch_add(1, Ordering::Relaxed))
    }

    fn wall_now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }

    fn sleep(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.ticks.fetch_add(micros, Ordering::Relaxed);
    }

    fn spawn(&self, name: &str, _body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        Err(io::Error::other(format!("a simulation has one thread; {name} is another")))
    }
}

/// Storages by name, for the VFS.
static PLACES: LazyLock<Mutex<HashMap<String, Opened>>> = LazyLock::new(Mutex::default);

struct Places;

impl Resolver for Places {
    fn canonicalize(&self, name: &str) -> Result<String, OpenFailure> {
        Ok(name.to_owned())
    }

    fn open(&self, name: &str, _: &[(String, String)], _: bool, _: bool) -> Result<Opened, OpenFailure> {
        let places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        places
            .get(name)
            .cloned()
            .ok_or_else(|| OpenFailure { code: SQLITE_CANTOPEN, message: format!("{name} was not placed") })
    }
}

fn register() -> Result<()> {
    static OUTCOME: LazyLock<Result<(), String>> =
        LazyLock::new(|| register_vfs(VFS, Arc::new(Places)).map_err(|error| error.to_string()));
    OUTCOME.clone().map_err(|error| anyhow!("{error}"))
}

/// An open database.
struct Life {
    writer: Connection,
    reader: Connection,
    /// What the reader's open transaction must read.
    pinned: Option<State>,
    storage: Arc<LocalFileStorage>,
    name: String,
}

impl Life {
    fn open(disk: &SimDisk, door: &Arc<dyn Door>, options: LocalOptions, name: &str) -> Result<Self> {
        let synchronous = options.synchronous;
        let storage =
            LocalFileStorage::open_on(Arc::new(disk.clone()), Path::new(PATH), options, Arc::clone(door))?;
        let opened = Opened {
            storage: Arc::clone(&storage) as Arc<dyn Storage>,
            key: format!("sim://{name}"),
            synchronous,
            read_only: false,
            keep_alive: None,
        };
        PLACES.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), opened);
        let connect = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags_vfs_and_wal(name, flags, VFS, Session::new().wal_manager())
        };
        Ok(Self { writer: connect()?, reader: connect()?, pinned: None, storage, name: name.to_owned() })
    }

    /// Checks the structure and reads everything.
    fn read(&self) -> Result<State> {
        let verdict: String = self.writer.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(verdict == "ok", "integrity_check: {verdict}");
        read_state(&self.writer)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        PLACES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// The bytes of a row.
fn bytes_of(seed: i64) -> Vec<u8> {
    let mut chance = Chance::from_seeds(&[seed.cast_unsigned()]);
    let len = match chance.below(20) {
        0 => chance.range(3_000..=12_000),
        1..=5 => chance.range(200..=1_500),
        _ => chance.below(100),
    };
    chance.bytes(len)
}

fn read_state(connection: &Connection) -> Result<State> {
    let number = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if number == 0 {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        ensure!(tables == 0, "FAULT: {tables} tables of a commit that is not there");
        return Ok(State::default());
    }
    let mut statement = connection.prepare("SELECT id, seed, bytes FROM thing")?;
    let mut rows = statement.query([])?;
    let mut state = State { number, ..State::default() };
    while let Some(row) = rows.next()? {
        let (id, seed, bytes): (i64, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        ensure!(bytes == bytes_of(seed), "FAULT: row {id} has other bytes than were written");
        state.rows.insert(id, seed);
    }
    Ok(state)
}

/// One disk and what may be on it.
struct Run<'t> {
    tally: &'t mut Tally,
    chance: Chance,
    disk: SimDisk,
    door: Arc<dyn Door>,
    name: String,
    synchronous: Synchronous,
    /// Whether this life has a fault besides its crash.
    faulty: bool,
    /// The last acknowledged state.
    newest: State,
    /// States since the last checkpoint or recovery, for `synchronous=normal`.
    older: Vec<State>,
    /// States whose commit failed since.
    attempted: Vec<State>,
}

/// Runs disks until there were `crashes` of them.
///
/// # Errors
/// The first fault, with the seed that repeats it.
pub fn run(seed: u64, crashes: u64, mut progress: impl FnMut(&Tally)) -> Result<Tally> {
    register()?;
    let mut tally = Tally::default();
    let mut disk = 0;
    while tally.crashes < crashes {
        run_disk(seed + disk, &mut tally)
            .with_context(|| format!("crash sim --crashes 1 --seed {}", seed + disk))?;
        disk += 1;
        progress(&tally);
    }
    Ok(tally)
}

fn run_disk(seed: u64, tally: &mut Tally) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    tally.disks += 1;
    let mut chance = Chance::from_seeds(&[seed, 3]);
    let door = StillDoor { chance: Mutex::new(Chance::from_seeds(&[seed, 4])), ticks: AtomicU64::new(0) };
    let synchronous = match chance.below(6) {
        0 => Synchronous::Normal,
        1 => Synchronous::Off,
        _ => Synchronous::Full,
    };
    let mut run = Run {
        tally,
        disk: SimDisk::new(chance.next()),
        chance,
        door: Arc::new(door),
        name: format!("{seed}-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        synchronous,
        faulty: false,
        newest: State::default(),
        older: Vec::new(),
        attempted: Vec::new(),
    };
    for _ in 0..LIVES {
        run.life()?;
    }
    run.tally.operations += run.disk.operations();
    Ok(())
}

impl Run<'_> {
    /// From one crash to the next.
    fn life(&mut self) -> Result<()> {
        let power_loss = self.synchronous != Synchronous::Off && !self.chance.percent(15);
        let crash_in = if self.chance.percent(15) { self.chance.below(30) } else { self.chance.below(500) };
        self.disk.fail_at(self.disk.operations() + crash_in, Fault::Crash);
        self.faulty = self.chance.percent(20);
        if self.faulty {
            let fault = if self.chance.percent(50) { Fault::NoSpace } else { Fault::Broken };
            self.disk.fail_at(self.disk.operations() + self.chance.below(crash_in.max(1)), fault);
        }
        let mut recovered = false;
        let outcome = self.live(&mut recovered);
        if let Err(error) = outcome {
            let message = format!("{error:#}");
            // Any other error must come from a fault that was injected.
            ensure!(!message.contains("FAULT"), "{message}");
            if !self.disk.crashed() {
                self.tally.other_faults += 1;
            }
        }
        self.tally.crashes += 1;
        self.tally.crashes_in_recovery += u64::from(!recovered);
        if power_loss {
            self.disk.restart();
        } else {
            self.tally.kills += 1;
            self.disk.kill();
        }
        self.judge(power_loss)
    }

    /// Opens without faults, and takes what is there as the truth.
    fn judge(&mut self, power_loss: bool) -> Result<()> {
        let options = self.options();
        let life = Life::open(&self.disk, &self.door, options, &self.name).context("FAULT: opening")?;
        let found = life.read().context("FAULT: reading after the crash")?;
        if found != self.newest {
            if self.attempted.contains(&found) {
                self.tally.found_unacknowledged += 1;
            } else if power_loss && self.synchronous == Synchronous::Normal && self.older.contains(&found) {
                self.tally.lost_as_allowed += 1;
            } else {
                let (number, expected) = (found.number, self.newest.number);
                let attempted: Vec<_> = self.attempted.iter().map(|state| state.number).collect();
                bail!("FAULT: found commit {number}, expected {expected} or one of {attempted:?}");
            }
        }
        self.newest = found;
        self.older.clear();
        self.attempted.clear();
        // Half of the next lives begin with the log as it is, half with what a clean close leaves.
        if self.chance.percent(50) {
            let Life { ref storage, .. } = life;
            storage.close().context("FAULT: closing after the crash")?;
        }
        Ok(())
    }

    fn options(&mut self) -> LocalOptions {
        let checkpoint_frames = self.chance.range(10..=200);
        LocalOptions {
            synchronous: self.synchronous,
            checkpoint_frames,
            wal_frames_max: checkpoint_frames * 2,
            background: false,
            ..LocalOptions::default()
        }
    }

    /// Works until something fails.
    fn live(&mut self, recovered: &mut bool) -> Result<()> {
        let options = self.options();
        let mut life = Life::open(&self.disk, &self.door, options, &self.name)?;
        let found = life.read().map_err(|error| {
            // The check tells an injected fault as damage; the next reading, without faults, is the one that counts.
            let excused = self.faulty || self.disk.crashed();
            error.context(if excused { "reading under faults" } else { "FAULT: reading again" })
        })?;
        ensure!(found == self.newest, "FAULT: commit {} changed into {}", self.newest.number, found.number);
        *recovered = true;
        life.writer.execute_batch("PRAGMA cache_size = 8")?;
        for _ in 0..STEPS_MAX {
            self.step(&mut life)?;
        }
        Ok(())
    }

    fn step(&mut self, life: &mut Life) -> Result<()> {
        if self.newest.number == 0 {
            return self.create(life);
        }
        match self.chance.below(20) {
            0 => {
                life.storage.checkpoint()?;
                self.tally.checkpoints += 1;
                self.older.clear();
                Ok(())
            }
            1 => Ok(life.writer.execute_batch("VACUUM")?),
            2 => Ok(life.writer.execute_batch("PRAGMA incremental_vacuum")?),
            3 | 4 => self.read_pinned(life),
            5 | 6 => {
                let (sql, _) = self.statements();
                Ok(life.writer.execute_batch(&format!("BEGIN IMMEDIATE; {sql} ROLLBACK"))?)
            }
            7 => {
                let (doomed, _) = self.statements();
                let (sql, state) = self.statements();
                let batch = format!("BEGIN; SAVEPOINT s; {doomed} ROLLBACK TO s; RELEASE s; {sql} COMMIT");
                self.commit(life, &batch, state)
            }
            _ => {
                let (sql, state) = self.statements();
                self.commit(life, &format!("BEGIN IMMEDIATE; {sql} COMMIT"), state)
            }
        }
    }

    fn create(&mut self, life: &Life) -> Result<()> {
        let page_size = self.chance.pick(&[512, 512, 1024, 4096, 4096, 65536]);
        let auto_vacuum = self.chance.below(3);
        life.writer
            .execute_batch(&format!("PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}"))?;
        let sql = "BEGIN IMMEDIATE; CREATE TABLE thing(id INTEGER PRIMARY KEY, seed INTEGER, bytes BLOB); \
            CREATE INDEX thing_seed ON thing(seed, id); PRAGMA user_version = 1; COMMIT";
        self.commit(life, sql, State { number: 1, ..State::default() })
    }

    /// Random changes, and the state that they make.
    fn statements(&mut self) -> (String, State) {
        let mut state = self.newest.clone();
        state.number += 1;
        let mut sql = format!("PRAGMA user_version = {}; ", state.number);
        let changes = if self.chance.percent(5) { 40 } else { self.chance.range(1..=8) };
        for _ in 0..changes {
            let id = self.chance.below(120);
            if self.chance.percent(25) {
                let upto = id + self.chance.below(12);
                sql.push_str(&format!("DELETE FROM thing WHERE id BETWEEN {id} AND {upto}; "));
                state.rows.retain(|row, _| !(id..=upto).contains(row));
            } else {
                let seed = i64::try_from(self.chance.next() >> 33).unwrap_or(0);
                let bytes = crate::examine::hex(&bytes_of(seed));
                sql.push_str(&format!("REPLACE INTO thing VALUES({id}, {seed}, x'{bytes}'); "));
                state.rows.insert(id, seed);
            }
        }
        (sql, state)
    }

    fn commit(&mut self, life: &Life, batch: &str, state: State) -> Result<()> {
        match life.writer.execute_batch(batch) {
            Ok(()) => {
                self.older.push(std::mem::replace(&mut self.newest, state));
                self.attempted.clear();
                self.tally.acknowledged += 1;
                Ok(())
            }
            Err(error) => {
                self.attempted.push(state);
                if !life.writer.is_autocommit() {
                    life.writer.execute_batch("ROLLBACK")?;
                }
                if self.disk.crashed() {
                    return Err(error.into());
                }
                self.tally.other_faults += 1;
                Ok(())
            }
        }
    }

    /// Begins a reader's transaction, or ends it, after it has read the same as before.
    fn read_pinned(&mut self, life: &mut Life) -> Result<()> {
        match life.pinned.take() {
            None => {
                life.reader.execute_batch("BEGIN")?;
                let state = read_state(&life.reader)?;
                ensure!(state == self.newest, "FAULT: a reader sees commit {}", state.number);
                life.pinned = Some(state);
            }
            Some(before) => {
                let now = read_state(&life.reader)?;
                ensure!(
                    now == before,
                    "FAULT: a snapshot moved from commit {} to {}",
                    before.number,
                    now.number
                );
                life.reader.execute_batch("COMMIT")?;
            }
        }
        Ok(())
    }
}
