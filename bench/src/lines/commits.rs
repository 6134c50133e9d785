//! Autocommit inserts: each row is a transaction of its own, durable when the call returns.

use anyhow::Result;

use super::fixtures::{INSERT, SCHEMA, insert_row};
use super::{Before, Measurement, remove};
use crate::side::{Session, Side};
use crate::stage::{Stage, Tally, Turn};

pub(super) fn measure<S: Side>(stage: &Stage, connections: usize) -> Result<Measurement> {
    let path = stage.directory.path(&format!("commits-{}.db", S::NAME));
    remove(&path);
    let side = S::open(&path)?;
    let sessions = (0..connections).map(|_| side.connect()).collect::<Result<Vec<_>>>()?;
    if let Some(first) = sessions.first() {
        first.batch(SCHEMA)?;
    }
    let before = Before::of(&side);
    let (tallies, elapsed) = stage.together(sessions, stage.scale.commit_time, insert_until_over)?;
    let measurement = before.measurement(&side, tallies, elapsed);
    side.close()?;
    remove(&path);
    Ok(measurement)
}

fn insert_until_over<S: Session>(index: usize, session: &S, turn: &Turn<'_>) -> Result<Tally> {
    let mut insert = session.prepare(INSERT)?;
    let mut tally = Tally::default();
    turn.start();
    for row in i64::try_from(index).unwrap_or(0).. {
        let began = turn.now();
        insert_row(&mut insert, row)?;
        if turn.is_over() {
            break;
        }
        tally.operations += 1;
        tally.latencies.push(turn.now() - began);
    }
    Ok(tally)
}
