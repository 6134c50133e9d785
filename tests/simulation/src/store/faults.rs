//! What goes wrong between a process and the simulated store, and how often.
//!
//! Swarm testing: a run does not enable everything a little. [`Faults::swarm`] draws which faults this run has at all, and how
//! violent each is, so that some runs are almost calm but for one fault, and combinations that would drown each other out are
//! met by themselves (Groce, Zhang, Eide, Chen, Regehr: "Swarm Testing", ISSTA 2012).
//!
//! Invariants: shares are parts of 10,000 requests; [`Faults::none`] is a store without a fault, only with latency.
//!
//! Crash: plain values. Refuses: nothing.

use std::time::Duration;

use twill_types::seeded::Chance;

/// How long a request is on its way, out and back together.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The least.
    pub least: Duration,
    /// What is added at most to a usual request.
    pub spread: Duration,
    /// What is added at most to a slow one.
    pub tail: Duration,
    /// The share of slow requests, in 10,000.
    pub slow: u64,
}

impl Latency {
    /// S3 Standard, near: 27 ms in the median, 41 ms at the 90th percentile, a few slow ones.
    pub const S3: Self = Self {
        least: Duration::from_millis(18),
        spread: Duration::from_millis(20),
        tail: Duration::from_millis(400),
        slow: 200,
    };
    /// S3 Express: 4 to 10 ms.
    pub const EXPRESS: Self = Self {
        least: Duration::from_millis(4),
        spread: Duration::from_millis(4),
        tail: Duration::from_millis(60),
        slow: 50,
    };
    /// R2 from afar: about 600 ms.
    pub const FAR: Self = Self {
        least: Duration::from_millis(400),
        spread: Duration::from_millis(400),
        tail: Duration::from_secs(4),
        slow: 300,
    };
    /// Anything: from nothing to a second, without a mode.
    pub const WILD: Self = Self {
        least: Duration::ZERO,
        spread: Duration::from_secs(1),
        tail: Duration::from_secs(8),
        slow: 500,
    };

    /// Draws one.
    pub fn draw(&self, chance: &mut Chance) -> Duration {
        let slow = chance.below(10_000_u64) < self.slow;
        let most = if slow { self.tail } else { self.spread };
        self.least + up_to(chance, most)
    }
}

/// A duration from 0 up to `most`.
pub(crate) fn up_to(chance: &mut Chance, most: Duration) -> Duration {
    let most_ns = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(chance.range(0..=most_ns))
}

/// A store that breaks its promises, to prove that the oracle notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// It keeps them.
    #[default]
    Nothing,
    /// `If-None-Match: *` is ignored: a create overwrites.
    IgnoresCreate,
    /// `If-Match` is ignored: an update always wins.
    IgnoresMatch,
    /// One write in 20 is acknowledged and never applied.
    ForgetsWrites,
    /// One object in 20 that was written is gone a second later.
    LosesObjects,
    /// One read in 10 answers 404 for an object younger than two seconds.
    ReadsLate,
    /// A LIST leaves out every object younger than two seconds.
    ListsLate,
}

/// What goes wrong for one process alone, until it is set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nothing.
    None,
    /// Neither requests nor answers get through.
    Partition,
    /// Requests get through, answers do not.
    Deaf,
    /// Every request is answered 403.
    Forbidden,
    /// Every request is answered 401.
    Unauthorized,
    /// Writes are answered 403, reads are served.
    ReadOnly,
    /// Nine requests of ten are answered 503.
    Throttled,
}

impl Outage {
    /// For traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Partition => "partition",
            Self::Deaf => "deaf",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::ReadOnly => "read-only",
            Self::Throttled => "throttled",
        }
    }

    /// Every kind but none.
    pub const KINDS: [Self; 6] =
        [Self::Partition, Self::Deaf, Self::Forbidden, Self::Unauthorized, Self::ReadOnly, Self::Throttled];
}

/// What goes wrong in a run; shares are of 10,000 requests.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// How long requests take.
    pub latency: Latency,
    /// After how long without an answer a client gives up on a request.
    pub timeout: Duration,
    /// The request never arrives.
    pub request_lost: u64,
    /// The request arrives, the answer does not.
    pub answer_lost: u64,
    /// The request arrives much later, up to `late_by`, when its sender has long given up.
    pub late: u64,
    /// See `late`.
    pub late_by: Duration,
    /// The request arrives twice; the second time up to `late_by` later, or at once.
    pub twice: u64,
    /// 409 in answer to a conditional write that was not applied.
    pub conflict: u64,
    /// 429 or 503, not applied.
    pub throttled: u64,
    /// 500, half of them applied all the same.
    pub broken: u64,
    /// The body of an answer breaks off.
    pub cut: u64,
    /// A delete of many does only some.
    pub partial_delete: u64,
    /// A LIST takes this long at most beyond its latency, and is torn by what happens meanwhile.
    pub list_takes: Duration,
    /// Keys in a page of a LIST.
    pub list_page: usize,
    /// The ETag is a checksum of the content, as S3's is, so that equal bytes have equal ETags; otherwise a number never used
    /// before.
    pub etag_of_content: bool,
    /// The client shows the status of every refusal, as one with a connector of our own does; otherwise only the statuses
    /// that `object_store` has an error for.
    pub tells_status: bool,
    /// The promise that is broken on purpose.
    pub planted: Planted,
}

impl Faults {
    /// A store without a fault.
    #[must_use]
    pub fn none() -> Self {
        Self {
            latency: Latency::S3,
            timeout: Duration::from_secs(10),
            request_lost: 0,
            answer_lost: 0,
            late: 0,
            late_by: Duration::ZERO,
            twice: 0,
            conflict: 0,
            throttled: 0,
            broken: 0,
            cut: 0,
            partial_delete: 0,
            list_takes: Duration::ZERO,
            list_page: 1000,
            etag_of_content: true,
            tells_status: false,
            planted: Planted::Nothing,
        }
    }

    /// Draws a run's faults: a random subset, each of a random violence.
    pub fn swarm(chance: &mut Chance) -> Self {
        let latency = chance.pick(&[Latency::S3, Latency::S3, Latency::EXPRESS, Latency::FAR, Latency::WILD]);
        let mut share = |percent: u64, shares: &[u64]| {
            let enabled = chance.percent(percent);
            let share = chance.pick(shares);
            if enabled { share } else { 0 }
        };
        let usual = [20, 100, 400, 1500];
        let request_lost = share(35, &usual);
        let answer_lost = share(45, &usual);
        let late = share(35, &usual);
        let twice = share(35, &usual);
        let conflict = share(35, &usual);
        let throttled = share(30, &usual);
        let broken = share(35, &usual);
        let cut = share(25, &usual);
        let partial_delete = share(25, &[500, 3000]);
        Self {
            latency,
            timeout: chance.pick(&[Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(30)]),
            request_lost,
            answer_lost,
            late,
            late_by: chance.pick(&[
                Duration::from_secs(1),
                Duration::from_secs(20),
                Duration::from_secs(300),
                Duration::from_secs(7200),
            ]),
            twice,
            conflict,
            throttled,
            broken,
            cut,
            partial_delete,
            list_takes: chance.pick(&[
                Duration::ZERO,
                Duration::from_millis(50),
                Duration::from_secs(1),
                Duration::from_secs(20),
            ]),
            list_page: chance.pick(&[1000, 1000, 50, 7, 2]),
            etag_of_content: chance.percent(70),
            tells_status: chance.percent(50),
            planted: Planted::Nothing,
        }
    }
}
