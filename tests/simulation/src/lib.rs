//! Deterministic simulation: several processes over one object store, on virtual time, from one seed.
//!
//! | module | what it is |
//! |---|---|
//! | [`world`] | virtual time, the scheduler, crash, stop and resume; the trace and its hash |
//! | [`process`] | what the code of a process sees: clocks, randomness, sleep, spawn, named points |
//! | [`store`] | the bucket and its clients: latency, lost, late and repeated requests, torn lists, outages |
//!
//! | [`log`] | the commit log in that world: plan, storm, oracle, judgement |
//!
//! Only [`log`] knows what is simulated. A system under test is given, for each life of a process, an environment made of
//! a [`Process`](process::Process) and an [`ObjectStore`](object_store::ObjectStore) made of a
//! [`Client`](store::Client); both end with that life. Several crates over the same process and bucket are the ordinary
//! case, not a special one.
//!
//! Invariants: those of the modules; above all, equal seeds make equal runs (`tests/determinism.rs`).
//!
//! Crash: a run that fails prints its seed; nothing is kept on disk. Refuses: real clocks, threads and randomness.

pub mod log;
pub mod process;
pub mod store;
pub mod world;
