//! What every measurement needs at hand: the clock, a directory on a disk, the sizes, and whether to stop.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use anyhow::{Context, Result};
use twill_types::Door;

use crate::machine::Directory;

/// Ctrl-C was pressed.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Measurements of each side on each line.
    pub(crate) rounds: usize,
    /// Rows of one bulk insert and of the large database; a row is about 110 bytes in its page.
    pub(crate) large_rows: i64,
    /// Rows of the database that point reads and the mixed load use.
    pub(crate) small_rows: i64,
    /// How long a measurement of reads lasts.
    pub(crate) read_time: Duration,
    /// How long a measurement of commits lasts.
    pub(crate) commit_time: Duration,
    /// How often a database is opened in one measurement.
    pub(crate) opens: usize,
    /// Writes of the disk probe.
    pub(crate) disk_writes: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        large_rows: 1_000_000,
        small_rows: 200_000,
        read_time: Duration::from_millis(1000),
        commit_time: Duration::from_millis(2000),
        opens: 30,
        disk_writes: 500,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        large_rows: 10_000,
        small_rows: 2_000,
        read_time: Duration::from_millis(30),
        commit_time: Duration::from_millis(60),
        opens: 2,
        disk_writes: 20,
    };
}

/// Where measurements happen.
pub(crate) struct Stage {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) directory: Directory,
    pub(crate) scale: Scale,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Stage {
    /// An error once Ctrl-C was pressed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Runs a body on one thread per session until the time is over; answers what they counted and how long it was.
    ///
    /// A body prepares, calls [`Turn::start`], and then works until [`Turn::is_over`]; it does not count the operation in
    /// which the time ended, so stragglers change neither the count nor the time.
    pub(crate) fn together<S: Send>(
        &self,
        sessions: Vec<S>,
        time: Duration,
        body: impl Fn(usize, &S, &Turn<'_>) -> Result<Tally> + Sync,
    ) -> Result<(Vec<Tally>, Duration)> {
        let barrier = Barrier::new(sessions.len() + 1);
        let over = AtomicBool::new(false);
        let (barrier, over, body) = (&barrier, &over, &body);
        let outcome = std::thread::scope(|scope| {
            let start = |(index, session)| {
                scope.spawn(move || {
                    let turn = Turn { barrier, over, door: self.door.as_ref(), started: Cell::new(false) };
                    body(index, &session, &turn)
                })
            };
            let threads: Vec<_> = sessions.into_iter().enumerate().map(start).collect();
            barrier.wait();
            let began = self.door.now();
            while self.door.now() - began < time && !self.stop.load(Ordering::Relaxed) {
                let left = time.saturating_sub(self.door.now() - began);
                self.door.sleep(left.min(Duration::from_millis(50)));
            }
            over.store(true, Ordering::Relaxed);
            let elapsed = self.door.now() - began;
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().ok().context("a thread of the measurement panicked")?);
            joined.collect::<Result<Vec<Tally>>>().map(|tallies| (tallies, elapsed))
        });
        self.check()?;
        outcome
    }
}

/// One thread's part of a measurement.
pub(crate) struct Turn<'a> {
    barrier: &'a Barrier,
    over: &'a AtomicBool,
    door: &'a dyn Door,
    started: Cell<bool>,
}

impl Turn<'_> {
    /// Waits for the common start.
    pub(crate) fn start(&self) {
        if !self.started.replace(true) {
            self.barrier.wait();
        }
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The clock.
    pub(crate) fn now(&self) -> Duration {
        self.door.now()
    }
}

/// A body that failed before the start must not leave the others waiting.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.start();
    }
}

/// What one thread did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Operations done within the time.
    pub(crate) operations: u64,
    /// How long each of them took, where that is measured.
    pub(crate) latencies: Vec<Duration>,
    /// A sum over what was read, so that no read can be left out.
    pub(crate) sum: i64,
}
