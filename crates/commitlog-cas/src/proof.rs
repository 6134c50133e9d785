//! The bucket proof: does a store honour conditional creates and updates when writers race?
//!
//! A store may answer one request after another correctly and still be broken: it looks whether the object exists and
//! writes afterwards, so two writers that look at the same time both win. Only a race tells. The proof lets
//! [`Proof::RACERS`] writers create one object, and replace one version of it, in [`Proof::ROUNDS`] rounds each, and judges by what
//! they were told and by what is in the object afterwards.
//!
//! ```text
//! create, create again, replace, replace the stale version     one after another: what a store that ignores
//!                                                              preconditions gets wrong
//! ROUNDS x { RACERS creates at once; read }                    what one that looks first and writes later gets wrong
//! ROUNDS x { RACERS replacements of one version at once; read }
//! LIST after the writes, from an offset                        what recovery relies on
//! DELETE all of it, LIST again                                 nothing is left behind
//! ```
//!
//! Invariants:
//! 1. [`Proof`] is given only if in every round exactly one writer can have won, the object holds that writer's bytes,
//!    and at least [`Proof::ROUNDS`] rounds of each kind were conclusive: most racers got a definite answer.
//! 2. A racer whose answer was lost or put off (5xx, 409, 429, a broken connection) tries again, as a writer of the log
//!    does. If an attempt of its was of unknown fate it may be the winner although it was told otherwise.
//! 3. What the proof wrote it deletes, whatever it found, and it looks whether it is gone.
//!
//! A proof is evidence, not certainty: a store that fails one race in millions passes. It costs about 300 requests. A
//! store that takes one write per second and key, as R2 does, is judged with fewer racers, and slowly.
//!
//! A crash, or dropping the future, leaves tiny objects below `<prefix>/.proof-…`, which nothing ever reads; so does a
//! store that applies a request after it has answered that it failed, and after the proof has ended.
//!
//! Refuses: to prove anything in a bucket where it may not write, list or delete.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion};

use crate::environment::Environment;
use crate::error::LogError;
use crate::reply::Reply;

/// Writers in each race, at least: after a round that told nothing their number is halved.
const RACERS_MIN: usize = 4;

/// Rounds of each kind that are tried before the proof gives up.
const ROUNDS_MAX: usize = 3 * Proof::ROUNDS;

/// Before an attempt is repeated. R2 takes one write per second and key.
const PAUSE: Duration = Duration::from_millis(1100);

/// Attempts of a racer.
const RACER_ATTEMPTS: usize = 4;

/// Attempts of a request that is not part of a race.
const ATTEMPTS: usize = 8;

/// What a race was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Race {
    /// Creating an object that is not there: `If-None-Match: *`.
    Create,
    /// Replacing one version of an object: `If-Match`.
    Update,
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "conditional create (If-None-Match: *)",
            Self::Update => "conditional update (If-Match)",
        })
    }
}

/// A store honoured conditional creates and updates in every race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Conclusive rounds of creates.
    pub creates: usize,
    /// Conclusive rounds of updates.
    pub updates: usize,
    /// Writers in each, at least.
    pub racers: usize,
}

impl Proof {
    /// Writers in each race, to begin with.
    pub const RACERS: usize = 16;

    /// Conclusive rounds of each kind that a proof needs.
    pub const ROUNDS: usize = 8;
}

/// Why a store cannot hold a log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A precondition that did not hold was no obstacle, without any race.
    #[error("the store ignores preconditions: a {0} succeeded although its precondition did not hold")]
    Ignored(Race),
    /// Several racers were told that they had won.
    #[error(
        "the store breaks under a race: {winners} of {racers} writers were told that their {race} had succeeded, \
         in round {round}"
    )]
    SeveralWinners {
        /// What they raced for.
        race: Race,
        /// How many were told so.
        winners: usize,
        /// How many raced.
        racers: usize,
        /// In which round, from 0.
        round: usize,
    },
    /// One racer was told that it had won, and the object holds another's bytes.
    #[error(
        "the store breaks under a race: after a {race} in round {round} the object holds a loser's bytes"
    )]
    LoserOverwrote {
        /// What they raced for.
        race: Race,
        /// In which round, from 0.
        round: usize,
    },
    /// Every racer was told that the precondition did not hold, although it did.
    #[error("the store lets nobody win: every {race} of round {round} was refused")]
    NobodyWon {
        /// What they raced for.
        race: Race,
        /// In which round, from 0.
        round: usize,
    },
    /// The store or its client cannot do it at all.
    #[error("the store has no {race}: {source}")]
    Unsupported {
        /// What it lacks.
        race: Race,
        /// What it said.
        #[source]
        source: LogError,
    },
    /// Objects come without an `ETag`, so no update can name a version.
    #[error("the store gives no ETag, so a conditional update cannot name the version that it replaces")]
    NoEtag,
    /// A list lacks an object whose write was acknowledged, or holds one that was deleted.
    #[error("the store's lists lag behind its writes: {0}")]
    ListLags(String),
    /// A list that was to begin after a key begins before it, or leaves out what follows.
    #[error("the store's lists do not begin where they are told to (start-after)")]
    ListIgnoresOffset,
    /// Too many answers were lost or put off to tell.
    #[error("no verdict: of {tried} rounds of {race} only {conclusive} told anything")]
    Inconclusive {
        /// What was raced for.
        race: Race,
        /// Rounds.
        tried: usize,
        /// Rounds that counted.
        conclusive: usize,
    },
    /// The store refused, or could not be reached.
    #[error(transparent)]
    Store(#[from] LogError),
}

/// Decides by races whether `store` honours conditional creates and updates. Writes only below a folder of its own
/// in `prefix`, and removes that again.
///
/// The client behind `store` must not retry by itself, or a racer may be told of its own object.
///
/// # Errors
/// [`Refusal`]: what the store got wrong, or why it could not be told.
pub async fn prove_conditional_writes(
    store: &Arc<dyn ObjectStore>,
    prefix: &Path,
    environment: &dyn Environment,
) -> Result<Proof, Refusal> {
    let mut random = [0; 8];
    environment.fill_random(&mut random);
    let folder = prefix.clone().join(format!(".proof-{:016x}", u64::from_le_bytes(random)));
    let bench = Bench { store, folder, environment };
    let found = bench.prove().await;
    let removed = bench.remove_all().await;
    let proof = found?;
    removed?;
    Ok(proof)
}

struct Bench<'a> {
    store: &'a Arc<dyn ObjectStore>,
    folder: Path,
    environment: &'a dyn Environment,
}

/// An object as a write left it.
struct Written {
    /// `None` if the store did not say.
    etag: Option<String>,
}

/// An object's bytes and its `ETag`.
type Read = (Bytes, Option<String>);

/// What one racer was told in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// That it won.
    Won,
    /// That the precondition does not hold, and nothing else before.
    Lost,
    /// That the precondition does not hold, after an attempt of unknown fate: perhaps its own.
    Doubtful,
    /// Nothing definite.
    Nothing,
}

/// What a round showed.
enum Round {
    Conclusive,
    Inconclusive,
}

impl Bench<'_> {
    async fn prove(&self) -> Result<Proof, Refusal> {
        self.warm_up().await?;
        let etag = self.one_after_another().await?;
        let creators = self.rounds(Race::Create, None).await?;
        let updaters = self.rounds(Race::Update, Some(etag)).await?;
        self.list().await?;
        Ok(Proof { creates: Proof::ROUNDS, updates: Proof::ROUNDS, racers: creators.min(updaters) })
    }

    fn key(&self, name: impl fmt::Display) -> Path {
        self.folder.clone().join(name.to_string())
    }

    /// Opens as many connections as there are racers, so that they start together.
    async fn warm_up(&self) -> Result<(), Refusal> {
        let mut reads = Vec::new();
        for racer in 0..Proof::RACERS {
            reads.push(self.read(self.key(format_args!("none-{racer}"))).boxed());
        }
        for read in join_all(reads).await {
            if read?.is_some() {
                return Err(LogError::invalid("the store has objects that nobody wrote").into());
            }
        }
        Ok(())
    }

    /// What a store gets wrong even without a race. Leaves an object and returns its `ETag`.
    async fn one_after_another(&self) -> Result<String, Refusal> {
        let key = self.key("updated");
        let first = self.settle(Race::Create, &key, "first", &PutMode::Create).await?;
        if self.settle(Race::Create, &key, "again", &PutMode::Create).await?.is_some() {
            return Err(Refusal::Ignored(Race::Create));
        }
        let stale = self.etag(&key, first).await?;
        let replaced = self.settle(Race::Update, &key, "second", &update(&stale)).await?;
        let fresh = self.etag(&key, replaced).await?;
        if fresh == stale || self.settle(Race::Update, &key, "third", &update(&stale)).await?.is_some() {
            return Err(Refusal::Ignored(Race::Update));
        }
        match self.read(key).await? {
            Some((bytes, _)) if bytes == "second" => Ok(fresh),
            _ => Err(Refusal::Ignored(Race::Update)),
        }
    }

    /// Rounds of one kind until enough were conclusive. Returns how many writers raced in the smallest.
    async fn rounds(&self, race: Race, mut etag: Option<String>) -> Result<usize, Refusal> {
        let mut racers = Proof::RACERS;
        let mut conclusive = 0;
        for round in 0..ROUNDS_MAX {
            let key = match race {
                Race::Create => self.key(format_args!("created-{round:02}")),
                Race::Update => self.key("updated"),
            };
            match self.round(race, (round, racers), &key, &mut etag).await? {
                Round::Conclusive => conclusive += 1,
                Round::Inconclusive => racers = (racers / 2).max(RACERS_MIN),
            }
            if conclusive == Proof::ROUNDS {
                return Ok(racers);
            }
        }
        Err(Refusal::Inconclusive { race, tried: ROUNDS_MAX, conclusive })
    }

    /// One race of so many. For updates, `etag` is the version they all replace, and then the winner's.
    async fn round(
        &self,
        race: Race,
        (round, racers): (usize, usize),
        key: &Path,
        etag: &mut Option<String>,
    ) -> Result<Round, Refusal> {
        let mode = match (race, etag.as_deref()) {
            (Race::Update, Some(etag)) => update(etag),
            (Race::Update, None) => return Err(Refusal::NoEtag),
            (Race::Create, _) => PutMode::Create,
        };
        let bodies: Vec<String> = (0..racers).map(|racer| format!("{race:?}-{round}-{racer}")).collect();
        let mut runs = Vec::new();
        for body in &bodies {
            runs.push(self.run(key, body, &mode).boxed());
        }
        let told = join_all(runs).await;
        let told: Vec<Told> = told.into_iter().collect::<Result<_, _>>()?;
        let count = |wanted: &[Told]| told.iter().filter(|told| wanted.contains(told)).count();
        let winners = count(&[Told::Won]);
        if winners > 1 {
            return Err(Refusal::SeveralWinners { race, winners, racers, round });
        }
        let found = self.read(key.clone()).await?;
        let holds = |body: &String| found.as_ref().is_some_and(|(bytes, _)| bytes == body.as_bytes());
        let holder = bodies.iter().position(holds).and_then(|racer| told.get(racer).copied());
        match holder {
            Some(Told::Won) => {}
            Some(Told::Doubtful | Told::Nothing) if winners == 0 => {}
            None if winners == 0 && count(&[Told::Doubtful, Told::Nothing]) > 0 => {}
            None if winners == 0 => return Err(Refusal::NobodyWon { race, round }),
            Some(Told::Lost | Told::Doubtful | Told::Nothing) | None => {
                return Err(Refusal::LoserOverwrote { race, round });
            }
        }
        if race == Race::Update {
            *etag = found.and_then(|(_, etag)| etag);
        }
        let conclusive = holder.is_some() && count(&[Told::Nothing]) <= racers / 2;
        Ok(if conclusive { Round::Conclusive } else { Round::Inconclusive })
    }

    /// One racer, until it was told something definite or has tried often enough.
    async fn run(&self, key: &Path, body: &str, mode: &PutMode) -> Result<Told, Refusal> {
        let mut in_doubt = false;
        for attempt in 0..RACER_ATTEMPTS {
            if attempt > 0 {
                self.environment.sleep(PAUSE).await;
            }
            match self.put(key, body.to_owned(), mode.clone()).await {
                Ok(_) => return Ok(Told::Won),
                Err(Reply::Exists(_)) if in_doubt => return Ok(Told::Doubtful),
                Err(Reply::Exists(_)) => return Ok(Told::Lost),
                Err(Reply::Ambiguous(_)) => in_doubt = true,
                Err(Reply::NotApplied(_)) => {}
                Err(Reply::NotFound(error) | Reply::Refused(error)) => return Err(error.into()),
            }
        }
        Ok(Told::Nothing)
    }

    async fn list(&self) -> Result<(), Refusal> {
        let all = self.keys(None).await?;
        let Some((first, rest)) = all.split_first() else {
            return Err(Refusal::ListLags("it is empty after the races".to_owned()));
        };
        let expected = Proof::ROUNDS + 1;
        if all.len() < expected {
            return Err(Refusal::ListLags(format!("{} objects of {expected} are in it", all.len())));
        }
        if self.keys(Some(first)).await? != rest {
            return Err(Refusal::ListIgnoresOffset);
        }
        Ok(())
    }

    /// Deletes everything below the folder and looks whether it is gone.
    async fn remove_all(&self) -> Result<(), Refusal> {
        for _ in 0..ATTEMPTS {
            let keys = self.keys(None).await?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                self.repeat(|| self.delete_once(&key).boxed()).await?;
            }
        }
        Err(Refusal::ListLags("deleted objects stay in it".to_owned()))
    }

    /// The keys below the folder after `after`, in order.
    async fn keys(&self, after: Option<&Path>) -> Result<Vec<Path>, Refusal> {
        let found = self.repeat(|| self.keys_once(after).boxed()).await?;
        let mut keys = found.unwrap_or_default();
        keys.sort();
        Ok(keys)
    }

    /// The `ETag` of what was just written, read back if the store did not say.
    async fn etag(&self, key: &Path, written: Option<Written>) -> Result<String, Refusal> {
        if let Some(etag) = written.and_then(|written| written.etag) {
            return Ok(etag);
        }
        self.read(key.clone()).await?.and_then(|(_, etag)| etag).ok_or(Refusal::NoEtag)
    }

    /// The object's bytes and `ETag`; `None` where there is none.
    async fn read(&self, key: Path) -> Result<Option<Read>, Refusal> {
        self.repeat(|| self.read_once(&key).boxed()).await
    }

    async fn delete_once(&self, key: &Path) -> Result<(), Reply> {
        let paths = stream::once(future::ready(Ok(key.clone()))).boxed();
        let deleted = self.store.delete_stream(paths).try_collect::<Vec<_>>().await;
        deleted.map(drop).map_err(|error| Reply::of(&format!("DELETE {key}"), error))
    }

    async fn keys_once(&self, after: Option<&Path>) -> Result<Vec<Path>, Reply> {
        let listed = match after {
            Some(after) => self.store.list_with_offset(Some(&self.folder), after),
            None => self.store.list(Some(&self.folder)),
        };
        let keys = listed.map_ok(|object| object.location).try_collect().await;
        keys.map_err(|error| Reply::of(&format!("LIST {}", self.folder), error))
    }

    async fn read_once(&self, key: &Path) -> Result<Read, Reply> {
        let failed = |error| Reply::of(&format!("GET {key}"), error);
        let found = self.store.get_opts(key, GetOptions::default()).await.map_err(failed)?;
        let etag = found.meta.e_tag.clone();
        Ok((found.bytes().await.map_err(failed)?, etag))
    }

    async fn put(&self, key: &Path, body: String, mode: PutMode) -> Result<PutResult, Reply> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.store.put_opts(key, PutPayload::from(body), options).await;
        put.map_err(|error| Reply::of(&format!("PUT {key}"), error))
    }

    /// A write without rivals. `None`: the store says that the precondition does not hold.
    async fn settle(
        &self,
        race: Race,
        key: &Path,
        body: &str,
        mode: &PutMode,
    ) -> Result<Option<Written>, Refusal> {
        let mut attempt = 0;
        loop {
            let error = match self.put(key, body.to_owned(), mode.clone()).await {
                Ok(put) => return Ok(Some(Written { etag: put.e_tag })),
                // An earlier attempt may have succeeded, its answer lost.
                Err(Reply::Exists(_)) if attempt > 0 && self.holds(key, body).await? => {
                    return Ok(Some(Written { etag: None }));
                }
                Err(Reply::Exists(_)) => return Ok(None),
                Err(Reply::Refused(source @ LogError::Refused { .. })) => {
                    return Err(Refusal::Unsupported { race, source });
                }
                Err(Reply::NotFound(error) | Reply::Refused(error)) => return Err(error.into()),
                Err(Reply::NotApplied(error) | Reply::Ambiguous(error)) => error,
            };
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(error.into());
            }
            self.environment.sleep(PAUSE).await;
        }
    }

    async fn holds(&self, key: &Path, body: &str) -> Result<bool, Refusal> {
        Ok(self.read(key.clone()).await?.is_some_and(|(bytes, _)| bytes == body.as_bytes()))
    }

    /// A request that may be repeated. `None` is "there is no such object".
    async fn repeat<'a, T>(
        &self,
        request: impl Fn() -> BoxFuture<'a, Result<T, Reply>> + Send,
    ) -> Result<Option<T>, Refusal> {
        let mut attempt = 0;
        loop {
            let error = match request().await {
                Ok(answer) => return Ok(Some(answer)),
                Err(Reply::NotFound(LogError::BucketGone { what, source })) => {
                    if bucket_is_gone(&source) {
                        return Err(LogError::BucketGone { what, source }.into());
                    }
                    return Ok(None);
                }
                Err(Reply::NotFound(_)) => return Ok(None),
                Err(Reply::Refused(error) | Reply::Exists(error)) => return Err(error.into()),
                Err(Reply::NotApplied(error) | Reply::Ambiguous(error)) => error,
            };
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(error.into());
            }
            self.environment.sleep(PAUSE).await;
        }
    }
}

/// S3 answers 404 for a missing object and for a missing bucket; the words of the answer tell.
fn bucket_is_gone(source: &crate::error::Cause) -> bool {
    source.to_string().contains("NoSuchBucket")
}

fn update(etag: &str) -> PutMode {
    PutMode::Update(UpdateVersion { e_tag: Some(etag.to_owned()), version: None })
}
