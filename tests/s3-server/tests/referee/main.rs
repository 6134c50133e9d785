//! The referee: the same checks, by the product's own client, on the test server and on stores that others wrote.
//! A test server that only its author's tests agree with would be worth little.
//!
//! ```console
//! $ cargo test -p twill-s3-server --test referee
//! $ TWILL_REFEREE_MINIO=1 TWILL_REFEREE_MOTO=0 cargo test -p twill-s3-server --test referee
//! ```
//!
//! Judged are the test server, in memory and in a directory, always; moto, where `python3` can make a virtual
//! environment and fetch it; MinIO, where `go` is and builds it in time. `TWILL_REFEREE_MOTO` and
//! `TWILL_REFEREE_MINIO` force (1) or forbid (0) one; what was left out is named, with the reason.
//!
//! Invariants:
//! 1. A check knows no server. Where a store is known to differ from S3, the difference is written down beside the
//!    store with what it does instead, and a store that stops differing fails the run.
//! 2. Servers listen on loopback, on ports of their own, and die with this program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "test code"
)]

mod checks;
mod stores;

use std::process::ExitCode;
use std::time::Duration;

use checks::CHECKS;
use stores::{Candidate, Store};

/// No check takes so long on a store that is well.
const CHECK_SECONDS: u64 = 120;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut failed = Vec::new();
    let mut summary = Vec::new();
    for candidate in stores::candidates() {
        let line = match candidate {
            Candidate::Ready(store) => {
                let found = runtime.block_on(judge(&store));
                if found.unexpected > 0 {
                    failed.push(store.name);
                }
                let line = format!("{}: {} of {} checks as S3", store.name, found.as_s3, CHECKS.len());
                line
            }
            Candidate::Skipped { name, reason } => format!("{name}: SKIPPED: {reason}"),
            Candidate::Failed { name, reason } => {
                failed.push(name);
                format!("{name}: FAILED to start: {reason}")
            }
        };
        summary.push(line);
    }
    println!("\nreferee:");
    for line in summary {
        println!("  {line}");
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("referee: FAILED for {}", failed.join(", "));
    ExitCode::FAILURE
}

/// What the checks found of one store.
#[derive(Default)]
struct Found {
    /// Checks that went as on S3.
    as_s3: usize,
    /// Checks that did not go as is known of this store.
    unexpected: usize,
}

async fn judge(store: &Store) -> Found {
    println!("\n{}", store.name);
    let mut found = Found::default();
    for (name, check) in CHECKS {
        let limit = Duration::from_secs(CHECK_SECONDS);
        let went = match tokio::time::timeout(limit, check(store.clone())).await {
            Ok(went) => went,
            Err(_) => Err(anyhow::anyhow!("no end within {CHECK_SECONDS} s")),
        };
        let known = store.differs.iter().find(|(check, _)| check == name);
        found.as_s3 += usize::from(went.is_ok());
        found.unexpected += usize::from(went.is_ok() == known.is_some());
        match (went, known) {
            (Ok(()), None) => println!("  ok       {name}"),
            (Ok(()), Some(_)) => println!("  SURPRISE {name}: is known to differ from S3, and does not"),
            (Err(error), Some((_, instead))) => println!("  differs  {name}: {instead} ({error:#})"),
            (Err(error), None) => println!("  WRONG    {name}: {error:#}"),
        }
    }
    found
}
