//! How long a store takes to answer: distributions that reproduce published percentiles, drawn from a seed.
//!
//! A distribution is constant, or log-normal. For a log-normal with median `p50`, the 90th percentile is
//! `p50 * exp(1.28155 sigma)`, so two published percentiles determine it; its tail then follows (p99 about
//! `p50 * exp(2.32635 sigma)`).
//!
//! | profile | PUT p50/p90 | GET p50/p90 | source |
//! |---|---|---|---|
//! | S3 Standard | 27/41 ms | 22/42 ms | published, 1 KB objects, same region |
//! | S3 Express | 6.5/10 ms | 4/6 ms | published as "5 to 10 ms" and "about 4 ms"; the spread is assumed |
//! | R2 | 600/900 ms | 300/450 ms | published PUT median, off-net; the rest is assumed |
//!
//! Lists take as long as GETs, every other request that writes as long as a PUT; neither is published. Another region
//! adds one round trip of 70 ms (across the North Atlantic) to each request.
//!
//! Invariants:
//! 1. The same seed and the same order of requests give the same latencies.
//! 2. A latency is drawn once per request and includes the server's own work: the answer leaves when it has passed
//!    since the request's arrival, or when the work is done, whichever is later.
//! 3. The request takes effect inside it, at a fraction that is drawn too: neither always at its start nor at its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use twill_types::seeded::Chance;

use crate::request::Kind;

/// The standard normal distribution's 90th percentile.
const NORMAL_P90: f64 = 1.281_551_565_544_600_4;

/// No drawn latency is longer than so many medians: a log-normal has no upper end, a test run has.
const LONGEST_IN_MEDIANS: f64 = 20.0;

/// A distribution of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Always so long.
    Constant {
        /// Milliseconds.
        ms: f64,
    },
    /// Log-normal, through two percentiles.
    LogNormal {
        /// Half are faster, in milliseconds.
        p50_ms: f64,
        /// Nine of ten are faster, in milliseconds; not below the median.
        p90_ms: f64,
    },
}

impl Distribution {
    /// Draws one latency.
    #[must_use]
    pub fn draw(self, chance: &mut Chance) -> Duration {
        let ms = match self {
            Self::Constant { ms } => ms,
            Self::LogNormal { p50_ms, p90_ms } => {
                let sigma = (p90_ms / p50_ms).ln().max(0.0) / NORMAL_P90;
                let drawn = p50_ms * (sigma * standard_normal(chance)).exp();
                drawn.min(p50_ms * LONGEST_IN_MEDIANS)
            }
        };
        Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::ZERO)
    }
}

/// Box and Muller's transform of two uniform draws.
fn standard_normal(chance: &mut Chance) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(chance)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(chance)).cos()
}

/// At least 0 and below 1, in steps of 2^-32.
fn uniform(chance: &mut Chance) -> f64 {
    f64::from(u32::try_from(chance.next() >> 32).unwrap_or(0)) / 4_294_967_296.0
}

/// A store's latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Of requests that write.
    pub write: Distribution,
    /// Of requests that read.
    pub read: Distribution,
    /// What the way there and back adds to each, in milliseconds.
    #[serde(default)]
    pub distance_ms: f64,
}

impl Latency {
    /// No latency but the server's own work.
    pub const NONE: Self = Self::constant(0.0);

    /// S3 Standard from the same region.
    pub const S3_STANDARD: Self = Self {
        write: Distribution::LogNormal { p50_ms: 27.0, p90_ms: 41.0 },
        read: Distribution::LogNormal { p50_ms: 22.0, p90_ms: 42.0 },
        distance_ms: 0.0,
    };

    /// S3 Express One Zone from the same zone.
    pub const S3_EXPRESS: Self = Self {
        write: Distribution::LogNormal { p50_ms: 6.5, p90_ms: 10.0 },
        read: Distribution::LogNormal { p50_ms: 4.0, p90_ms: 6.0 },
        distance_ms: 0.0,
    };

    /// R2 from another network.
    pub const R2: Self = Self {
        write: Distribution::LogNormal { p50_ms: 600.0, p90_ms: 900.0 },
        read: Distribution::LogNormal { p50_ms: 300.0, p90_ms: 450.0 },
        distance_ms: 0.0,
    };

    /// Every request takes `ms` milliseconds.
    #[must_use]
    pub const fn constant(ms: f64) -> Self {
        Self { write: Distribution::Constant { ms }, read: Distribution::Constant { ms }, distance_ms: 0.0 }
    }

    /// The same store from another region.
    #[must_use]
    pub const fn cross_region(self) -> Self {
        Self { distance_ms: self.distance_ms + 70.0, ..self }
    }

    /// A profile by name: `none`, `s3-standard`, `s3-express`, `r2`, each also with `-cross-region`, or `constant-<ms>`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if let Some(near) = name.strip_suffix("-cross-region") {
            return Self::named(near).map(Self::cross_region);
        }
        match name {
            "none" => Some(Self::NONE),
            "s3-standard" => Some(Self::S3_STANDARD),
            "s3-express" => Some(Self::S3_EXPRESS),
            "r2" => Some(Self::R2),
            _ => name.strip_prefix("constant-")?.parse().ok().map(Self::constant),
        }
    }

    pub(crate) fn draw(&self, kind: Kind, chance: &mut Chance) -> Drawn {
        let distribution = if kind.writes() { self.write } else { self.read };
        let distance = Duration::try_from_secs_f64(self.distance_ms / 1e3).unwrap_or(Duration::ZERO);
        let whole = distribution.draw(chance) + distance;
        let until_effect = whole.mul_f64(uniform(chance));
        Drawn { until_effect, whole }
    }
}

/// One request's latency, from its arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    /// When it takes effect.
    pub(crate) until_effect: Duration,
    /// When its answer leaves.
    pub(crate) whole: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentile(sorted: &[f64], of_a_thousand: usize) -> f64 {
        sorted[sorted.len() * of_a_thousand / 1000]
    }

    #[test]
    fn a_log_normal_reproduces_its_two_percentiles() {
        let mut chance = Chance::from_seed(11);
        let published = [(27.0, 41.0), (22.0, 42.0), (6.5, 10.0), (600.0, 900.0)];
        for (p50_ms, p90_ms) in published {
            let distribution = Distribution::LogNormal { p50_ms, p90_ms };
            let mut drawn: Vec<f64> =
                (0..40_000).map(|_| distribution.draw(&mut chance).as_secs_f64() * 1e3).collect();
            drawn.sort_by(f64::total_cmp);
            for (of_a_thousand, wanted) in [(500, p50_ms), (900, p90_ms)] {
                let found = percentile(&drawn, of_a_thousand);
                assert!((found / wanted - 1.0).abs() < 0.03, "p{of_a_thousand}: {found} for {wanted}");
            }
        }
    }

    #[test]
    fn a_seed_repeats_its_latencies_and_effects_fall_inside_them() {
        let draw = |seed| {
            let mut chance = Chance::from_seed(seed);
            (0..100)
                .map(|_| {
                    let drawn = Latency::S3_STANDARD.cross_region().draw(Kind::Put, &mut chance);
                    assert!(drawn.until_effect <= drawn.whole && drawn.whole >= Duration::from_millis(70));
                    drawn.whole
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn profiles_have_names() {
        assert_eq!(Latency::named("s3-standard"), Some(Latency::S3_STANDARD));
        assert_eq!(Latency::named("r2-cross-region"), Some(Latency::R2.cross_region()));
        assert_eq!(Latency::named("constant-12.5"), Some(Latency::constant(12.5)));
        assert_eq!(Latency::named("gcs"), None);
    }
}
