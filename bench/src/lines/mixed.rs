//! A mixed load: every thread reads single rows and, once in [`MIXED_EVERY`] operations, changes one durably.
//!
//! A closed loop: a side whose commits are slow reads less too, as its users would.

use anyhow::Result;

use super::fixtures::Fixture;
use super::reads::{POINT, warm_up};
use super::{Before, Fixtures, MIXED_EVERY, MIXED_THREADS, Measurement, picks};
use crate::side::{Argument, Prepared, Session, Side};
use crate::stage::{Stage, Tally, Turn};

const CHANGE: &str = "UPDATE item SET quantity = (quantity + 1) % 1000 WHERE id = ?1";

pub(super) fn measure<S: Side>(stage: &Stage, fixtures: &Fixtures) -> Result<Measurement> {
    let rows = stage.scale.small_rows;
    let side = S::open(&fixtures.of::<S>(Fixture::Small))?;
    let sessions = (0..MIXED_THREADS).map(|_| side.connect()).collect::<Result<Vec<_>>>()?;
    let before = Before::of(&side);
    let (tallies, elapsed) = stage.together(sessions, stage.scale.commit_time, |index, session, turn| {
        warm_up(session)?;
        let mut chance = picks(index);
        let mut select = session.prepare(POINT)?;
        let mut change = session.prepare(CHANGE)?;
        // Threads start their first change at different times.
        let mut count = index;
        until_over(turn, || {
            count += 1;
            let row = [Argument::Integer(chance.range(1..=rows))];
            if count.is_multiple_of(MIXED_EVERY) { change.execute(&row) } else { select.read(&row).map(drop) }
        })
    })?;
    let measurement = before.measurement(&side, tallies, elapsed);
    side.close()?;
    Ok(measurement)
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
