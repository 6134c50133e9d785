//! Where logs are measured: a server with a profile's latencies, clients, and new timelines.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode};
use tokio::runtime::{Builder, Runtime};
use twill_commitlog_cas::{
    DatabaseId, Environment, Identity, Log, ObjectRegister, Options, Site, TokioEnvironment,
};
use twill_s3_server::{BUCKET, Kind, Latency, Login, S3Server};
use twill_types::{Door, Lsn, TimelineId};

use super::{Amount, PAYLOAD_BYTES, SEED};
use crate::stage::Stage;

/// How long [`ceiling`] sends requests.
const CEILING_MS: usize = 2000;

/// Senders of [`ceiling`].
const SENDERS: usize = 32;

/// A server, a runtime for its clients, and a clock.
pub(super) struct Place {
    pub(super) server: S3Server,
    pub(super) runtime: Runtime,
    pub(super) door: Arc<dyn Door>,
}

impl Place {
    /// A server with these latencies.
    pub(super) fn with(stage: &Stage, latency: Latency) -> Result<Self> {
        let options = twill_s3_server::Options { latency, seed: SEED, ..Default::default() };
        let server = S3Server::start(options).context("the test server")?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { server, runtime, door: Arc::clone(&stage.door) })
    }

    /// A server with the latencies of a profile.
    pub(super) fn named(stage: &Stage, profile: &str) -> Result<Self> {
        Self::with(stage, Latency::named(profile).with_context(|| format!("no latencies {profile}"))?)
    }

    /// A client with connections of its own.
    pub(super) fn client(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(Login::to(&self.server, BUCKET).client()?))
    }

    /// Requests of every kind and PUTs so far.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.server.requests(), self.server.counter(Kind::Put).requests)
    }

    /// A new log, open for writing, its driver running.
    pub(super) fn open_log(&self, name: &str) -> Result<Log> {
        let environment: Arc<dyn Environment> = Arc::new(TokioEnvironment::new(Arc::clone(&self.door)));
        let (mut database, mut timeline) = (DatabaseId::default(), TimelineId([0; 16]));
        environment.fill_random(&mut database.0);
        environment.fill_random(&mut timeline.0);
        let identity = Identity { database, timeline };
        let (store, options) = (self.client()?, Options::default());
        let path = Path::from(format!("{name}/branch"));
        let register = ObjectRegister::new(
            Arc::clone(&store),
            path,
            identity,
            Arc::clone(&environment),
            options.clone(),
        );
        self.runtime.block_on(async {
            register.create(Lsn::ZERO, Bytes::new()).await?;
            let root = Path::from(name);
            let register = Arc::new(register);
            let site = Site { store, root, identity, register, environment, options };
            let opened = Log::open(&site).await?;
            tokio::spawn(opened.driver);
            Ok(opened.log)
        })
    }

    /// A payload that no compression shortens.
    pub(super) fn payload(&self) -> Bytes {
        let mut payload = vec![0; PAYLOAD_BYTES];
        self.door.fill_random(&mut payload);
        payload.into()
    }
}

/// One conditional create, and how long it took.
pub(super) async fn raw_put(
    door: &dyn Door,
    store: &dyn ObjectStore,
    key: &Path,
    payload: Bytes,
) -> Result<Duration> {
    let began = door.now();
    store.put_opts(key, payload.into(), PutMode::Create.into()).await.context("a raw PUT")?;
    Ok(door.now().saturating_sub(began))
}

/// Requests each second when the store adds no latency: what this machine can do, with client and server on it.
pub(super) fn ceiling(stage: &Stage, amount: Amount) -> Result<f64> {
    let place = Place::with(stage, Latency::NONE)?;
    let time = Duration::from_millis(u64::try_from(amount.of(CEILING_MS))?);
    let client = place.client()?;
    let began = place.door.now();
    place.runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..SENDERS {
            let (door, client) = (Arc::clone(&place.door), Arc::clone(&client));
            let payload = place.payload();
            senders.spawn(async move {
                let mut number = 0_u64;
                while door.now().saturating_sub(began) < time {
                    let key = Path::from(format!("raw/{sender}/{number}"));
                    raw_put(door.as_ref(), client.as_ref(), &key, payload.clone()).await?;
                    number += 1;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = senders.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })?;
    let elapsed = place.door.now().saturating_sub(began);
    Ok(super::group::per_second(place.counted().0, elapsed))
}
