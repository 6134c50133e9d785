//! The commit log in the simulated world: what a run is, from founding to judgement.
//!
//! ```text
//!   founding     the branch record is created, without a fault
//!   storm        processes open, append, follow, collect, merge, pin, seal; everything goes wrong that the plan says
//!   calm         faults stop; requests on their way still arrive, hours late if need be
//!   judgement    a fresh process must open and commit in bounded time, read everything that was ever acknowledged or
//!                seen, and then cost nothing while idle
//! ```
//!
//! Invariants: those of [`oracle`]; equal seeds make equal runs.
//!
//! Crash: everywhere. Refuses: to call a run good that ended early, spun, or got stuck.

pub mod actor;
pub mod environment;
pub mod judge;
mod keeping;
pub mod oracle;
pub mod plan;
mod reading;
pub mod sabotage;
pub mod storm;
mod writing;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use twill_commitlog_cas::{DatabaseId, Identity};
use twill_types::TimelineId;
use twill_types::seeded::Chance;

use crate::process::{Process, ProcessId};
use crate::store::{Bucket, Faults};
use crate::world::{Ended, World, lock};
use actor::{Actor, Cast, MakeRegister, live};
use oracle::{Oracle, Tally};
use plan::Plan;
use sabotage::Sabotage;

/// How long a judge waits for what must not take long once faults have stopped.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// More polls than any run needs that does not spin.
const POLLS: u64 = 5_000_000;

/// What became of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The run.
    pub seed: u64,
    /// What was wrong, if anything was.
    pub breach: Option<String>,
    /// The hash of everything that happened, and how many happenings there were.
    pub trace: (u64, u64),
    /// The trace's lines, if they were asked for.
    pub lines: Vec<String>,
    /// What happened.
    pub tally: Tally,
    /// How often each named point of the log was reached.
    pub points: BTreeMap<&'static str, u64>,
    /// Requests sent.
    pub requests: u64,
    /// Crashes, stops and clock jumps.
    pub strikes: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, sabotage: Sabotage, keep_lines: bool) -> Report {
    let mut plan = Plan::of(seed);
    sabotage.adapt(&mut plan);
    run_plan(seed, plan, sabotage, keep_lines)
}

/// Runs a plan of one's own, with everything else from the seed.
#[must_use]
pub fn run_plan(seed: u64, plan: Plan, sabotage: Sabotage, keep_lines: bool) -> Report {
    let world = World::new(seed, keep_lines);
    let cast = cast(&world, seed, plan, sabotage);
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&world, &cast, seed, sabotage)));
    if let Err(panic) = outcome {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        cast.oracle.accuse(format!("panic: {}", text.unwrap_or_default()));
    }
    let report = Report {
        seed,
        breach: cast.oracle.breach(),
        trace: world.trace_hash(),
        lines: world.trace_lines(),
        tally: cast.oracle.tally(),
        points: world.points(),
        requests: cast.bucket.requests(None) as u64,
        strikes: world.strikes(),
        elapsed: world.now(),
    };
    world.end();
    report
}

fn cast(world: &World, seed: u64, plan: Plan, sabotage: Sabotage) -> Cast {
    let mut chance = Chance::from_seed(seed).fork("identity");
    let mut id = || {
        let mut bytes = [0; 16];
        chance.fill(&mut bytes);
        bytes
    };
    let identity = Identity { database: DatabaseId(id()), timeline: TimelineId(id()) };
    let outages = plan.strikes.outages;
    let calm = Faults {
        planted: plan.faults.planted,
        etag_of_content: plan.faults.etag_of_content,
        ..Faults::none()
    };
    let register: MakeRegister = Arc::new(move |cast, process| sabotage.register(cast, process));
    Cast {
        bucket: Bucket::new(world, seed, calm),
        oracle: Oracle::with_outages(outages),
        plan: Arc::new(plan),
        identity,
        curtain: Arc::default(),
        memories: Arc::default(),
        sabotage,
        register,
    }
}

/// Adds a process whose lives all do `work`.
fn add<F, W>(world: &World, cast: &Cast, name: &str, seed: u64, work: W) -> ProcessId
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn(Actor) -> F + Send + Sync + 'static,
{
    let cast = cast.clone();
    let boot = move |process: Process| {
        let actor = cast.actor(&process);
        process.spawn(work(actor));
    };
    world.add_process(name, seed, Arc::new(boot))
}

/// How the one work of a process ended, and who waits for it.
#[derive(Default)]
struct Completion {
    outcome: Option<Result<(), String>>,
    waiting: Option<Waker>,
}

/// Runs a process that does `work` once, until it is done.
fn perform<F, W>(world: &World, cast: &Cast, name: &'static str, seed: u64, work: W)
where
    F: Future<Output = Result<(), String>> + Send + 'static,
    W: Fn(Actor) -> F + Send + Sync + 'static,
{
    let done: Arc<Mutex<Completion>> = Arc::default();
    let finish = done.clone();
    let id = add(world, cast, name, seed, move |actor| {
        let (finish, work) = (finish.clone(), work(actor));
        async move {
            let outcome = work.await;
            let mut completion = lock(&finish);
            completion.outcome = Some(outcome);
            completion.waiting.take().into_iter().for_each(Waker::wake);
        }
    });
    world.boot(id);
    let awaited = done.clone();
    let root = poll_fn(move |context| {
        let mut completion = lock(&awaited);
        if completion.outcome.is_some() {
            return Poll::Ready(());
        }
        completion.waiting = Some(context.waker().clone());
        Poll::Pending
    });
    let ended = world.run(root, judge::LIMIT, POLLS);
    let outcome = lock(&done).outcome.take();
    match (ended, outcome) {
        (Ended::Done, Some(Ok(()))) => {}
        (Ended::Done, Some(Err(what))) => cast.oracle.accuse(what),
        (ended, _) => cast.oracle.accuse(format!("{name} is not done: {ended:?}")),
    }
    world.crash(id);
}

fn play(world: &World, cast: &Cast, seed: u64, sabotage: Sabotage) {
    // Founder and judge are patient beyond the slowest request, so that what fails does not fail for want of time.
    let mut plan = Plan::clone(&cast.plan);
    plan.options.attempt_timeout = Duration::from_secs(30);
    plan.options.commit_deadline = PATIENCE;
    let patient = &Cast { plan: Arc::new(plan), ..cast.clone() };
    perform(world, patient, "founder", seed, |actor| async move { sabotage::found(&actor).await });
    if cast.oracle.breach().is_some() {
        return;
    }
    cast.bucket.set_faults(cast.plan.faults);
    let mut chance = Chance::from_seed(seed).fork("storm");
    let ids: Vec<ProcessId> =
        (0..cast.plan.processes).map(|index| add(world, cast, &format!("p{index}"), seed, live)).collect();
    storm::strike_at_points(world, &ids, cast.plan.strikes);
    for id in &ids {
        if cast.plan.strikes.clocks {
            world.set_skew(*id, chance.range(-60_000_000_000..=60_000_000_000_i64));
        }
        world.boot(*id);
    }
    sabotage.begin(world, cast);
    let raging = storm::rage(world.clone(), cast.clone(), ids.clone(), chance.fork("rage"));
    let ended = world.run(raging, cast.plan.storm * 2, POLLS);
    if ended != Ended::Done {
        cast.oracle.accuse(format!("the storm did not end: {ended:?}"));
    }
    storm::calm(world, cast, &ids);
    *lock(&cast.curtain) = true;
    let last_sessions = world.sleep(Duration::from_secs(chance.pick(&[0, 5, 60])));
    let ended = world.run(last_sessions, PATIENCE, POLLS);
    if ended != Ended::Done {
        cast.oracle.accuse(format!("the calm did not come: {ended:?}"));
    }
    for id in &ids {
        world.crash(*id);
    }
    if cast.oracle.breach().is_none() {
        perform(world, patient, "judge", seed, |actor| async move { judge::judge(actor).await });
    }
}
