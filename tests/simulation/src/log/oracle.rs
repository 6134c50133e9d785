//! What is true of a log, kept by somebody who sees everything that anybody was told.
//!
//! Invariants it enforces; the first breach ends the run:
//! 1. One history: a commit that was acknowledged, or seen by any reader, at an LSN is what every other reader sees there,
//!    in the same slot with the same time, whole, and with the token it was given.
//! 2. Nothing lost: whoever starts to read sees at least what had been acknowledged to anybody, or seen by anybody, when they
//!    started.
//! 3. LSNs are contiguous; commit times never go back.
//! 4. A commit is in the history at most once, under the LSN and epoch that `append` gave it.
//! 5. What was told `NotApplied` or `Fenced` never appears; an outcome, told again, is the same.
//! 6. After a seal nothing is acknowledged or seen beyond it.
//! 7. Nobody is told `Expired`, `Forgotten` or `Sealed` who is not; nobody is told of damage, for there is none.
//!
//! Crash: the oracle outlives every process. Refuses: to excuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::Serialize;
use twill_commitlog_cas::{
    Commit, CommitId, CommitTime, LogError, NewCommit, Outcome, Position, Slot, Token, Verdict,
};
use twill_types::seeded::Chance;
use twill_types::{Epoch, Lsn, TimelineId};

use crate::world::lock;

/// What happened in a run, or in many.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct Tally {
    /// Commits handed to a log.
    pub appended: u64,
    /// Commits acknowledged.
    pub acknowledged: u64,
    /// Commits told as not applied.
    pub not_applied: u64,
    /// Commits told as indeterminate.
    pub indeterminate: u64,
    /// Indeterminate or never told commits that were found in the history.
    pub found_unacknowledged: u64,
    /// Openings for writing that were confirmed.
    pub openings: u64,
    /// Openings that failed, whatever for.
    pub openings_failed: u64,
    /// Commits that readers, followers and openers were given.
    pub read: u64,
    /// Readers told that their position was given up, rightly.
    pub expired: u64,
    /// Verdicts on earlier commits: durable, not applied, forgotten.
    pub verdicts: [u64; 3],
    /// Raises of floor or horizon that succeeded.
    pub raises: u64,
    /// Objects deleted by collections.
    pub collected: u64,
    /// Records merged.
    pub merged: u64,
    /// Pins held, and read through.
    pub pins: u64,
    /// Timelines sealed.
    pub sealed: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let Self { appended, acknowledged, not_applied, indeterminate, found_unacknowledged, .. } = other;
        self.appended += appended;
        self.acknowledged += acknowledged;
        self.not_applied += not_applied;
        self.indeterminate += indeterminate;
        self.found_unacknowledged += found_unacknowledged;
        self.openings += other.openings;
        self.openings_failed += other.openings_failed;
        self.read += other.read;
        self.expired += other.expired;
        for (mine, theirs) in self.verdicts.iter_mut().zip(other.verdicts) {
            *mine += theirs;
        }
        self.raises += other.raises;
        self.collected += other.collected;
        self.merged += other.merged;
        self.pins += other.pins;
        self.sealed += other.sealed;
    }
}

/// What was last told of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Durable,
    NotApplied,
    Indeterminate,
}

/// A commit somebody handed in.
#[derive(Clone, Debug)]
struct Submission {
    by: String,
    token: Token,
    bytes: usize,
    /// Where `append` put it.
    place: Option<(Epoch, Lsn)>,
    told: Told,
    seen: bool,
}

/// What is true at an LSN.
#[derive(Clone, Debug)]
struct Fact {
    submission: usize,
    slot: Option<Slot>,
    time: Option<CommitTime>,
    witness: String,
}

/// A commit that was handed in and whose outcome its client may want to ask for later.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// The oracle's number of it.
    pub submission: usize,
    /// The log's name of it.
    pub id: CommitId,
    /// The client's name of it.
    pub token: Token,
}

#[derive(Default)]
struct Books {
    submissions: Vec<Submission>,
    facts: BTreeMap<u64, Fact>,
    acknowledged: u64,
    floor_tried: u64,
    horizon_tried: u64,
    seal_tried: bool,
    sealed_at: Option<u64>,
    outages: bool,
    breach: Option<String>,
    tally: Tally,
}

/// Who sees everything. Clones share one set of books.
#[derive(Clone, Default)]
pub struct Oracle(Arc<Mutex<Books>>);

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Oracle")
    }
}

/// The bytes of submission `number`: its number, then bytes that follow from it.
fn payload(number: usize, bytes: usize) -> Bytes {
    let number = number as u64;
    let mut whole = number.to_le_bytes().to_vec();
    let mut chance = Chance::from_seed(number);
    let rest = bytes.saturating_sub(8);
    // Half of the payloads compress well.
    whole.extend(if number.is_multiple_of(2) {
        vec![number.to_le_bytes()[0]; rest]
    } else {
        chance.bytes(rest)
    });
    whole.into()
}

fn token_of(number: usize) -> Token {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&(number as u64).to_le_bytes());
    token[15] = 1;
    Token(token)
}

impl Books {
    fn breach(&mut self, what: String) {
        self.breach.get_or_insert(what);
    }

    /// A fact, from whoever knows it.
    fn establish(
        &mut self,
        lsn: u64,
        number: usize,
        slot: Option<Slot>,
        time: Option<CommitTime>,
        witness: &str,
    ) {
        if let Some(sealed) = self.sealed_at
            && lsn > sealed
        {
            return self.breach(format!("{witness}: commit {lsn} beyond the seal after {sealed}"));
        }
        let Some(submission) = self.submissions.get_mut(number) else {
            return self.breach(format!("{witness}: commit {lsn} was never handed in"));
        };
        if submission.told == Told::NotApplied {
            let by = submission.by.clone();
            return self
                .breach(format!("{witness}: commit {lsn} of {by} was told not to be applied, and is there"));
        }
        if !submission.seen && submission.told != Told::Durable {
            self.tally.found_unacknowledged += 1;
        }
        submission.seen = true;
        let fact = self.facts.entry(lsn).or_insert_with(|| Fact {
            submission: number,
            slot,
            time,
            witness: witness.to_owned(),
        });
        let same = fact.submission == number
            && (fact.slot.is_none() || slot.is_none() || fact.slot == slot)
            && (fact.time.is_none() || time.is_none() || fact.time == time);
        fact.slot = fact.slot.or(slot);
        fact.time = fact.time.or(time);
        if !same {
            let what = format!(
                "{witness}: commit {lsn} is submission {number} at {slot:?} {time:?}, but {} knows {fact:?}",
                fact.witness
            );
            return self.breach(what);
        }
        self.check_times(lsn, witness);
    }

    fn check_times(&mut self, lsn: u64, witness: &str) {
        let time = |books: &Self, lsn: u64| books.facts.get(&lsn).and_then(|fact| fact.time);
        for (first, second) in [(lsn.wrapping_sub(1), lsn), (lsn, lsn + 1)] {
            if let (Some(before), Some(after)) = (time(self, first), time(self, second))
                && before > after
            {
                self.breach(format!("{witness}: commit {second} has an earlier time than commit {first}"));
            }
        }
    }
}

impl Oracle {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        lock(&self.0)
    }

    /// An oracle for runs in which processes may be refused for good.
    #[must_use]
    pub fn with_outages(outages: bool) -> Self {
        let oracle = Self::default();
        oracle.books().outages = outages;
        oracle
    }

    /// The first breach, if there was one.
    #[must_use]
    pub fn breach(&self) -> Option<String> {
        self.books().breach.clone()
    }

    /// Reports a breach that a session has found itself.
    pub fn accuse(&self, what: impl Into<String>) {
        self.books().breach(what.into());
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.books().tally.clone()
    }

    /// Counts.
    pub fn count(&self, with: impl FnOnce(&mut Tally)) {
        with(&mut self.books().tally);
    }

    /// A new commit of `bytes` bytes to hand in: its number, and what to hand in.
    #[must_use]
    pub fn submit(&self, by: &str, bytes: usize) -> (usize, NewCommit) {
        let mut books = self.books();
        let number = books.submissions.len();
        let (token, payload) = (token_of(number), payload(number, bytes.max(8)));
        books.submissions.push(Submission {
            by: by.to_owned(),
            token,
            bytes: payload.len(),
            place: None,
            told: Told::Nothing,
            seen: false,
        });
        books.tally.appended += 1;
        (number, NewCommit::new(payload).with_token(token))
    }

    /// What `append` said of a submission.
    pub fn appended(
        &self,
        number: usize,
        timeline: TimelineId,
        epoch: Epoch,
        outcome: &Result<Lsn, LogError>,
    ) -> Option<Receipt> {
        let mut books = self.books();
        let submission = books.submissions.get_mut(number)?;
        match outcome {
            Ok(lsn) => {
                submission.place = Some((epoch, *lsn));
                let token = submission.token;
                Some(Receipt { submission: number, id: CommitId { timeline, epoch, lsn: *lsn }, token })
            }
            Err(LogError::Poisoned { .. } | LogError::Closed) => {
                submission.told = Told::NotApplied;
                None
            }
            Err(error) => {
                let what = format!("append refuses: {error}");
                books.breach(what);
                None
            }
        }
    }

    /// What a waiter was told of a commit.
    pub fn told(&self, receipt: &Receipt, outcome: &Outcome, witness: &str) {
        let mut books = self.books();
        let Some(submission) = books.submissions.get_mut(receipt.submission) else { return };
        let now = match outcome {
            Outcome::Durable => Told::Durable,
            Outcome::NotApplied(_) | Outcome::Fenced(_) => Told::NotApplied,
            Outcome::Indeterminate(_) => Told::Indeterminate,
        };
        let before = std::mem::replace(&mut submission.told, now);
        let seen = submission.seen;
        let lsn = receipt.id.lsn.get();
        if before != Told::Nothing && before != now {
            return books.breach(format!("{witness}: commit {lsn} was told {before:?}, then {now:?}"));
        }
        if let Some(error) = outcome.error() {
            books.judge(error, witness);
        }
        if before == Told::Nothing {
            match now {
                Told::Durable => books.tally.acknowledged += 1,
                Told::NotApplied => books.tally.not_applied += 1,
                Told::Indeterminate => books.tally.indeterminate += 1,
                Told::Nothing => {}
            }
        }
        match now {
            Told::Durable => {
                books.establish(lsn, receipt.submission, None, None, witness);
                books.acknowledged = books.acknowledged.max(lsn);
            }
            Told::NotApplied if seen => {
                books.breach(format!("{witness}: commit {lsn} is told not to be applied, and was seen"));
            }
            Told::Nothing | Told::NotApplied | Told::Indeterminate => {}
        }
    }

    /// What a later opening said of an earlier commit, when asked to look from commit `from` on.
    pub fn verdict(&self, receipt: &Receipt, from: Lsn, verdict: Verdict, witness: &str) {
        let mut books = self.books();
        let lsn = receipt.id.lsn.get();
        let Some(submission) = books.submissions.get_mut(receipt.submission) else { return };
        match verdict {
            Verdict::Durable(at) if at == receipt.id.lsn => {
                books.tally.verdicts[0] += 1;
                books.establish(lsn, receipt.submission, None, None, witness);
                books.acknowledged = books.acknowledged.max(lsn);
            }
            Verdict::Durable(at) => {
                books.breach(format!("{witness}: commit {lsn} is said to be commit {at}"))
            }
            Verdict::NotApplied => {
                let wrong = submission.seen || submission.told == Told::Durable;
                submission.told = Told::NotApplied;
                books.tally.verdicts[1] += 1;
                if wrong {
                    books.breach(format!("{witness}: commit {lsn} is said not to be applied, and is there"));
                }
            }
            Verdict::Forgotten => {
                books.tally.verdicts[2] += 1;
                if from.get() > books.floor_tried {
                    books.breach(format!(
                        "{witness}: commit {lsn} is said to be forgotten, and no floor passed it"
                    ));
                }
            }
        }
    }

    /// Somebody begins to read: they must come at least as far as the answer, the newest commit that was acknowledged to
    /// anybody, or that anybody saw.
    #[must_use]
    pub fn begin_reading(&self) -> u64 {
        self.books().facts.last_key_value().map_or(0, |(lsn, _)| *lsn)
    }

    /// Somebody was given these commits after commit `after`.
    pub fn read(&self, after: Lsn, commits: &[Commit], witness: &str) {
        let mut books = self.books();
        let mut expected = after;
        for commit in commits {
            expected = expected.next();
            if commit.lsn != expected {
                return books
                    .breach(format!("{witness}: commit {} where commit {expected} should be", commit.lsn));
            }
            let number = commit.payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            let Some(submission) = books.submissions.get(number) else {
                return books.breach(format!("{witness}: commit {expected} was never handed in"));
            };
            let whole = commit.payload == payload(number, submission.bytes);
            if !whole || commit.token != submission.token {
                let by = submission.by.clone();
                return books.breach(format!("{witness}: commit {expected} is not as {by} handed it in"));
            }
            if submission.place != Some((commit.slot.epoch, commit.lsn)) {
                let place = submission.place;
                return books.breach(format!(
                    "{witness}: commit {expected} at slot {} was given place {place:?}",
                    commit.slot
                ));
            }
            books.tally.read += 1;
            books.establish(expected.get(), number, Some(commit.slot), Some(commit.time), witness);
        }
    }

    /// Somebody has read to the end, who had to come as far as commit `due`.
    pub fn end_reading(&self, end: Lsn, due: u64, witness: &str) {
        if end.get() < due {
            self.accuse(format!(
                "{witness}: LOST: the history ends at commit {end}, but commit {due} was acknowledged or seen"
            ));
        }
    }

    /// Somebody is about to raise the floor or the horizon so far.
    pub fn raising(&self, floor: Option<Position>, horizon: Option<Position>) {
        let mut books = self.books();
        let lsn = |position: Option<Position>| position.map_or(0, |position| position.lsn.get());
        books.floor_tried = books.floor_tried.max(lsn(floor));
        books.horizon_tried = books.horizon_tried.max(lsn(horizon));
    }

    /// Somebody is about to seal.
    pub fn sealing(&self) {
        self.books().seal_tried = true;
    }

    /// Somebody was told that the timeline is sealed after commit `lsn`.
    pub fn sealed(&self, lsn: Lsn) {
        let mut books = self.books();
        books.tally.sealed += 1;
        let lsn = lsn.get();
        if books.acknowledged > lsn {
            let acknowledged = books.acknowledged;
            books.breach(format!("sealed after commit {lsn}, but commit {acknowledged} was acknowledged"));
        }
        books.sealed_at = Some(lsn);
    }

    /// Whether the timeline is sealed, or may be.
    #[must_use]
    pub fn may_be_sealed(&self) -> bool {
        self.books().seal_tried
    }

    /// How far the floor and the horizon may have come.
    #[must_use]
    pub fn tried(&self) -> (u64, u64) {
        let books = self.books();
        (books.floor_tried, books.horizon_tried)
    }

    /// Whether an error may be told to anybody now.
    pub fn excuse(&self, error: &LogError, witness: &str) {
        let mut books = self.books();
        if let LogError::Expired { lsn, .. } = error {
            books.tally.expired += 1;
            if lsn.get() >= books.floor_tried {
                let floor = books.floor_tried;
                books.breach(format!("{witness}: no floor was raised beyond commit {floor}: {error}"));
            }
            return;
        }
        books.judge(error, witness);
    }

    /// Whether every commit after `after` and up to the newest is known.
    pub fn check_gapless(&self, after: u64) {
        let mut books = self.books();
        let mut expected = after;
        let known: Vec<u64> = books.facts.range(after + 1..).map(|(lsn, _)| *lsn).collect();
        for lsn in known {
            expected += 1;
            if lsn != expected {
                return books.breach(format!("commit {expected} is missing before commit {lsn}"));
            }
        }
    }
}

impl Books {
    /// Errors that nobody may be told in a world without damage.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the log's errors are non-exhaustive; new ones are for its tests"
    )]
    fn judge(&mut self, error: &LogError, witness: &str) {
        let wrong = match error {
            LogError::Corrupt { .. }
            | LogError::NewerFormat { .. }
            | LogError::Missing { .. }
            | LogError::NoRecord { .. }
            | LogError::BucketGone { .. }
            | LogError::Refused { .. }
            | LogError::Invalid { .. } => true,
            LogError::Denied { .. } | LogError::Unauthenticated { .. } => !self.outages,
            LogError::Sealed { .. } => !self.seal_tried,
            LogError::Poisoned { cause } => return self.judge(&cause.clone(), witness),
            _ => false,
        };
        if wrong {
            self.breach(format!("{witness} is told: {error} ({error:?})"));
        }
    }
}
