//! Experiment 1: one appender beside raw conditional PUTs of the same payload, turn by turn.
//!
//! Several lanes, each with a log and a client of its own, run side by side only to gather samples sooner: within a lane
//! nothing overlaps, and the lanes together send far fewer requests than the machine can.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use twill_commitlog_cas::{Log, NewCommit};

use super::place::{Place, raw_put};
use super::{Amount, Profile, Times};
use crate::stage::Stage;

const LANES: usize = 8;

/// Pairs of each lane that are not counted: connections open, the log learns the store's pace.
const WARM_UP: usize = 5;

/// What one profile gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Single {
    pub(super) profile: String,
    pub(super) title: String,
    pub(super) raw: Times,
    pub(super) append: Times,
    /// Requests of all kinds that each append cost.
    pub(super) requests_per_append: f64,
    /// Of those, PUTs.
    pub(super) puts_per_append: f64,
}

/// The times of one lane.
struct Lane {
    raw: Vec<Duration>,
    append: Vec<Duration>,
}

pub(super) fn measure(stage: &Stage, profile: &Profile, amount: Amount) -> Result<Single> {
    let place = Place::named(stage, profile.name)?;
    let pairs = amount.of(profile.pairs);
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        lanes.push((lane, place.open_log(&format!("lane-{lane}"))?, place.client()?));
    }
    let before = place.counted();
    let mut found = Lane { raw: Vec::new(), append: Vec::new() };
    place.runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for (lane, log, client) in lanes {
            let (door, payload) = (Arc::clone(&place.door), place.payload());
            running.spawn(async move {
                let mut times = Lane { raw: Vec::new(), append: Vec::new() };
                for pair in 0..WARM_UP + pairs {
                    let key = Path::from(format!("raw/{lane}/{pair}"));
                    for append in [pair % 2 == 0, pair % 2 != 0] {
                        let took = if append {
                            let began = door.now();
                            commit(&log, payload.clone()).await?;
                            door.now().saturating_sub(began)
                        } else {
                            raw_put(door.as_ref(), client.as_ref(), &key, payload.clone()).await?
                        };
                        if pair >= WARM_UP {
                            if append { times.append.push(took) } else { times.raw.push(took) }
                        }
                    }
                }
                log.close().await.context("closing a log")?;
                anyhow::Ok(times)
            });
        }
        while let Some(ended) = running.join_next().await {
            let lane = ended??;
            found.raw.extend(lane.raw);
            found.append.extend(lane.append);
        }
        anyhow::Ok(())
    })?;
    stage.check()?;
    let after = place.counted();
    let each = u64::try_from(LANES * (WARM_UP + pairs))?;
    let of_appends = |total: u64| super::group::quotient(total.saturating_sub(each), each);
    Ok(Single {
        profile: profile.name.to_owned(),
        title: profile.title.to_owned(),
        raw: Times::of(found.raw),
        append: Times::of(found.append),
        requests_per_append: of_appends(after.0 - before.0),
        puts_per_append: of_appends(after.1 - before.1),
    })
}

/// Appends one commit and waits until it is durable.
pub(super) async fn commit(log: &Log, payload: bytes::Bytes) -> Result<()> {
    let lsn = log.append(NewCommit::new(payload)).context("an append")?;
    let outcome = log.wait_durable(lsn).await;
    ensure!(outcome.is_durable(), "commit {lsn} is not durable: {outcome:?}");
    Ok(())
}
