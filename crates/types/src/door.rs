//! The one door to clock, randomness and threads.
//!
//! Everything above takes an `Arc<dyn Door>` where it needs one of these; production passes [`SystemDoor`], a
//! simulation passes its own and thereby owns time, chance and scheduling. This module alone is exempt from clippy's
//! disallowed list.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Clock, randomness and threads.
pub trait Door: Send + Sync + 'static {
    /// Monotonic time since an origin of the door's choosing.
    fn now(&self) -> Duration;

    /// Wall-clock time. May jump; never used for safety.
    fn wall_now(&self) -> SystemTime;

    /// Fills `bytes` with randomness fit for identities.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Blocks the calling thread.
    fn sleep(&self, duration: Duration);

    /// Starts a named thread.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;
}

impl dyn Door {
    /// The operating system's clock, randomness and threads.
    #[must_use]
    pub fn system() -> Arc<dyn Door> {
        Arc::new(SystemDoor::new())
    }
}

/// The operating system's clock, randomness and threads.
#[derive(Debug)]
pub struct SystemDoor {
    origin: Instant,
}

impl SystemDoor {
    /// A door whose monotonic clock starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemDoor {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
impl Door for SystemDoor {
    fn now(&self) -> Duration {
        Instant::now().duration_since(self.origin)
    }

    fn wall_now(&self) -> SystemTime {
        SystemTime::now()
    }

    #[expect(clippy::panic, reason = "an operating system without randomness cannot name timelines")]
    fn fill_random(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system gives no randomness: {error}");
        }
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        // As much as a main thread usually has: SQL that runs there must run here. Untouched stack costs no memory.
        const STACK_BYTES: usize = 8 << 20;
        std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body)
    }
}
