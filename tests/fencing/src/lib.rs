//! Writers of one commit log as real processes, against a store over real HTTP.
//!
//! The processes ([`appender`]) append commits whose payloads are names, and say on their output what became of each.
//! The tests stop them with SIGSTOP at named points of the log, let others take over, resume them, kill them, and cut
//! their network; [`scene`] starts them and judges what they said by what the log holds in the end.
//!
//! Invariants, of every test:
//! 1. Every acknowledged commit is in the history, once, with the LSN and epoch that its writer was told.
//! 2. No commit whose writer was told that it was not applied, or fenced, is in the history.
//! 3. LSNs are contiguous, and every commit of the history was appended by somebody.
//!
//! What stops a process is not a timer: it stops itself at the point that it was told, so each test stops it where it
//! says. A test that cannot run here (a network namespace needs root) says so on standard error, by name.

pub mod appender;
pub mod scene;
