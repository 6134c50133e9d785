//! The log's environment, made of a simulated process.
//!
//! Invariants: those of [`Process`]; each of the log's named points is a point of the process.
//!
//! Crash: see [`Process`]. Refuses: nothing.

use std::time::{Duration, SystemTime};

use futures_util::future::{BoxFuture, FutureExt};
use twill_commitlog_cas::{Environment, Point};

use crate::process::Process;

/// The log's environment in one life of a process.
#[derive(Clone, Debug)]
pub struct SimulatedEnvironment(pub Process);

impl Environment for SimulatedEnvironment {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wall_now(&self) -> SystemTime {
        self.0.wall_now()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration).boxed()
    }

    fn point(&self, point: Point) -> BoxFuture<'static, ()> {
        let process = self.0.clone();
        async move { process.point(point.name()).await }.boxed()
    }
}
