//! Starting and stopping a server inside a process.
//!
//! Invariants:
//! 1. The server has threads of its own: a test may block its own runtime, or have none.
//! 2. Stopping it, or dropping the handle, breaks every connection and forgets requests under way, as a crash would:
//!    nothing is flushed and nothing awaited.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use twill_types::Door;

use crate::control::{Command, CommandError};
use crate::faults::{Rule, RuleState};
use crate::front::Front;
use crate::journal::{Counter, Counters, Entry};
use crate::latency::Latency;
use crate::medium::Medium;
use crate::objects::{BucketState, Conditions, Objects};
use crate::request::Kind;
use crate::s3::Operations;
use crate::state::State;

/// How to start a server. [`Options::default`] is an empty store in memory, on a free port, without latency.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Keeps objects in this directory; in memory if `None`.
    pub directory: Option<PathBuf>,
    /// Buckets to make at the start, if they do not exist.
    pub buckets: Vec<String>,
    /// The only access key that is let in.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// How long requests take.
    pub latency: Latency,
    /// How preconditions are treated.
    pub conditions: Conditions,
    /// Latencies and faults are drawn from this.
    pub seed: u64,
    /// Keys on one page of a list: 1000, as S3 has, if `None`.
    pub page_keys: Option<u16>,
    /// Worker threads of the server.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory: None,
            buckets: vec![BUCKET.to_owned()],
            access_key: "test-access-key".to_owned(),
            secret_key: "test-secret-key".to_owned(),
            latency: Latency::NONE,
            conditions: Conditions::Honoured,
            seed: 1,
            page_keys: None,
            threads: 1,
        }
    }
}

/// The bucket that [`Options::default`] makes.
pub const BUCKET: &str = "twill-test";

/// A running server.
pub struct S3Server {
    address: SocketAddr,
    options: Options,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

impl S3Server {
    /// Starts a server; it listens when this returns.
    ///
    /// # Errors
    /// When the port is taken, the directory cannot be opened or belongs to another server, or threads are refused.
    pub fn start(options: Options) -> io::Result<Self> {
        Self::start_with(options, <dyn Door>::system())
    }

    /// Likewise, with a door of one's own.
    ///
    /// # Errors
    /// As [`S3Server::start`].
    pub fn start_with(options: Options, door: Arc<dyn Door>) -> io::Result<Self> {
        let medium = match &options.directory {
            Some(directory) => Medium::directory(directory)?,
            None => Medium::Memory,
        };
        let objects = Arc::new(Objects::open(medium, Arc::clone(&door))?);
        objects.set_conditions(options.conditions);
        let state = Arc::new(State::new(Arc::clone(&objects), options.latency, options.seed, door));
        for bucket in &options.buckets {
            Command::MakeBucket(bucket.clone()).run(&state).map_err(io::Error::other)?;
        }
        let mut service = S3ServiceBuilder::new(Operations::new(objects, options.page_keys));
        service.set_auth(SimpleAuth::from_single(options.access_key.clone(), options.secret_key.clone()));
        let front = Front { service: service.build(), state: Arc::clone(&state) };
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("s3-server")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(options.listen))?;
        let address = listener.local_addr()?;
        runtime.spawn(accept(listener, front));
        Ok(Self { address, options, state, runtime: Some(runtime) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://<address>`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Switches the running server.
    ///
    /// # Errors
    /// When a bucket or a profile does not exist.
    pub fn command(&self, command: Command) -> Result<(), CommandError> {
        command.run(&self.state)
    }

    /// Adds a rule.
    pub fn add_fault(&self, rule: Rule) {
        self.state.faults.add(rule);
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// The rules and how often each fired.
    #[must_use]
    pub fn faults(&self) -> Vec<RuleState> {
        self.state.faults.states()
    }

    /// Draws latencies from these distributions from now on.
    pub fn set_latency(&self, latency: Latency) {
        self.state.set_latency(latency);
    }

    /// Treats preconditions so from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.state.objects.set_conditions(conditions);
    }

    /// Changes what befell a bucket.
    ///
    /// # Errors
    /// When there is no such bucket.
    pub fn set_bucket(&self, bucket: &str, state: BucketState) -> Result<(), CommandError> {
        self.command(Command::SetBucket { bucket: bucket.to_owned(), state })
    }

    /// What was counted, by kind.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.journal.counters()
    }

    /// What was counted of one kind.
    #[must_use]
    pub fn counter(&self, kind: Kind) -> Counter {
        self.counters().get(&kind).copied().unwrap_or_default()
    }

    /// Requests of every kind.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.counters().values().map(|counter| counter.requests).sum()
    }

    /// The newest requests, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.state.journal.log()
    }

    /// Empties the log and sets the counters to zero.
    pub fn forget_requests(&self) {
        self.state.journal.forget();
    }

    /// Stops the server at once.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for S3Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("S3Server").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, front: Front) {
    loop {
        // An accept that fails concerns one connection that is already gone, or a limit that will pass.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let front = front.clone();
        let service = service_fn(move |request| front.clone().answer(request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service);
        // A connection ends in an error whenever its client leaves or a fault breaks it.
        tokio::spawn(async move { connection.await.ok() });
    }
}
