//! Explores a model, and says what was found in words.
//!
//! Invariants:
//! 1. Breadth first on one thread is the default, and finds short counterexamples. Depth first needs a tenth of the
//!    memory and finds long ones; it is for exhausting a large bound.
//! 2. "Exhausted" is said only when every reachable state was visited: not after a limit, not after a violation.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::time::Duration;

use stateright::{Checker, CheckerBuilder, Expectation, HasDiscoveries, Model, Path};
use twill_types::Door;

/// How to look.
#[derive(Clone, Copy, Default)]
pub struct Search<'a> {
    /// Depth first, instead of breadth first.
    pub depth_first: bool,
    /// Threads; 0 means 1.
    pub threads: usize,
    /// Stops at about so many reached states.
    pub limit: Option<usize>,
    /// Looks no further than so many steps from the beginning.
    pub steps_max: Option<usize>,
    /// Is told how far it is about every second; the exploration is given up when it says so.
    pub watch: Option<&'a dyn Fn(&Progress) -> bool>,
}

/// How far an exploration is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Distinct states.
    pub states: usize,
    /// States reached, the same one several times included.
    pub reached: usize,
    /// The deepest step.
    pub depth: usize,
}

/// A violated property, and how.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The property.
    pub property: &'static str,
    /// The steps to the state in which it is broken.
    pub steps: Vec<String>,
    /// That state.
    pub state: String,
}

impl Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken after {} steps: {}", self.steps.len(), self.property)?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "{number:>4}. {step}")?;
        }
        write!(f, "      then: {}", self.state)
    }
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// How far it went.
    pub progress: Progress,
    /// Whether there is no other state.
    pub exhausted: bool,
    /// Safety properties that do not hold.
    pub counterexamples: Vec<Counterexample>,
    /// Things that should happen in some state and did not.
    pub never: Vec<&'static str>,
}

/// Explores a model.
pub fn explore<M>(model: M, search: &Search<'_>) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let mut builder: CheckerBuilder<M> =
        model.checker().finish_when(HasDiscoveries::AnyFailures).threads(search.threads.max(1));
    if let Some(limit) = search.limit {
        builder = builder.target_state_count(limit);
    }
    if let Some(steps_max) = search.steps_max {
        // The checker counts states of a path, the first and the one that it leaves out included.
        builder = builder.target_max_depth(steps_max + 2);
    }
    if search.depth_first { watch(builder.spawn_dfs(), search) } else { watch(builder.spawn_bfs(), search) }
}

fn progress_of<M: Model>(checker: &impl Checker<M>) -> Progress {
    Progress {
        states: checker.unique_state_count(),
        reached: checker.state_count(),
        depth: checker.max_depth().saturating_sub(1),
    }
}

fn watch<M>(mut checker: impl Checker<M>, search: &Search<'_>) -> Explored
where
    M: Model,
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let door = <dyn Door>::system();
    let handles = checker.handles();
    if let Some(told) = search.watch {
        let mut naps = 0_u32;
        while !handles.iter().all(std::thread::JoinHandle::is_finished) {
            door.sleep(Duration::from_millis(20));
            naps += 1;
            let progress = progress_of(&checker);
            if naps.is_multiple_of(50) && told(&progress) {
                return Explored { exhausted: false, ..tell(&checker, progress) };
            }
        }
    }
    let failed = handles.into_iter().any(|handle| handle.join().is_err());
    let progress = progress_of(&checker);
    let limited = search.limit.is_some_and(|limit| progress.reached >= limit);
    let explored = tell(&checker, progress);
    Explored {
        exhausted: !failed && !limited && search.steps_max.is_none() && explored.counterexamples.is_empty(),
        ..explored
    }
}

fn tell<M>(checker: &impl Checker<M>, progress: Progress) -> Explored
where
    M: Model,
    M::State: Clone + Debug + Hash + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    let discoveries = checker.discoveries();
    let mut counterexamples = Vec::new();
    let mut never = Vec::new();
    for property in checker.model().properties() {
        match (property.expectation, discoveries.get(property.name)) {
            (Expectation::Sometimes, None) => never.push(property.name),
            (Expectation::Sometimes, Some(_)) | (_, None) => {}
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                counterexamples.push(counterexample(property.name, path));
            }
        }
    }
    Explored { progress, exhausted: true, counterexamples, never }
}

fn counterexample<S, A>(property: &'static str, path: &Path<S, A>) -> Counterexample
where
    S: Clone + Debug + Hash + PartialEq,
    A: Clone + Debug + PartialEq,
{
    let steps = path.clone().into_actions().iter().map(|action| format!("{action:?}")).collect();
    Counterexample { property, steps, state: format!("{:?}", path.last_state()) }
}
