//! One conditional create, from its first attempt until it is known who owns the name.
//!
//! ```text
//!   PUT if absent ──200──► own
//!        │  └─ exists (412, 409) ─► GET ─ same bytes ─► own
//!        │                           ├─ other bytes ─► taken: a fence, a seal
//!        │                           └─ none ────────► again
//!        ├─ refused (401, 403, 404 bucket, 4xx) ─► failed; ambiguous if any attempt before was
//!        ├─ not applied (429, no connection) ─► wait, again
//!        └─ unknown (5xx, time-out, reset) ─► wait, again; from now on ambiguous
//!   deadline ─► failed; ambiguous if any attempt was
//! ```
//!
//! Invariants (rules 1 and 5):
//! 1. Every attempt sends the same bytes to the same name. Nothing is ever moved to another one.
//! 2. [`Settled::Failed`] with `ambiguous: false` is told only if no attempt can have written, now or later.
//! 3. [`Settled::Own`] is told only for a 200, or after one's own bytes were read back.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;

use bytes::Bytes;
use object_store::PutMode;
use object_store::path::Path;

use crate::environment::Point;
use crate::error::LogError;
use crate::reply::Reply;
use crate::requests::{Client, Patience, get_patiently, put_once};

/// Who owns the name.
#[derive(Clone, Debug)]
pub(crate) enum Settled {
    /// This writer: the object holds its bytes.
    Own {
        /// How long the PUT took, where the first attempt was answered 200.
        took: Option<Duration>,
    },
    /// Somebody else: these are the bytes.
    Taken(Bytes),
    /// Nobody knows (ambiguous), or not this writer.
    Failed {
        /// Whether an attempt may have written.
        ambiguous: bool,
        /// The last answer.
        error: LogError,
    },
}

/// Creates `path` with `bytes`, and settles what became of it.
pub(crate) fn settle<'a>(client: &'a dyn Client, path: &'a Path, bytes: &'a Bytes) -> BoxFuture<'a, Settled> {
    async move {
        let began = client.environment().now();
        let mut patience = Patience::new(client);
        let (mut ambiguous, mut first) = (false, true);
        loop {
            let error = match put_once(client, patience.attempt_timeout(), path, bytes, PutMode::Create).await
            {
                Ok(_) => {
                    let took = first.then(|| client.environment().now().saturating_sub(began));
                    return Settled::Own { took };
                }
                Err(Reply::Exists(error)) => {
                    client.environment().point(Point::BeforeReadBack).await;
                    match get_patiently(client, path, &mut patience).await {
                        Ok(Some(found)) if found == *bytes => return Settled::Own { took: None },
                        Ok(Some(found)) => return Settled::Taken(found),
                        // A conflict with a request still under way, or merged away meanwhile: the answer says nothing.
                        Ok(None) => ambiguous = true,
                        Err(error) => return Settled::Failed { ambiguous: true, error },
                    }
                    error
                }
                Err(Reply::NotFound(error) | Reply::Refused(error)) => {
                    return Settled::Failed { ambiguous, error };
                }
                Err(Reply::NotApplied(error)) => error,
                Err(Reply::Ambiguous(error)) => {
                    ambiguous = true;
                    error
                }
            };
            first = false;
            if let Err(error) = patience.pause(error).await {
                return Settled::Failed { ambiguous, error };
            }
        }
    }
    .boxed()
}
