//! A test object store over real HTTP: S3 with atomic conditional writes, latency that reproduces published figures,
//! faults on demand, and a log of what was asked.
//!
//! ```
//! use object_store::{ObjectStoreExt, path::Path};
//! use twill_s3_server::{Action, Kind, Login, Options, Rule, S3Server};
//!
//! let server = S3Server::start(Options::default())?;
//! let store = Login::to(&server, twill_s3_server::BUCKET).client()?;
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(store.put(&Path::from("a"), "1".into()))?;
//! server.add_fault(Rule::next(Kind::Put, Action::DropReply));
//! assert!(runtime.block_on(store.put(&Path::from("b"), "2".into())).is_err());
//! assert_eq!(server.counter(Kind::Put).requests, 2);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The rooms: `request` tells kinds apart, `latency` and `faults` decide what befalls a request, `front` carries it
//! through, `s3` and `objects` are the store, `medium` is where bytes rest, `journal` counts, `control` switches a running
//! server, `server` starts and stops it, `client` logs in.
//!
//! Invariants:
//! 1. Conditional writes are atomic unless [`Conditions`] says otherwise.
//! 2. What was acknowledged from a directory survives `kill -9`.
//! 3. A request under way takes effect whether its client waits or not.
//!
//! Refuses: to be a store for anything but tests. There are no versions, policies or encryption, and every object is
//! held in memory while it is served.

mod client;
mod control;
mod faults;
mod front;
mod journal;
mod latency;
mod medium;
mod objects;
mod request;
mod s3;
mod server;
mod state;

pub use client::Login;
pub use control::{Command, CommandError};
pub use faults::{Action, Replied, Rule, RuleState};
pub use journal::{Counter, Counters, Entry};
pub use latency::{Distribution, Latency};
pub use objects::{BucketState, Conditions};
pub use request::{Kind, Precondition, Target};
pub use server::{BUCKET, Options, S3Server};
