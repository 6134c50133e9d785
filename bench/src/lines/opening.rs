//! Opening a database that was closed cleanly, until its first query is answered. Closing is not timed.

use anyhow::{Result, ensure};

use super::fixtures::Fixture;
use super::reads::POINT;
use super::{Fixtures, Latency, Measurement, rate};
use crate::machine::Traffic;
use crate::side::{Argument, Prepared, Session, Side};
use crate::stage::Stage;

pub(super) fn measure<S: Side>(stage: &Stage, fixtures: &Fixtures, large: bool) -> Result<Measurement> {
    let path = fixtures.of::<S>(if large { Fixture::Large } else { Fixture::Tiny });
    let traffic = Traffic::now();
    let mut times = Vec::new();
    for _ in 0..stage.scale.opens {
        stage.check()?;
        let began = stage.door.now();
        let side = S::open(&path)?;
        let session = side.connect()?;
        let reading = session.prepare(POINT)?.read(&[Argument::Integer(1)])?;
        times.push(stage.door.now() - began);
        ensure!(reading.rows == 1, "the first query found {} rows", reading.rows);
        drop(session);
        side.close()?;
    }
    let traffic = Traffic::now().since(traffic);
    let operations = u64::try_from(times.len()).unwrap_or(u64::MAX);
    let seconds = times.iter().sum::<std::time::Duration>().as_secs_f64();
    let latency_us = Latency::of(times);
    Ok(Measurement { rate: rate(operations, seconds), seconds, operations, latency_us, syncs: None, traffic })
}
