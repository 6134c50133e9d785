//! Reads: single rows, ranges and whole tables.
//!
//! Before the clock starts each connection reads the whole table once, so the operating system's cache is warm on both
//! sides, and so is libSQL's where it is large enough.

use anyhow::{Result, ensure};

use super::fixtures::Fixture;
use super::{Before, Cache, Fixtures, Measurement, picks};
use crate::side::{Argument, Prepared, Reading, Session, Side};
use crate::stage::{Stage, Tally, Turn};

pub(super) const POINT: &str = "SELECT name, quantity FROM item WHERE id = ?1";
const RANGE: &str = "SELECT id, name, quantity FROM item WHERE id BETWEEN ?1 AND ?2";
const RANGE_ROWS: i64 = 1000;
const ALL: &str = "SELECT id, name, quantity, note FROM item";
const AGGREGATE: &str = "SELECT count(*), sum(quantity), sum(length(note)) FROM item";

/// Reads the table once: about what `ALL` returns, without its rows.
pub(super) fn warm_up(session: &impl Session) -> Result<()> {
    session.prepare(AGGREGATE)?.read(&[])?;
    Ok(())
}

/// libSQL's `cache_size`: pages, or KiB when negative.
pub(super) fn set_cache(session: &impl Session, cache: Cache) -> Result<()> {
    session.batch(match cache {
        Cache::Warm => "PRAGMA cache_size = -131072",
        Cache::Tiny => "PRAGMA cache_size = 10",
    })
}

pub(super) fn points<S: Side>(
    stage: &Stage,
    fixtures: &Fixtures,
    cache: Cache,
    threads: usize,
) -> Result<Measurement> {
    let rows = stage.scale.small_rows;
    measure::<S>(stage, fixtures, Fixture::Small, threads, |index, session, turn| {
        set_cache(session, cache)?;
        warm_up(session)?;
        let mut select = session.prepare(POINT)?;
        let mut chance = picks(index);
        until_over(turn, || {
            let reading = select.read(&[Argument::Integer(chance.range(1..=rows))])?;
            ensure!(reading.rows == 1, "a point read found {} rows", reading.rows);
            Ok((1, reading))
        })
    })
}

pub(super) fn range_scan<S: Side>(stage: &Stage, fixtures: &Fixtures) -> Result<Measurement> {
    let starts = (stage.scale.large_rows - RANGE_ROWS).max(1);
    measure::<S>(stage, fixtures, Fixture::Large, 1, |index, session, turn| {
        warm_up(session)?;
        let mut select = session.prepare(RANGE)?;
        let mut chance = picks(index);
        until_over(turn, || {
            let from = chance.range(1..=starts);
            let reading =
                select.read(&[Argument::Integer(from), Argument::Integer(from + RANGE_ROWS - 1)])?;
            Ok((reading.rows, reading))
        })
    })
}

pub(super) fn full_scan<S: Side>(stage: &Stage, fixtures: &Fixtures) -> Result<Measurement> {
    let rows = stage.scale.large_rows.unsigned_abs();
    measure::<S>(stage, fixtures, Fixture::Large, 1, |_, session, turn| {
        warm_up(session)?;
        let mut select = session.prepare(ALL)?;
        at_least_once(turn, || {
            let reading = select.read(&[])?;
            ensure!(reading.rows == rows, "a full scan found {} rows", reading.rows);
            Ok((reading.rows, reading))
        })
    })
}

pub(super) fn aggregate<S: Side>(stage: &Stage, fixtures: &Fixtures) -> Result<Measurement> {
    let rows = stage.scale.large_rows.unsigned_abs();
    measure::<S>(stage, fixtures, Fixture::Large, 1, |_, session, turn| {
        warm_up(session)?;
        let mut select = session.prepare(AGGREGATE)?;
        at_least_once(turn, || Ok((rows, select.read(&[])?)))
    })
}

/// Runs a body on each of so many connections to a side's copy of a database.
fn measure<S: Side>(
    stage: &Stage,
    fixtures: &Fixtures,
    fixture: Fixture,
    threads: usize,
    body: impl Fn(usize, &S::Session, &Turn<'_>) -> Result<Tally> + Sync,
) -> Result<Measurement> {
    let side = S::open(&fixtures.of::<S>(fixture))?;
    let sessions = (0..threads).map(|_| side.connect()).collect::<Result<Vec<_>>>()?;
    let before = Before::of(&side);
    let (tallies, elapsed) = stage.together(sessions, stage.scale.read_time, body)?;
    // Scans are few and long: what counts is when the last one that counts ended.
    let busy = tallies.iter().map(|tally| tally.latencies.iter().sum()).max().unwrap_or_default();
    let elapsed = if tallies.iter().any(|tally| tally.latencies.is_empty()) { elapsed } else { busy };
    let measurement = before.measurement(&side, tallies, elapsed);
    side.close()?;
    Ok(measurement)
}

/// Many short operations: those that ended in time.
fn until_over(turn: &Turn<'_>, mut operation: impl FnMut() -> Result<(u64, Reading)>) -> Result<Tally> {
    let mut tally = Tally::default();
    turn.start();
    loop {
        let (operations, reading) = operation()?;
        if turn.is_over() {
            return Ok(tally);
        }
        tally.operations += operations;
        tally.sum = tally.sum.wrapping_add(std::hint::black_box(reading.sum));
    }
}

/// Few long operations, each timed: all that began in time.
fn at_least_once(turn: &Turn<'_>, mut operation: impl FnMut() -> Result<(u64, Reading)>) -> Result<Tally> {
    let mut tally = Tally::default();
    turn.start();
    while !turn.is_over() {
        let began = turn.now();
        let (operations, reading) = operation()?;
        tally.latencies.push(turn.now() - began);
        tally.operations += operations;
        tally.sum = tally.sum.wrapping_add(std::hint::black_box(reading.sum));
    }
    Ok(tally)
}
