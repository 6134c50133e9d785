//! The words every other crate shares: page numbers and sizes, log positions, SQL values, cancellation, and the
//! one door to clock, randomness and threads.
//!
//! Invariants:
//! 1. Every scalar with a meaning is a type; a raw integer never crosses a crate boundary where one of these fits.
//! 2. Nothing outside [`door`] reads a clock, draws a random number or starts a thread (clippy's disallowed list
//!    enforces it), so a simulation that owns the door owns the run.
//!
//! What is absent: storage, SQL, I/O. This crate depends on no other of the workspace.

mod cancel;
pub mod door;
mod page;
mod position;
#[cfg(feature = "seeded")]
pub mod seeded;
mod synchronous;
mod value;

pub use cancel::{Cancel, Registration};
pub use door::{Door, SystemDoor};
pub use page::{PageNo, PageSize, PageSizeError};
pub use position::{Epoch, Lsn, Seq, TimelineId};
pub use synchronous::Synchronous;
pub use value::{Value, ValueType};
