//! The branch record, as far as the log needs it: a register that is replaced by compare-and-swap on its ETag.
//!
//! The branch record belongs to the layers above, which keep more in it (base chain, hot set). They implement
//! [`Register`] over their own object, or use [`crate::ObjectRegister`], which carries their bytes along unread.
//!
//! Invariants:
//! 1. [`Register::swap`] succeeds only if the record is the version that [`Register::load`] gave; a lost reply is
//!    settled by reading back one's own [`LogState::stamp`], never by guessing.
//! 2. Each swap draws a new stamp. So two versions never have equal bytes, and an ETag that is a hash of them (as S3's
//!    is) never comes back: without it a swap could succeed over a record that changed twice.
//! 3. Floor and horizon never go back, and the horizon never passes the floor.
//! 4. What the record says of epoch and writer is a hint for people; the epoch lives in the log alone.

use std::any::Any;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use twill_types::Epoch;

use crate::error::LogError;
use crate::position::{Position, Stamp, WriterId};

/// The log's part of the branch record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Where an opener's walk begins, and its LIST. Everything before it rests elsewhere (is applied and flushed), so
    /// opening does not need it; it may have been merged.
    pub floor: Position,
    /// Where retained history begins. Before it objects may be gone.
    pub horizon: Position,
    /// The epoch of the last opener that confirmed itself. A hint.
    pub epoch: Epoch,
    /// The last opener that confirmed itself. A hint.
    pub writer: WriterId,
    /// Drawn anew for each version.
    pub stamp: Stamp,
}

/// A version of the record: what [`Register::swap`] compares against. Opaque to the log; an implementation may keep
/// the whole record in it.
pub type Version = Arc<dyn Any + Send + Sync>;

/// The record as one load found it.
#[derive(Clone)]
pub struct Loaded {
    /// The log's part.
    pub state: LogState,
    /// Which version it was.
    pub version: Version,
}

/// What became of a swap.
#[derive(Clone)]
pub enum Swapped {
    /// The record is the new one.
    Done(Loaded),
    /// The record had changed; nothing was written.
    Changed,
}

/// A register with compare-and-swap that holds a [`LogState`].
pub trait Register: Send + Sync + 'static {
    /// Reads the record.
    ///
    /// Errors: [`LogError::NoRecord`] where there is none, or that of the store.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LogError>>;

    /// Replaces the log's part, leaving all else as it was in `version`, if the record still is that version.
    /// Retries until it knows, or gives up with an error that leaves open whether it was replaced.
    fn swap(&self, version: Version, state: LogState) -> BoxFuture<'_, Result<Swapped, LogError>>;
}
