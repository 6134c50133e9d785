//! Bulk insert: many rows in one transaction into a new file, from BEGIN until COMMIT is durable.
//!
//! Plain libSQL checkpoints inside the call that commits; what TwillDB does in its background after the commit is not
//! timed, but it is counted in the traffic when it happened before the commit returned.

use anyhow::Result;

use super::fixtures::{INSERT, SCHEMA, insert_row};
use super::{Before, Measurement, remove};
use crate::side::{Session, Side};
use crate::stage::{Stage, Tally};

pub(super) fn measure<S: Side>(stage: &Stage) -> Result<Measurement> {
    let path = stage.directory.path(&format!("bulk-{}.db", S::NAME));
    remove(&path);
    let side = S::open(&path)?;
    let session = side.connect()?;
    session.batch(SCHEMA)?;
    let before = Before::of(&side);
    let rows = stage.scale.large_rows;
    let elapsed = {
        let mut insert = session.prepare(INSERT)?;
        let began = stage.door.now();
        session.batch("BEGIN")?;
        for row in 1..=rows {
            insert_row(&mut insert, row)?;
            if row % 10_000 == 0 {
                stage.check()?;
            }
        }
        session.batch("COMMIT")?;
        stage.door.now() - began
    };
    let tally = Tally { operations: rows.unsigned_abs(), ..Tally::default() };
    let measurement = before.measurement(&side, vec![tally], elapsed);
    drop(session);
    side.close()?;
    remove(&path);
    Ok(measurement)
}
