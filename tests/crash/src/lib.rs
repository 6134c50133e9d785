//! Crash tests.
//!
//! * [`campaign`] kills real processes ([`worker`]) with SIGKILL, at random times and at every named failpoint of the
//!   commit, checkpoint, close and recovery paths, under concurrent writers, readers and checkpoints; reads the files
//!   back ([`mod@examine`]) with ours and with stock SQLite, and judges both against what was acknowledged ([`model`]).
//! * [`sim`] runs SQL on a simulated disk that loses, reorders and tears what was not synced.
//!
//! ```text
//! cargo test -p twill-tests-crash                                      a sample of both, under a minute
//! cargo run --release -p twill-tests-crash --bin crash -- kill --kills 1000 --seed 1
//! cargo run --release -p twill-tests-crash --bin crash -- sim --crashes 10000 --seed 1
//! ```
//!
//! What the two long runs last gave is in `results/`.
//!
//! Invariants: a test here fails on the first commit that was acknowledged and is not there, on the first torn
//! transaction, on the first rolled-back row, and on the first disagreement between stock SQLite and ours.
//!
//! It refuses to test power loss with real processes: killing one loses nothing that the system's cache holds. That is
//! the simulation's part.

pub mod campaign;
pub mod examine;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod sim;
pub mod stock;
pub mod worker;
