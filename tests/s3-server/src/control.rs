//! Switching a running server: commands in Rust, and the same ones as JSON over HTTP.
//!
//! ```text
//! POST /-/command   one Command, or a list of them           -> 204
//! GET  /-/counters  {"put":{"requests":1,…},…}
//! GET  /-/log       [{"number":0,"kind":"put",…},…]
//! GET  /-/faults    [{"rule":{…},"seen":3,"fired":1},…]
//! ```
//!
//! ```console
//! $ curl -d '{"add_fault":{"kinds":["put"],"times":1,"action":"drop_reply"}}' http://127.0.0.1:9000/-/command
//! $ curl -d '{"set_latency_named":"s3-standard"}' http://127.0.0.1:9000/-/command
//! $ curl -d '{"set_bucket":{"bucket":"test","state":"read_only"}}' http://127.0.0.1:9000/-/command
//! ```
//!
//! There is no authentication: the server listens on loopback, for tests.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::faults::Rule;
use crate::latency::Latency;
use crate::objects::{BucketState, Conditions};
use crate::state::State;

/// A change to a running server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Adds a rule.
    AddFault(Rule),
    /// Removes all rules.
    ClearFaults,
    /// Draws latencies from these distributions from now on.
    SetLatency(Latency),
    /// Likewise, by [`Latency::named`].
    SetLatencyNamed(String),
    /// Treats preconditions so from now on.
    SetConditions(Conditions),
    /// Makes a bucket; that it exists is no error.
    MakeBucket(String),
    /// Changes what befell a bucket.
    SetBucket {
        /// The bucket.
        bucket: String,
        /// Its new state.
        state: BucketState,
    },
    /// Answers 429 to a write that comes sooner than this after one to the same key; never, if `None`.
    SetSameKeyInterval {
        /// Milliseconds.
        ms: Option<u64>,
    },
    /// Empties the request log and sets the counters to zero.
    ForgetRequests,
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No latency profile is called so.
    #[error("no latency profile is called {0}")]
    NoSuchProfile(String),
    /// The store refused.
    #[error("bucket {bucket}: {reason}")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What the store said.
        reason: String,
    },
}

impl Command {
    pub(crate) fn run(self, state: &State) -> Result<(), CommandError> {
        match self {
            Self::AddFault(rule) => state.faults.add(rule),
            Self::ClearFaults => state.faults.clear(),
            Self::SetLatency(latency) => state.set_latency(latency),
            Self::SetLatencyNamed(name) => {
                state.set_latency(Latency::named(&name).ok_or(CommandError::NoSuchProfile(name))?);
            }
            Self::SetConditions(conditions) => state.objects.set_conditions(conditions),
            Self::MakeBucket(bucket) => return make_bucket(state, bucket),
            Self::SetBucket { bucket, state: new } => {
                state
                    .objects
                    .set_state(&bucket, new)
                    .map_err(|refused| CommandError::Bucket { bucket, reason: refused.to_string() })?;
            }
            Self::SetSameKeyInterval { ms } => {
                state.set_same_key_interval(ms.map(std::time::Duration::from_millis));
            }
            Self::ForgetRequests => state.journal.forget(),
        }
        Ok(())
    }
}

fn make_bucket(state: &State, bucket: String) -> Result<(), CommandError> {
    match state.objects.create_bucket(&bucket) {
        Ok(()) | Err(crate::objects::Refused::BucketExists) => Ok(()),
        Err(refused) => Err(CommandError::Bucket { bucket, reason: refused.to_string() }),
    }
}

/// One command or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Commands {
    One(Box<Command>),
    Several(Vec<Command>),
}

/// Answers a request to `/-/<path>`.
pub(crate) fn answer(state: &State, path: &str, body: &[u8]) -> Response<Bytes> {
    match path {
        "command" => command(state, body),
        "counters" => json(&state.journal.counters()),
        "log" => json(&state.journal.log()),
        "faults" => json(&state.faults.states()),
        _ => text(StatusCode::NOT_FOUND, "there is /-/command, /-/counters, /-/log and /-/faults"),
    }
}

fn command(state: &State, body: &[u8]) -> Response<Bytes> {
    let commands = match serde_json::from_slice(body) {
        Ok(Commands::One(command)) => vec![*command],
        Ok(Commands::Several(commands)) => commands,
        Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    for command in commands {
        if let Err(error) = command.run(state) {
            return text(StatusCode::BAD_REQUEST, &error.to_string());
        }
    }
    let mut done = Response::new(Bytes::new());
    *done.status_mut() = StatusCode::NO_CONTENT;
    done
}

fn json(value: &impl Serialize) -> Response<Bytes> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut reply = Response::new(Bytes::from(bytes));
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            reply
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, words: &str) -> Response<Bytes> {
    let mut reply = Response::new(Bytes::from(format!("{words}\n")));
    *reply.status_mut() = status;
    reply
}
