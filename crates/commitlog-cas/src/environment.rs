//! What the log needs of the outside besides the store: clock, timer, randomness, and a hook at each named point.
//!
//! The log owns no clock, no randomness and no thread. A simulation implements [`Environment`] and thereby owns time,
//! chance and crashes; real processes use the one of feature `tokio`.
//!
//! Invariants:
//! 1. No rule of safety reads a clock: time decides how long the log tries, never what is true.
//! 2. At every [`Point`] a process may die or stall for ever, and nothing acknowledged is lost.

use std::fmt;
use std::time::{Duration, SystemTime};

use futures_util::future::{self, BoxFuture, FutureExt};

/// Clock, timer, randomness, and the hook.
pub trait Environment: Send + Sync + 'static {
    /// Monotonic time since an origin of the environment's choosing.
    fn now(&self) -> Duration;

    /// Wall-clock time, for the times that commits carry. May jump.
    fn wall_now(&self) -> SystemTime;

    /// Fills `bytes` with randomness fit for identities.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Completes after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Called, and awaited, at each named point. A simulation pauses here by a future that completes late, and kills
    /// by one that never does (and by dropping the process's futures).
    fn point(&self, point: Point) -> BoxFuture<'static, ()> {
        let _ = point;
        future::ready(()).boxed()
    }
}

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The named points: before and after each durable step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Point { $($(#[$doc])* $name,)* }

        impl Point {
            /// Every point.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The point's name, as tests and logs write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

points! {
    /// The branch record was read; nothing of the log yet.
    AfterRecordRead = "after_record_read",
    /// The log was listed from the floor; nothing of it was read yet.
    AfterList = "after_list",
    /// The tail is known; the fence is about to be sent.
    BeforeFencePut = "before_fence_put",
    /// The fence is in its slot; the branch record is not updated yet.
    AfterFencePut = "after_fence_put",
    /// The branch record is about to be replaced, by an opener.
    BeforeRecordPut = "before_record_put",
    /// The branch record names the new epoch; nothing was appended yet.
    AfterRecordPut = "after_record_put",
    /// A record's bytes are frozen and its first PUT is about to be sent.
    BeforeSlotPut = "before_slot_put",
    /// A record is owned in its slot; it is not acknowledged yet.
    AfterSlotPut = "after_slot_put",
    /// A PUT was answered "exists"; the slot is about to be read back.
    BeforeReadBack = "before_read_back",
    /// Commits are durable and in order; their waiters are about to be told.
    BeforeAcknowledge = "before_acknowledge",
    /// A part of a large commit is about to be sent.
    BeforePartPut = "before_part_put",
    /// All parts of a large commit are in the store; its record is not.
    AfterParts = "after_parts",
    /// The seal is about to be sent.
    BeforeSealPut = "before_seal_put",
    /// The seal is in its slot.
    AfterSealPut = "after_seal_put",
    /// Floor or horizon is about to be raised in the branch record.
    BeforeRaise = "before_raise",
    /// Floor or horizon is raised; nothing was deleted.
    AfterRaise = "after_raise",
    /// A merged object is about to be published.
    BeforeMergedPut = "before_merged_put",
    /// A merged object is published; what it merged still exists.
    AfterMergedPut = "after_merged_put",
    /// An object is about to be deleted.
    BeforeDelete = "before_delete",
    /// An object is deleted.
    AfterDelete = "after_delete",
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "tokio")]
pub use real::TokioEnvironment;

#[cfg(feature = "tokio")]
mod real {
    use std::sync::Arc;

    use twill_types::Door;

    use super::{BoxFuture, Duration, Environment, FutureExt, SystemTime};

    /// The door's clock and randomness, and tokio's timer. Use it inside a tokio runtime with its timer enabled.
    #[derive(Clone)]
    pub struct TokioEnvironment {
        door: Arc<dyn Door>,
    }

    impl TokioEnvironment {
        /// An environment over this door.
        #[must_use]
        pub fn new(door: Arc<dyn Door>) -> Self {
            Self { door }
        }
    }

    impl Environment for TokioEnvironment {
        fn now(&self) -> Duration {
            self.door.now()
        }

        fn wall_now(&self) -> SystemTime {
            self.door.wall_now()
        }

        fn fill_random(&self, bytes: &mut [u8]) {
            self.door.fill_random(bytes);
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            tokio::time::sleep(duration).boxed()
        }
    }
}
