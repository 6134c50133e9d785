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
        let source_cancel = self.inner.session.cancel();
        let copied = copy(&from.sqlite, &mut to, pages_per_step, |told| {
            let is_cancelled =
                source_cancel.is_cancelled() || destination.inner.session.cancel().is_cancelled();
            if progress(told).is_break() || is_cancelled {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        destination
            .inner
            .settle_copy(&mut to, copied)
            .map_err(|error| error.explained_by(&self.inner.session))
    }

    /// Copies the `main` of a connection of plain libSQL over this one's.
    pub(super) fn copy_from(
        &self,
        source: &rusqlite::Connection,
        pages_per_step: i32,
        progress: impl FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut to = self.inner.enter()?;
        let waited = self.inner.queue(&["main"])?;
        self.inner.counters.write(waited);
        let copied = copy(source, &mut to, pages_per_step, progress);
        self.inner.settle_copy(&mut to, copied)
    }
}

impl Inner {
    fn settle_copy(&self, to: &mut State, copied: Result<(), Error>) -> Result<(), Error> {
        let settled = self.session.settle();
        self.note_commit(&mut to.last_commit);
        copied.map_err(|error| error.explained_by(&self.session))?;
        Ok(settled?)
    }
}

fn copy(
    from: &rusqlite::Connection,
    to: &mut State,
    pages_per_step: i32,
    mut progress: impl FnMut(BackupProgress) -> ControlFlow<()>,
) -> Result<(), Error> {
    let backup = Backup::new(from, to.sqlite.connection_mut())?;
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
        if progress(backup.progress()).is_break() {
            return Err(Error::new(rusqlite::ffi::SQLITE_INTERRUPT, "interrupted"));
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
