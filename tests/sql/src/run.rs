//! The differential run: episodes of random statements on both sides, until enough or until they disagree.
//!
//! Invariants:
//! 1. Episode `n` of a run depends on `seed + n` alone, so a mismatch is repeated by a run that starts at its seed.
//! 2. Every episode ends with all databases reopened and compared in full.

use std::collections::BTreeMap;
use std::fmt;

use twill_types::seeded::Chance;

use crate::answer::Outcome;
use crate::generate::Generator;
use crate::shrink::shrink;
use crate::world::{Action, Disagreement, Shape, Step, Subject, World};

/// What to run.
#[derive(Clone, Copy)]
pub struct Settings {
    /// What is compared with plain libSQL.
    pub subject: Subject,
    /// The seed of the first episode.
    pub seed: u64,
    /// How many statements at least.
    pub statements: u64,
    /// Whether to shrink what disagrees.
    pub shrink: bool,
}

/// What was run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Statements compared.
    pub statements: u64,
    /// Databases they ran on.
    pub episodes: u64,
    /// Full comparisons of all databases.
    pub checks: u64,
    /// Rows compared.
    pub rows: u64,
    /// How often each extended error code was the answer of both sides.
    pub errors: BTreeMap<i32, u64>,
    /// How often statements beginning with each word succeeded.
    pub succeeded: BTreeMap<String, u64>,
}

/// The sides disagree, or the subject could not go on.
#[derive(Debug)]
pub struct Mismatch {
    /// The seed that repeats it as its first episode.
    pub seed: u64,
    /// Which step of the episode, from 0.
    pub step: usize,
    what: String,
    repro: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, what, repro } = self;
        write!(f, "TWILL_SEED={seed} disagrees at step {step}:\n{what}\n\nshrunk:\n{repro}")
    }
}

impl std::error::Error for Mismatch {}

/// Runs episodes until `settings.statements` are compared. `progress` is called after each episode.
///
/// # Errors
/// The first disagreement, shrunk.
pub fn run(settings: Settings, mut progress: impl FnMut(&Report)) -> Result<Report, Mismatch> {
    let mut report = Report::default();
    let mut seed = settings.seed;
    while report.statements < settings.statements {
        let left = settings.statements - report.statements;
        episode(Settings { seed, statements: left, ..settings }, &mut report)?;
        report.episodes += 1;
        progress(&report);
        seed = seed.wrapping_add(1);
    }
    Ok(report)
}

/// What an episode has done so far.
struct Episode<'a> {
    settings: Settings,
    shape: Shape,
    world: World,
    script: Vec<Step>,
    report: &'a mut Report,
}

fn episode(settings: Settings, report: &mut Report) -> Result<(), Mismatch> {
    let Settings { subject, seed, statements: left, .. } = settings;
    const SHORTEST: u64 = 150;
    const SPREAD: u64 = 1200;
    // Another stream than the generator's.
    let length = (SHORTEST + Chance::from_seed(!seed).below(SPREAD)).min(left);
    let (mut generator, shape) = Generator::new(seed);
    let world = World::new(subject, &shape).map_err(|error| Mismatch {
        seed,
        step: 0,
        what: format!("{shape:?} could not be set up: {error:#}"),
        repro: String::new(),
    })?;
    let mut episode = Episode { settings, shape, world, script: Vec::new(), report };
    for _ in 0..length {
        let connection = generator.turn();
        let look = episode.world.oracle(connection).and_then(|oracle| generator.wants_look(oracle));
        if let Some(step) = look {
            episode.run(step)?;
            if let Some(model) = episode.world.looked.take() {
                generator.refresh(model);
            }
        }
        let step = generator.step();
        let answer = episode.run(step.clone())?;
        generator.observe(&step, answer.as_ref());
    }
    for step in generator.ending() {
        episode.run(step)?;
    }
    Ok(())
}

impl Episode<'_> {
    fn run(&mut self, step: Step) -> Result<Option<crate::Answer>, Mismatch> {
        self.script.push(step);
        let Some(step) = self.script.last() else { return Ok(None) };
        let (answer, disagreement) = match self.world.run(step) {
            Ok(result) => result,
            Err(error) => return Err(self.mismatch(&format!("{:?}: {error:#}", step.action))),
        };
        if let Some(Disagreement { sql, subject, oracle }) = disagreement {
            let name = self.settings.subject.name();
            let what = format!("{:?}\n{sql}\n  {name}: {subject}\n  oracle: {oracle}", self.shape);
            return Err(self.mismatch(&what));
        }
        self.count(answer.as_ref());
        Ok(answer)
    }

    fn count(&mut self, answer: Option<&crate::Answer>) {
        let (Some(step), report) = (self.script.last(), &mut *self.report) else { return };
        match (&step.action, answer.map(|answer| &answer.outcome)) {
            (Action::Statement { .. }, Some(Outcome::Failed { code, .. })) => {
                report.statements += 1;
                *report.errors.entry(*code).or_default() += 1;
            }
            (Action::Statement { sql, .. }, Some(Outcome::Rows(_, rows))) => {
                report.statements += 1;
                report.rows += rows.len() as u64;
                let word = sql.split(' ').next().unwrap_or_default();
                *report.succeeded.entry(word.to_owned()).or_default() += 1;
            }
            (Action::Check, _) => report.checks += 1,
            (Action::Statement { .. } | Action::Look | Action::Reconnect | Action::Reopen, _) => {}
        }
    }

    #[cold]
    fn mismatch(&self, what: &str) -> Mismatch {
        let Settings { subject, seed, .. } = self.settings;
        let repro =
            if self.settings.shrink { shrink(subject, &self.shape, &self.script) } else { String::new() };
        Mismatch { seed, step: self.script.len() - 1, what: what.to_owned(), repro }
    }
}
