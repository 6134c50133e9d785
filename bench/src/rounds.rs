//! The order of measuring, and the statistics.
//!
//! Invariants:
//! 1. Rounds alternate: A B, B A, A B, ... so that a machine that slows down or speeds up favours nobody.
//! 2. A line is judged by the ratio of the medians. It is below plain libSQL only where the ratio is below one by more than
//!    the noise: the wider side's half spread without its extremes, as a part of its median, at most [`NOISE_MAX`].

use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::lines::{Fixtures, Measurement, Workload};
use crate::side::{Plain, Side, Twill};
use crate::stage::Stage;

/// More noise than this excuses nothing.
pub(crate) const NOISE_MAX: f64 = 0.10;

/// What to measure.
pub(crate) struct Plan<'a> {
    pub(crate) rounds: usize,
    pub(crate) only: Option<&'a str>,
}

/// A line of the results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) twill: Vec<Measurement>,
    pub(crate) libsql: Vec<Measurement>,
}

/// Measures every line of the plan.
pub(crate) fn measure_all(stage: &Stage, plan: &Plan<'_>) -> Result<Vec<Line>> {
    let wanted = |workload: &Workload| {
        plan.only.is_none_or(|part| workload.lines().iter().any(|(name, _)| name.contains(part)))
    };
    let workloads: Vec<Workload> = Workload::all().into_iter().filter(wanted).collect();
    ensure!(!workloads.is_empty(), "no line is called so");
    let progress = progress(workloads.len() * plan.rounds);
    progress.set_message("making databases");
    let fixtures = Fixtures::create(stage, [Plain::NAME, Twill::NAME])?;
    let mut lines = Vec::new();
    for workload in workloads {
        lines.extend(measure(stage, &fixtures, workload, plan.rounds, &progress)?);
    }
    progress.finish_and_clear();
    Ok(lines)
}

fn measure(
    stage: &Stage,
    fixtures: &Fixtures,
    workload: Workload,
    rounds: usize,
    progress: &ProgressBar,
) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = workload
        .lines()
        .into_iter()
        .map(|(name, unit)| Line { name, unit: unit.to_owned(), twill: Vec::new(), libsql: Vec::new() })
        .collect();
    let title = lines.first().map(|line| line.name.clone()).unwrap_or_default();
    if progress.is_hidden() {
        eprintln!("measuring: {title}");
    }
    for round in 0..rounds {
        progress.set_message(title.clone());
        for twill_turn in [round % 2 == 0, round % 2 != 0] {
            stage.check()?;
            let measured = if twill_turn {
                workload.measure::<Twill>(stage, fixtures)?
            } else {
                workload.measure::<Plain>(stage, fixtures)?
            };
            for (line, measurement) in lines.iter_mut().zip(measured) {
                if twill_turn { line.twill.push(measurement) } else { line.libsql.push(measurement) }
            }
        }
        progress.inc(1);
    }
    Ok(lines)
}

fn progress(steps: usize) -> ProgressBar {
    let progress = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {eta} left: {msg}") {
        progress.set_style(style);
    }
    progress
}

/// Median and extremes of one side's rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Half the spread without the extremes, as a part of the median.
    pub(crate) noise: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let median = median_of_sorted(&sorted);
        let (min, max) = ends(&sorted);
        let inner = sorted.get(1..sorted.len().saturating_sub(1)).filter(|inner| inner.len() > 1);
        let (low, high) = inner.map_or((min, max), ends);
        let noise = if median > 0.0 { (high - low) / 2.0 / median } else { 0.0 };
        Self { median, min, max, noise }
    }
}

fn ends(sorted: &[f64]) -> (f64, f64) {
    (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0))
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

/// The median of some values; 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(values).median
}

/// How a line compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// At least plain libSQL's.
    Pass,
    /// Below, by no more than the noise.
    WithinNoise,
    /// Below.
    Below,
}

/// Both sides of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    pub(crate) twill: Spread,
    pub(crate) libsql: Spread,
    /// TwillDB's median by plain libSQL's.
    pub(crate) ratio: f64,
}

impl Line {
    pub(crate) fn compare(&self) -> Comparison {
        let spread = |side: &[Measurement]| Spread::of(side.iter().map(|measurement| measurement.rate));
        let (twill, libsql) = (spread(&self.twill), spread(&self.libsql));
        Comparison { twill, libsql, ratio: twill.median / libsql.median }
    }
}

impl Comparison {
    pub(crate) fn noise(&self) -> f64 {
        self.twill.noise.max(self.libsql.noise).min(NOISE_MAX)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.ratio >= 1.0 {
            Verdict::Pass
        } else if self.ratio >= 1.0 - self.noise() {
            Verdict::WithinNoise
        } else {
            Verdict::Below
        }
    }
}

/// A percentile of sorted times, in microseconds: the smallest time that so many are not above (nearest rank).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank between 1 and the count, far below 2^53"
)]
pub(crate) fn percentile(sorted: &[Duration], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(twill: &[f64], libsql: &[f64]) -> Comparison {
        let side = |rates: &[f64]| {
            rates.iter().map(|rate| Measurement { rate: *rate, ..Measurement::default() }).collect()
        };
        Line { name: String::new(), unit: String::new(), twill: side(twill), libsql: side(libsql) }.compare()
    }

    #[test]
    fn a_line_is_judged_by_its_medians_and_its_noise() {
        let steady = [100.0, 101.0, 99.0, 100.0, 100.0];
        let noisy = [100.0, 120.0, 80.0, 112.0, 88.0];
        for (twill, libsql, verdict) in [
            (&[100.0, 300.0, 101.0, 1.0, 102.0], &steady, Verdict::Pass),
            (&[95.0, 95.0, 95.0, 95.0, 95.0], &steady, Verdict::Below),
            (&[95.0, 95.0, 95.0, 95.0, 95.0], &noisy, Verdict::WithinNoise),
            (&[85.0, 85.0, 85.0, 85.0, 85.0], &noisy, Verdict::Below),
        ] {
            assert_eq!(line(twill, libsql).verdict(), verdict, "{twill:?} {libsql:?}");
        }
    }

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([].into_iter()), 0.0);
        let times: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(percentile(&times, 0.50).round(), 50.0);
        assert_eq!(percentile(&times, 0.99).round(), 99.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
