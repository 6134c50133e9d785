//! A simulated process: what its code sees of the world.
//!
//! Invariants:
//! 1. A [`Process`] belongs to one life. When that life has ended, it spawns nothing, its points never return, and the
//!    stores refuse to send for it.
//! 2. The monotonic clock never goes back within a life. It goes on while the process is stopped, and stands still while
//!    the machine is suspended.
//! 3. The wall clock is skewed by what the schedule says, and jumps when it says so, in both directions.
//!
//! Crash: see [`World::crash`]. Refuses: nothing; a process that is down answers like one that is stopped for ever.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use twill_types::seeded::Chance;

use crate::world::{Alarm, Watched, World};

/// Names a process of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub usize);

/// Starts one life of a process: spawns its first tasks.
pub type Boot = Arc<dyn Fn(Process) + Send + Sync>;

/// What happens to a process that reaches a named point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// It goes on.
    None,
    /// All of it is gone, and boots again after so long.
    Crash {
        /// How long it is down.
        down: Duration,
    },
    /// It stops for so long.
    Stop {
        /// How long it is stopped.
        stopped: Duration,
        /// Whether its monotonic clock stands still meanwhile.
        suspended: bool,
    },
    /// It gives way to the others for so long, as a thread that is not scheduled does; its other tasks go on.
    Delay(Duration),
}

/// Decides what happens at a point: the process's choices, the point's name.
pub type Fate = Arc<dyn Fn(&mut Chance, &'static str) -> Strike + Send + Sync>;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running,
    /// It is stopped.
    Stopped,
    /// It has crashed, or never ran.
    Down,
}

/// The world's side of a process.
pub(crate) struct Residence {
    pub(crate) name: String,
    chance: Chance,
    boot: Boot,
    status: Status,
    life: u32,
    /// Tasks that became ready while stopped.
    held: Vec<u64>,
    /// Since when the machine is suspended, and how long it has been in all.
    suspended_since: Option<Duration>,
    suspended: Duration,
    /// The wall clock minus true time, in nanoseconds.
    skew_ns: i64,
    fate: Option<Fate>,
}

impl Residence {
    pub(crate) fn new(name: &str, seed: u64, boot: Boot) -> Self {
        Self {
            name: name.to_owned(),
            chance: Chance::from_seed(seed).fork(name),
            boot,
            status: Status::Down,
            life: 0,
            held: Vec::new(),
            suspended_since: None,
            suspended: Duration::ZERO,
            skew_ns: 0,
            fate: None,
        }
    }

    pub(crate) fn begin_life(&mut self) -> Option<(Boot, u32)> {
        if self.status != Status::Down {
            return None;
        }
        self.status = Status::Running;
        self.life += 1;
        Some((self.boot.clone(), self.life))
    }

    pub(crate) fn end_life(&mut self) -> bool {
        let lived = self.status != Status::Down;
        self.status = Status::Down;
        self.held.clear();
        self.suspended_since = None;
        lived
    }

    pub(crate) fn stop(&mut self, now: Duration, suspended: bool) -> bool {
        let ran = self.status == Status::Running;
        if ran {
            self.status = Status::Stopped;
            self.suspended_since = suspended.then_some(now);
        }
        ran
    }

    pub(crate) fn resume(&mut self, now: Duration) -> Option<Vec<u64>> {
        if self.status != Status::Stopped {
            return None;
        }
        self.status = Status::Running;
        if let Some(since) = self.suspended_since.take() {
            self.suspended += now.saturating_sub(since);
        }
        Some(std::mem::take(&mut self.held))
    }

    pub(crate) fn is_alive(&self, life: u32) -> bool {
        self.status != Status::Down && self.life == life
    }

    pub(crate) fn held(&mut self) -> Option<&mut Vec<u64>> {
        (self.status == Status::Stopped).then_some(&mut self.held)
    }

    pub(crate) fn watched(&self) -> Watched {
        Watched { status: self.status, life: self.life }
    }

    fn monotonic(&self, now: Duration) -> Duration {
        self.suspended_since.unwrap_or(now).saturating_sub(self.suspended)
    }
}

/// One life of a process, as its own code sees it.
#[derive(Clone)]
pub struct Process {
    world: World,
    id: ProcessId,
    life: u32,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} in life {}", self.id.0, self.life)
    }
}

/// The wall clock's time at true time 0: 2033-05-18T03:33:20Z, far from any real clock, so that one that leaks in is seen.
pub const WALL_ORIGIN: Duration = Duration::from_secs(2_000_000_000);

impl Process {
    pub(crate) fn new(world: World, id: ProcessId, life: u32) -> Self {
        Self { world, id, life }
    }

    /// The world it lives in.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Which process this is.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Which of its lives this is.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.life
    }

    /// Whether this life has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.world.state().is_alive(self.id, self.life)
    }

    /// The process's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        let mut state = self.world.state();
        let now = state.now();
        state.residence(self.id).map_or(now, |process| process.monotonic(now))
    }

    /// The process's wall clock.
    #[must_use]
    pub fn wall_now(&self) -> SystemTime {
        let mut state = self.world.state();
        let now = WALL_ORIGIN + state.now();
        let skew_ns = state.residence(self.id).map_or(0, |process| process.skew_ns);
        let skew = Duration::from_nanos(skew_ns.unsigned_abs());
        let skewed = if skew_ns < 0 { now.saturating_sub(skew) } else { now + skew };
        SystemTime::UNIX_EPOCH + skewed
    }

    /// The process's randomness.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        if let Some(process) = self.world.state().residence(self.id) {
            process.chance.fill(bytes);
        }
    }

    /// A stream of choices of the process's own.
    #[must_use]
    pub fn fork_chance(&self, label: &str) -> Chance {
        let mut state = self.world.state();
        state.residence(self.id).map_or(Chance::from_seed(0), |process| process.chance.fork(label))
    }

    /// Ready when the process's monotonic clock has gone on by `duration`.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let process = self.clone();
        let deadline = process.now().saturating_add(duration);
        let mut alarm: Option<Alarm> = None;
        poll_fn(move |context| {
            loop {
                let left = deadline.saturating_sub(process.now());
                if left.is_zero() {
                    return Poll::Ready(());
                }
                let set = alarm.get_or_insert_with(|| process.world.sleep(left));
                match std::pin::Pin::new(set).poll(context) {
                    // The machine was suspended meanwhile: what is left of the sleep is still to be slept.
                    Poll::Ready(()) => alarm = None,
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
    }

    /// Starts a task of this life.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn_owned(Some((self.id, self.life)), Box::pin(future));
    }

    /// The code has reached a named point: the place where a schedule strikes. Never returns in a life that ends there.
    pub async fn point(&self, name: &'static str) {
        let strike = {
            let mut state = self.world.state();
            *state.points.entry(name).or_default() += 1;
            let alive = state.is_alive(self.id, self.life);
            match state.residence(self.id) {
                Some(process) if alive => {
                    process.fate.clone().map_or(Strike::None, |fate| fate(&mut process.chance, name))
                }
                _ => Strike::None,
            }
        };
        self.suffer(strike, name).await;
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    async fn suffer(&self, strike: Strike, name: &'static str) {
        let (world, id) = (self.world.clone(), self.id);
        match strike {
            Strike::None => {}
            Strike::Crash { down } => {
                world.note("crash at", Some(id), name, 0);
                world.crash(id);
                let later = world.clone();
                world.after(down, move || later.boot(id));
            }
            Strike::Stop { stopped, suspended } => {
                world.note("stop at", Some(id), name, 0);
                world.stop(id, suspended);
                let later = world.clone();
                world.after(stopped, move || later.resume(id));
                // Gives the poll back, so that the stop takes effect here.
                yield_now().await;
            }
            Strike::Delay(duration) => {
                world.note("delay at", Some(id), name, 0);
                self.sleep(duration).await;
            }
        }
    }

    /// Sets who decides what happens at points. `None` lets the process go on at all of them.
    pub fn set_fate(&self, fate: Option<Fate>) {
        if let Some(process) = self.world.state().residence(self.id) {
            process.fate = fate;
        }
    }
}

impl World {
    /// Sets a process's wall clock to so many nanoseconds ahead of true time (or behind).
    pub fn set_skew(&self, id: ProcessId, skew_ns: i64) {
        self.note("clock", Some(id), "", skew_ns.cast_unsigned());
        self.state().strikes += 1;
        if let Some(process) = self.state().residence(id) {
            process.skew_ns = skew_ns;
        }
    }

    /// Sets who decides what happens to a process at its points, in this life and those to come.
    pub fn set_fate(&self, id: ProcessId, fate: Option<Fate>) {
        if let Some(process) = self.state().residence(id) {
            process.fate = fate;
        }
    }
}

/// Lets every other ready task go first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
