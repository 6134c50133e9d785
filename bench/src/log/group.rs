//! Experiment 2: many appenders on one log, each of which waits for its commit before it appends the next.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::place::{Place, raw_put};
use super::single::commit;
use super::{Amount, Profile, Times};
use crate::stage::Stage;

/// Raw PUTs, one after another, are timed for one part in so many of each measurement.
const RAW_SHARE: u32 = 4;

/// So much of a measurement passes before it counts.
const WARM_UP: Duration = Duration::from_millis(300);

/// What one profile gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) profile: String,
    pub(super) title: String,
    /// At most so many times the PUT's median, for 64 appenders.
    pub(super) p50_max: Option<f64>,
    pub(super) points: Vec<Point>,
}

/// One number of appenders.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) appenders: usize,
    /// Raw PUTs one after another, just before.
    pub(super) raw: Times,
    pub(super) commits: Times,
    pub(super) commits_per_s: f64,
    pub(super) commits_per_put: f64,
    pub(super) requests_per_s: f64,
    /// Requests other than PUTs while it was measured.
    pub(super) other_requests: u64,
}

impl Group {
    /// Commits each second of one appender.
    pub(super) fn single_ceiling(&self) -> Option<f64> {
        self.points.iter().find(|point| point.appenders == 1).map(|point| point.commits_per_s)
    }

    /// The median of all raw PUTs of the profile, by its measurements.
    pub(super) fn raw_p50_ms(&self) -> f64 {
        crate::rounds::median(self.points.iter().map(|point| point.raw.p50_ms))
    }
}

pub(super) fn measure(stage: &Stage, profile: &Profile, amount: Amount) -> Result<Group> {
    let place = Place::named(stage, profile.name)?;
    let time = Duration::from_millis(u64::try_from(amount.of(profile.group_ms))?);
    let mut points = Vec::new();
    for appenders in profile.appenders {
        stage.check()?;
        let raw = raw_puts(&place, *appenders, time / RAW_SHARE)?;
        points.push(appenders_at_once(&place, *appenders, time, raw)?);
    }
    Ok(Group {
        profile: profile.name.to_owned(),
        title: profile.title.to_owned(),
        p50_max: profile.group_p50_max,
        points,
    })
}

/// Conditional creates one after another.
fn raw_puts(place: &Place, turn: usize, time: Duration) -> Result<Times> {
    let (client, payload) = (place.client()?, place.payload());
    place.runtime.block_on(async {
        let mut times = Vec::new();
        // The first one opens the connection.
        raw_put(place.door.as_ref(), client.as_ref(), &Path::from(format!("raw/{turn}")), payload.clone())
            .await?;
        let began = place.door.now();
        while place.door.now().saturating_sub(began) < time {
            let key = Path::from(format!("raw/{turn}/{}", times.len()));
            times.push(raw_put(place.door.as_ref(), client.as_ref(), &key, payload.clone()).await?);
        }
        Ok(Times::of(times))
    })
}

fn appenders_at_once(place: &Place, appenders: usize, time: Duration, raw: Times) -> Result<Point> {
    let log = place.open_log(&format!("group-{appenders}"))?;
    let began = place.door.now();
    let (counted_from, counted_to) = (began + WARM_UP, began + WARM_UP + time);
    let (times, before, after) = place.runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..appenders {
            let (door, log, payload) = (Arc::clone(&place.door), log.clone(), place.payload());
            running.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let began = door.now();
                    if began >= counted_to {
                        return anyhow::Ok(times);
                    }
                    commit(&log, payload.clone()).await?;
                    let ended = door.now();
                    // Counted is what ended within the time.
                    if ended >= counted_from && ended < counted_to {
                        times.push(ended.saturating_sub(began));
                    }
                }
            });
        }
        tokio::time::sleep(counted_from.saturating_sub(place.door.now())).await;
        let before = place.counted();
        tokio::time::sleep(counted_to.saturating_sub(place.door.now())).await;
        let after = place.counted();
        let mut times = Vec::new();
        while let Some(ended) = running.join_next().await {
            times.extend(ended??);
        }
        log.close().await.context("closing a log")?;
        anyhow::Ok((times, before, after))
    })?;
    let (requests, puts) = (after.0 - before.0, after.1 - before.1);
    let commits = u64::try_from(times.len())?;
    Ok(Point {
        appenders,
        raw,
        commits: Times::of(times),
        commits_per_s: per_second(commits, time),
        commits_per_put: quotient(commits, puts),
        requests_per_s: per_second(requests, time),
        other_requests: requests - puts,
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^53")]
pub(super) fn quotient(count: u64, of: u64) -> f64 {
    count as f64 / of.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^53")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
