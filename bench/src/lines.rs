//! What is measured: each workload and the lines that it gives.
//!
//! Invariants:
//! 1. More is better on every line: rates, never times.
//! 2. A workload that writes starts from a new file each time; one that reads, from a copy of a file that plain libSQL
//!    made, the same for both sides.
//! 3. Random choices have fixed seeds: both sides and all rounds touch the same rows in the same order.

mod bulk;
mod commits;
mod fixtures;
mod mixed;
mod opening;
mod reads;

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use twill_types::seeded::Chance;

use crate::machine::Traffic;
use crate::rounds::percentile;
use crate::side::Side;
use crate::stage::{Stage, Tally};

pub(crate) use fixtures::{Fixtures, remove};

/// A group of lines measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One transaction of many rows.
    Bulk,
    /// Single-row transactions, durable, on so many connections.
    Commits { connections: usize },
    /// Single rows by primary key on so many threads, each with its connection.
    Points { cache: Cache, threads: usize },
    /// Every row of a table, through the API.
    FullScan,
    /// Every row of a table, inside libSQL.
    Aggregate,
    /// A thousand rows in a row, from a random place.
    RangeScan,
    /// Readers and writers at once.
    Mixed,
    /// Opening a database and its first query.
    Open { large: bool },
}

/// How much of the database libSQL's page cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// All of it.
    Warm,
    /// Ten pages.
    Tiny,
}

/// Threads of the mixed load.
pub(crate) const MIXED_THREADS: usize = 6;
/// One of so many operations of the mixed load is a durable change.
pub(crate) const MIXED_EVERY: usize = 20;
/// Connections of the commit lines.
pub(crate) const CONNECTIONS: [usize; 3] = [1, 8, 64];
/// Threads of the point reads.
pub(crate) const THREADS: [usize; 3] = [1, 2, 4];

impl Workload {
    /// All workloads, in the order of the page.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Bulk];
        all.extend(CONNECTIONS.map(|connections| Self::Commits { connections }));
        for cache in [Cache::Warm, Cache::Tiny] {
            all.extend(THREADS.map(|threads| Self::Points { cache, threads }));
        }
        all.extend([Self::FullScan, Self::Aggregate, Self::RangeScan, Self::Mixed]);
        all.extend([Self::Open { large: false }, Self::Open { large: true }]);
        all
    }

    /// Name and unit of each line of this workload.
    pub(crate) fn lines(self) -> Vec<(String, &'static str)> {
        match self {
            Self::Bulk => vec![("bulk insert, one transaction".to_owned(), "rows/s")],
            Self::Commits { connections } => {
                vec![(format!("autocommit insert, {}", counted(connections, "connection")), "commits/s")]
            }
            Self::Points { cache, threads } => {
                let cache = match cache {
                    Cache::Warm => "warm",
                    Cache::Tiny => "cache of 10 pages",
                };
                vec![(format!("point reads, {cache}, {}", counted(threads, "thread")), "reads/s")]
            }
            Self::FullScan => vec![("full scan".to_owned(), "rows/s")],
            Self::Aggregate => vec![("full scan, aggregated".to_owned(), "rows/s")],
            Self::RangeScan => vec![("range scans of 1000 rows".to_owned(), "rows/s")],
            Self::Mixed => {
                let reads = 100 - 100 / MIXED_EVERY;
                let threads = counted(MIXED_THREADS, "thread");
                vec![(
                    format!("mixed load, {threads}, {reads} % reads, {} % commits", 100 - reads),
                    "operations/s",
                )]
            }
            Self::Open { large: false } => {
                vec![("open and first query, tiny database".to_owned(), "opens/s")]
            }
            Self::Open { large: true } => {
                vec![("open and first query, large database".to_owned(), "opens/s")]
            }
        }
    }

    /// Measures one side once; a measurement for each line.
    pub(crate) fn measure<S: Side>(self, stage: &Stage, fixtures: &Fixtures) -> Result<Vec<Measurement>> {
        let measurement = match self {
            Self::Bulk => bulk::measure::<S>(stage)?,
            Self::Commits { connections } => commits::measure::<S>(stage, connections)?,
            Self::Points { cache, threads } => reads::points::<S>(stage, fixtures, cache, threads)?,
            Self::FullScan => reads::full_scan::<S>(stage, fixtures)?,
            Self::Aggregate => reads::aggregate::<S>(stage, fixtures)?,
            Self::RangeScan => reads::range_scan::<S>(stage, fixtures)?,
            Self::Mixed => mixed::measure::<S>(stage, fixtures)?,
            Self::Open { large } => opening::measure::<S>(stage, fixtures, large)?,
        };
        Ok(vec![measurement])
    }
}

pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// One side, one line, one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// In the line's unit; more is better.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    /// Of single operations, where they were timed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) latency_us: Option<Latency>,
    /// Times the files were synced, where the side counts them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) syncs: Option<u64>,
    /// What the kernel counted of the whole program meanwhile.
    pub(crate) traffic: Traffic,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let filled = !times.is_empty();
        filled.then(|| Self { p50: percentile(&times, 0.50), p99: percentile(&times, 0.99) })
    }
}

/// Counts from before a measurement, to be taken off those after it.
struct Before {
    syncs: Option<u64>,
    traffic: Traffic,
}

impl Before {
    fn of<S: Side>(side: &S) -> Self {
        Self { syncs: side.syncs(), traffic: Traffic::now() }
    }

    /// The measurement of `tallies` over `elapsed`.
    fn measurement<S: Side>(self, side: &S, tallies: Vec<Tally>, elapsed: Duration) -> Measurement {
        let traffic = Traffic::now().since(self.traffic);
        let syncs = side.syncs().zip(self.syncs).map(|(after, before)| after - before);
        let operations: u64 = tallies.iter().map(|tally| tally.operations).sum();
        let latency_us = Latency::of(tallies.into_iter().flat_map(|tally| tally.latencies).collect());
        let seconds = elapsed.as_secs_f64();
        Measurement { rate: rate(operations, seconds), seconds, operations, latency_us, syncs, traffic }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^53")]
fn rate(operations: u64, seconds: f64) -> f64 {
    operations as f64 / seconds
}

/// Random rows, the same in every run, of the thread so numbered.
pub(crate) const fn picks(thread: usize) -> Chance {
    Chance::from_seed((thread as u64).wrapping_mul(0xd1b5_4a32_d192_ed03))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_names_are_unique() {
        let names: Vec<String> =
            Workload::all().into_iter().flat_map(Workload::lines).map(|(name, _)| name).collect();
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert_eq!(names.len(), 16);
    }

    #[test]
    fn picks_repeat_and_differ_between_threads() {
        let picked = |thread| {
            let mut chance = picks(thread);
            (0..1000).map(|_| chance.range(1..=7)).collect::<Vec<_>>()
        };
        assert_eq!(picked(3), picked(3));
        assert_ne!(picked(3), picked(4));
    }
}
