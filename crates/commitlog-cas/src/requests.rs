//! Single requests, each with a time limit per attempt, and reads repeated until they are answered.
//!
//! Invariants:
//! 1. This is the one layer that repeats reads, lists and deletes (repeating those is always safe); [`crate::settle`]
//!    is the one that repeats conditional writes.
//! 2. An attempt that takes too long is dropped, which counts as an answer of unknown fate.
//! 3. No repetition begins after the deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, Either};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion,
};

use crate::environment::Environment;
use crate::error::LogError;
use crate::options::Options;
use crate::reply::{Reply, given_up};
use crate::site::Site;

/// What a request goes through.
pub(crate) trait Client: Send + Sync {
    fn store(&self) -> &dyn ObjectStore;
    fn environment(&self) -> &dyn Environment;
    fn options(&self) -> &Options;
}

impl Client for Site {
    fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    fn environment(&self) -> &dyn Environment {
        self.environment.as_ref()
    }

    fn options(&self) -> &Options {
        &self.options
    }
}

impl<T: Client> Client for Arc<T> {
    fn store(&self) -> &dyn ObjectStore {
        self.as_ref().store()
    }

    fn environment(&self) -> &dyn Environment {
        self.as_ref().environment()
    }

    fn options(&self) -> &Options {
        self.as_ref().options()
    }
}

/// Waits between attempts, and the end of patience.
pub(crate) struct Patience<'a> {
    client: &'a dyn Client,
    began: Duration,
    wait: Duration,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(client: &'a dyn Client) -> Self {
        Self { client, began: client.environment().now(), wait: client.options().backoff_first }
    }

    fn left(&self) -> Duration {
        let waited = self.client.environment().now().saturating_sub(self.began);
        self.client.options().commit_deadline.saturating_sub(waited)
    }

    /// How long the next attempt may take; never nothing, so that a first attempt is made under any deadline.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.client.options().attempt_timeout.min(self.left()).max(Duration::from_millis(1))
    }

    /// Waits before the next attempt: between half and all of the back-off, which then doubles.
    ///
    /// # Errors
    /// `error`, when the deadline has come.
    pub(crate) async fn pause(&mut self, error: LogError) -> Result<(), LogError> {
        let mut random = [0; 8];
        self.client.environment().fill_random(&mut random);
        let share = u64::from_le_bytes(random) % 1001;
        let wait = self.wait / 2 + (self.wait / 2).mul_f64(millis_share(share));
        if wait >= self.left() {
            let waited = self.client.environment().now().saturating_sub(self.began);
            return Err(given_up(error, u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)));
        }
        self.client.environment().sleep(wait).await;
        self.wait = (self.wait * 2).min(self.client.options().backoff_max);
        Ok(())
    }
}

/// Thousandths as a fraction.
fn millis_share(thousandths: u64) -> f64 {
    f64::from(u32::try_from(thousandths).unwrap_or(1000)) / 1000.0
}

/// The request's answer, or [`Reply::Ambiguous`] when there is none within `limit`.
pub(crate) async fn within<T>(
    client: &dyn Client,
    limit: Duration,
    what: &str,
    request: impl Future<Output = object_store::Result<T>> + Send,
) -> Result<T, Reply> {
    // A client may complete two things at once; the answer is looked at first.
    match future::select(Box::pin(request), client.environment().sleep(limit)).await {
        Either::Left((answer, _)) => answer.map_err(|error| Reply::of(what, error)),
        Either::Right(((), _)) => Err(Reply::timed_out(what)),
    }
}

/// One attempt of a PUT.
pub(crate) async fn put_once(
    client: &dyn Client,
    limit: Duration,
    path: &Path,
    bytes: &Bytes,
    mode: PutMode,
) -> Result<PutResult, Reply> {
    let options = PutOptions { mode, ..PutOptions::default() };
    let limit = limit + transfer(bytes.len() as u64);
    let put = client.store().put_opts(path, PutPayload::from_bytes(bytes.clone()), options);
    within(client, limit, &format!("PUT {path}"), put).await
}

/// How long `bytes` may take beyond the limit for an answer: a second for each MiB.
fn transfer(bytes: u64) -> Duration {
    Duration::from_micros(bytes)
}

/// What repeats until it is answered. `None` is "there is no such object".
async fn repeated<'a, T>(
    patience: &mut Patience<'_>,
    request: impl Fn(Duration) -> BoxFuture<'a, Result<T, Reply>>,
) -> Result<Option<T>, LogError> {
    loop {
        match request(patience.attempt_timeout()).await {
            Ok(answer) => return Ok(Some(answer)),
            Err(Reply::NotFound(_)) => return Ok(None),
            Err(Reply::Refused(error) | Reply::Exists(error)) => return Err(error),
            Err(Reply::NotApplied(error) | Reply::Ambiguous(error)) => patience.pause(error).await?,
        }
    }
}

/// The object's bytes, or `None` where there is none.
pub(crate) fn get<'a>(
    client: &'a dyn Client,
    path: &'a Path,
) -> BoxFuture<'a, Result<Option<Bytes>, LogError>> {
    async move { get_patiently(client, path, &mut Patience::new(client)).await }.boxed()
}

/// As [`get`], as part of something that began earlier.
pub(crate) async fn get_patiently(
    client: &dyn Client,
    path: &Path,
    patience: &mut Patience<'_>,
) -> Result<Option<Bytes>, LogError> {
    repeated(patience, |limit| get_once(client, path, GetOptions::default(), limit).boxed()).await
}

/// The object's first bytes, at most `length` of them.
pub(crate) fn get_front<'a>(
    client: &'a dyn Client,
    path: &'a Path,
    length: u64,
) -> BoxFuture<'a, Result<Option<Bytes>, LogError>> {
    async move {
        let options = || GetOptions { range: Some(GetRange::Bounded(0..length)), ..GetOptions::default() };
        repeated(&mut Patience::new(client), |limit| get_once(client, path, options(), limit).boxed()).await
    }
    .boxed()
}

/// The object's bytes, and which version they are.
pub(crate) async fn get_versioned(
    client: &dyn Client,
    path: &Path,
    patience: &mut Patience<'_>,
) -> Result<Option<(Bytes, UpdateVersion)>, LogError> {
    repeated(patience, |limit| get_with_version(client, path, GetOptions::default(), limit).boxed()).await
}

async fn get_once(
    client: &dyn Client,
    path: &Path,
    options: GetOptions,
    limit: Duration,
) -> Result<Bytes, Reply> {
    Ok(get_with_version(client, path, options, limit).await?.0)
}

async fn get_with_version(
    client: &dyn Client,
    path: &Path,
    options: GetOptions,
    limit: Duration,
) -> Result<(Bytes, UpdateVersion), Reply> {
    let what = format!("GET {path}");
    let found = within(client, limit, &what, client.store().get_opts(path, options)).await?;
    let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    let limit = limit + transfer(found.meta.size);
    Ok((within(client, limit, &what, found.bytes()).await?, version))
}

/// Deletes the object; one that is not there counts as deleted.
pub(crate) fn delete<'a>(client: &'a dyn Client, path: &'a Path) -> BoxFuture<'a, Result<(), LogError>> {
    async move {
        let what = &format!("DELETE {path}");
        let request = |limit| {
            let paths = stream::once(future::ready(Ok(path.clone()))).boxed();
            let deleted = client.store().delete_stream(paths).try_collect::<Vec<_>>();
            async move { within(client, limit, what, deleted).await }.boxed()
        };
        repeated(&mut Patience::new(client), request).await.map(|_| ())
    }
    .boxed()
}

/// What `parse` makes of the keys below `folder` after `after`, in no order that can be relied on.
pub(crate) async fn list<T: Send>(
    client: &dyn Client,
    folder: &Path,
    after: Option<&Path>,
    parse: impl Fn(&Path) -> Option<T> + Copy + Send + Sync,
) -> Result<Vec<T>, LogError> {
    let what = &format!("LIST {folder}");
    let request = |limit| {
        let keys = match after {
            Some(after) => client.store().list_with_offset(Some(folder), after),
            None => client.store().list(Some(folder)),
        };
        async move {
            let (mut keys, mut found) = (keys, Vec::new());
            // The limit is for each answer, however many there are.
            while let Some(object) = within(client, limit, what, keys.try_next()).await? {
                found.extend(parse(&object.location));
            }
            Ok(found)
        }
        .boxed()
    };
    match repeated(&mut Patience::new(client), request).await? {
        Some(found) => Ok(found),
        None => Err(LogError::BucketGone {
            what: what.clone(),
            source: std::sync::Arc::new(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }),
    }
}
