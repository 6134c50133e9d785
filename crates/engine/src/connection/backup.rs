//! Copies of a whole database into another, over two connections.
//!
//! Invariants:
//! 1. The copy is one snapshot of the source: if the source changes between steps, libSQL starts over.
//! 2. The destination keeps its old content until the last step commits.
//! 3. Both connections are held for the whole copy, always locked in the same order.
//!
//! On a crash the destination is as it was. It refuses to copy a connection onto itself, and to change the page size of a
//! destination that is not empty.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::backup::{Backup, StepResult};

use super::lock::CallGuard;
use super::{Connection, Inner, State};
use crate::{BackupProgress, Error};

impl Connection {
    /// Copies this connection's `main` database over that of `destination`. `progress` is told after each step of
    /// `pages_per_step` pages, and may end the copy; the destination then keeps its old content.
    ///
    /// # Errors
    /// SQLITE_INTERRUPT when `progress` broke off or either connection was interrupted; SQLITE_BUSY when the
    /// destination's writer slot did not come free in time; SQLITE_READONLY when the destination has another page size.
    pub fn backup_to(
        &self,
        destination: &Self,
        pages_per_step: i32,
        mut progress: impl FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if Arc::ptr_eq(&self.inner, &destination.inner) {
            return Err(Error::misuse("a connection cannot be copied onto itself"));
        }
        if pages_per_step < 1 {
            return Err(Error::misuse("a step copies at least one page"));
        }
        let (from, mut to) = enter_both(&self.inner, &destination.inner)?;
        let waited = destination.inner.queue(&["main"])?;
        destination.inner.counters.write(waited);
        let copied = self.copy(&from, &mut to, destination, pages_per_step, &mut progress);
        let settled = destination.inner.session.settle();
        destination.inner.note_commit(&mut to.last_commit);
        copied.map_err(|error| {
            error.explained_by(&destination.inner.session).explained_by(&self.inner.session)
        })?;
        settled?;
        Ok(())
    }

    fn copy(
        &self,
        from: &State,
        to: &mut State,
        destination: &Self,
        pages_per_step: i32,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let backup = Backup::new(&from.sqlite, to.sqlite.connection_mut())?;
        loop {
            match backup.step(pages_per_step)? {
                StepResult::Done => {
                    let _ = progress(backup.progress());
                    return Ok(());
                }
                StepResult::More => {}
                StepResult::Busy | StepResult::Locked | _ => {
                    return Err(Error::new(
                        rusqlite::ffi::SQLITE_BUSY,
                        "database is locked: the copy could not go on",
                    ));
                }
            }
            let cancelled = self.inner.session.cancel().is_cancelled()
                || destination.inner.session.cancel().is_cancelled();
            if progress(backup.progress()).is_break() || cancelled {
                return Err(Error::new(rusqlite::ffi::SQLITE_INTERRUPT, "interrupted"));
            }
        }
    }
}

/// Enters two connections in an order that is the same for every caller.
fn enter_both<'a>(
    from: &'a Arc<Inner>,
    to: &'a Arc<Inner>,
) -> Result<(CallGuard<'a, State>, CallGuard<'a, State>), Error> {
    if Arc::as_ptr(from) < Arc::as_ptr(to) {
        let from = from.enter()?;
        Ok((from, to.enter()?))
    } else {
        let to = to.enter()?;
        Ok((from.enter()?, to))
    }
}
