//! A mixed load: readers of single rows beside writers that change single rows, each change durable.

use anyhow::Result;

use super::fixtures::Fixture;
use super::reads::{POINT, warm_up};
use super::{Before, Fixtures, Latency, MIXED_READERS, MIXED_WRITERS, Measurement, Picks, rate};
use crate::machine::Traffic;
use crate::side::{Argument, Prepared, Session, Side};
use crate::stage::{Stage, Tally, Turn};

const CHANGE: &str = "UPDATE item SET quantity = (quantity + 1) % 1000 WHERE id = ?1";

/// The line of the reads, then that of the commits; syncs and traffic are told with the commits.
pub(super) fn measure<S: Side>(stage: &Stage, fixtures: &Fixtures) -> Result<Vec<Measurement>> {
    let rows = stage.scale.small_rows;
    let side = S::open(&fixtures.of::<S>(Fixture::Small))?;
    let sessions = (0..MIXED_READERS + MIXED_WRITERS).map(|_| side.connect()).collect::<Result<Vec<_>>>()?;
    let before = Before::of(&side);
    let (mut tallies, elapsed) =
        stage.together(sessions, stage.scale.commit_time, |index, session, turn| {
            warm_up(session)?;
            let mut picks = Picks::new(index);
            if index < MIXED_READERS {
                let mut select = session.prepare(POINT)?;
                until_over(turn, || select.read(&[Argument::Integer(picks.next(rows))]).map(drop))
            } else {
                let mut change = session.prepare(CHANGE)?;
                until_over(turn, || change.execute(&[Argument::Integer(picks.next(rows))]))
            }
        })?;
    let writers = tallies.split_off(MIXED_READERS);
    let commits = before.measurement(&side, writers, elapsed);
    side.close()?;
    let operations = tallies.iter().map(|tally| tally.operations).sum();
    let reads = Measurement {
        rate: rate(operations, commits.seconds),
        seconds: commits.seconds,
        operations,
        latency_us: Latency::of(tallies.into_iter().flat_map(|tally| tally.latencies).collect()),
        syncs: None,
        traffic: Traffic::default(),
    };
    Ok(vec![reads, commits])
}

fn until_over(turn: &Turn<'_>, mut operation: impl FnMut() -> Result<()>) -> Result<Tally> {
    let mut tally = Tally::default();
    turn.start();
    loop {
        let began = turn.now();
        operation()?;
        if turn.is_over() {
            return Ok(tally);
        }
        tally.operations += 1;
        tally.latencies.push(turn.now() - began);
    }
}
