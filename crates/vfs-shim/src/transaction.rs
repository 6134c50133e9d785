//! One connection's view of one storage: its snapshot, its ticket, its private frames. No C here.
//!
//! ```text
//!          begin_read            begin_write            commit (append, wait)
//!   idle ─────────────► reading ─────────────► writing ──────────────────────► reading at the new state
//!     ▲                   │  ▲                    │
//!     └──── end_read ─────┘  └───── end_write ────┘   (nothing committed: waits for the base)
//! ```
//!
//! Invariants: see the crate's 1 to 3 and 6. A ticket's base always equals the read snapshot while writing.

use std::sync::Arc;

use twill_types::{PageNo, PageSize};
use twill_vfs_trait::{Commit, PageImage, Snapshot, StateId, StorageError, Wait, WriteTicket};

use crate::frames::FrameList;
use crate::resolver::Opened;
use crate::session::Session;

/// The state behind one virtual WAL.
pub(crate) struct Transaction {
    session: Arc<Session>,
    opened: Opened,
    snapshot: Option<Snapshot>,
    /// The state libSQL's page cache reflects; `None` forces a reset.
    cached: Option<StateId>,
    ticket: Option<WriteTicket>,
    frames: FrameList,
    /// The last wait for the slot used up the busy timeout; libSQL's retries of the same call must not wait again.
    gave_up: bool,
}

/// What kept a write transaction from beginning.
pub(crate) enum NotBegun {
    /// A newer state was appended after this connection's snapshot.
    StaleSnapshot,
    /// The storage's own answer.
    Storage(StorageError),
}

impl Transaction {
    pub(crate) fn new(session: Arc<Session>, opened: Opened) -> Self {
        Self {
            session,
            opened,
            snapshot: None,
            cached: None,
            ticket: None,
            frames: FrameList::default(),
            gave_up: false,
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Pins a snapshot: the newest appended one if the writer slot is reserved, else the newest durable one, or one that
    /// this call has seen already and settles later. Returns whether libSQL's page cache must be reset.
    pub(crate) fn begin_read(&mut self) -> Result<bool, StorageError> {
        self.end_read();
        let snapshot = match self.session.reserved_base(&self.opened) {
            Some(base) => base,
            None => self.session.not_before(&self.opened, self.opened.storage.snapshot()?),
        };
        let changed = self.cached != Some(snapshot.id());
        self.cached = Some(snapshot.id());
        self.snapshot = Some(snapshot);
        Ok(changed)
    }

    /// Unpins. Idempotent: libSQL calls it once more before each begin.
    pub(crate) fn end_read(&mut self) {
        self.snapshot = None;
    }

    /// Pages in the snapshot.
    pub(crate) fn page_count(&self) -> u32 {
        self.snapshot.as_ref().map_or(0, Snapshot::page_count)
    }

    /// Fills `buf` with a page: a private frame, else the snapshot's. Zeros beyond the snapshot.
    pub(crate) fn read_page(&mut self, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        if let Some(image) = self.frames.get(page) {
            return copy_prefix(image, buf);
        }
        let Some(snapshot) = &self.snapshot else {
            return Err(StorageError::invalid("a page was read outside any transaction"));
        };
        if page.get() > snapshot.page_count() {
            buf.fill(0);
            return Ok(());
        }
        if buf.len() == snapshot.page_size().bytes() {
            return self.opened.storage.read_page(snapshot, page, buf);
        }
        // libSQL guesses a page size, reads page 1, learns the real one from the header and reads again.
        let mut whole = vec![0; snapshot.page_size().bytes()];
        self.opened.storage.read_page(snapshot, page, &mut whole)?;
        copy_prefix(&whole, buf)
    }

    /// Takes the writer slot. `retrying` says that libSQL repeats a call this answered with Busy.
    pub(crate) fn begin_write(&mut self, retrying: bool) -> Result<(), NotBegun> {
        if self.ticket.is_some() {
            return Ok(());
        }
        let ticket = match self.session.take_reserved(&self.opened) {
            Some(ticket) => ticket,
            None if retrying && self.gave_up => {
                return Err(NotBegun::Storage(StorageError::Busy { waited: self.session.busy_timeout() }));
            }
            None => self.wait_turn().map_err(NotBegun::Storage)?,
        };
        if self.snapshot.as_ref().map(Snapshot::id) == Some(ticket.base().id()) {
            self.ticket = Some(ticket);
            return Ok(());
        }
        if !self.session.reads_only_now(&self.opened) && !self.session.busy_timeout().is_zero() {
            self.session.reserve(&self.opened, ticket);
        }
        Err(NotBegun::StaleSnapshot)
    }

    fn wait_turn(&mut self) -> Result<WriteTicket, StorageError> {
        let wait =
            Wait { timeout: Some(self.session.busy_timeout()), cancel: Some(self.session.cancel().clone()) };
        let outcome = self.opened.storage.begin_write(wait);
        self.gave_up = matches!(outcome, Err(StorageError::Busy { .. }));
        outcome
    }

    /// Keeps a spilled page until the commit.
    pub(crate) fn spill(&mut self, page: PageNo, image: &[u8]) -> Result<(), StorageError> {
        self.frames.put(page, image).map_err(|error| StorageError::Full {
            what: "the temporary file for pages of a large transaction cannot grow".to_owned(),
            source: Some(Arc::new(error)),
        })
    }

    /// Commits the spilled pages and `dirty`, which win over them, and returns once durable.
    pub(crate) fn commit(
        &mut self,
        page_size: PageSize,
        page_count: u32,
        dirty: &[PageImage<'_>],
    ) -> Result<(), StorageError> {
        let Some(ticket) = self.ticket.take() else {
            return Err(StorageError::invalid("a commit without the writer slot"));
        };
        let mut pages = merge(&self.frames, dirty, page_count);
        let mut header = Vec::new();
        mark_as_wal(&mut pages, &mut header);
        let appended = self.opened.storage.append(ticket, Commit { page_size, page_count, pages: &pages });
        // Until the commit is known to be durable, the page cache matches no state with a name.
        self.cached = None;
        let appended = appended?;
        self.session.await_durable(&self.opened, &appended, true)?;
        self.cached = Some(appended.id());
        self.snapshot = Some(appended);
        drop(pages);
        self.frames.clear();
        Ok(())
    }

    /// Gives the slot back. If nothing was committed, waits until what the transaction read is durable.
    pub(crate) fn end_write(&mut self) -> Result<(), StorageError> {
        self.frames.clear();
        let Some(ticket) = self.ticket.take() else { return Ok(()) };
        let base = ticket.base().clone();
        drop(ticket);
        self.session.await_durable(&self.opened, &base, false)
    }

    /// Forgets the private frames and tells which pages they held.
    pub(crate) fn undo(&mut self) -> Vec<PageNo> {
        self.frames.clear()
    }

    pub(crate) fn savepoint(&mut self) -> usize {
        self.frames.set_mark()
    }

    pub(crate) fn undo_to(&mut self, savepoint: usize) {
        self.frames.truncate(savepoint);
    }
}

/// Copies what fits; the rest of `buf` is zeros.
fn copy_prefix(image: &[u8], buf: &mut [u8]) -> Result<(), StorageError> {
    let len = image.len().min(buf.len());
    let (Some(from), Some((to, rest))) = (image.get(..len), buf.split_at_mut_checked(len)) else {
        return Err(StorageError::invalid("page buffer"));
    };
    to.copy_from_slice(from);
    rest.fill(0);
    Ok(())
}

/// The commit's pages in ascending order: `dirty` first, then frames it does not replace, none beyond the new size.
fn merge<'a>(frames: &'a FrameList, dirty: &[PageImage<'a>], page_count: u32) -> Vec<PageImage<'a>> {
    let mut pages: Vec<_> = dirty.iter().copied().filter(|image| image.page.get() <= page_count).collect();
    pages.sort_unstable_by_key(|image| image.page);
    if frames.len() == 0 {
        return pages;
    }
    let sorted = pages.len();
    for (page, bytes) in frames.newest() {
        let dirty_again = pages
            .get(..sorted)
            .is_some_and(|dirty| dirty.binary_search_by_key(&page, |image| image.page).is_ok());
        if page.get() <= page_count && !dirty_again {
            pages.push(PageImage { page, bytes });
        }
    }
    pages.sort_unstable_by_key(|image| image.page);
    pages
}

/// A database made without a rollback journal says "rollback" in bytes 18 and 19 of its header; ours are always WAL.
fn mark_as_wal<'a>(pages: &mut [PageImage<'a>], header: &'a mut Vec<u8>) {
    let Some(first) = pages.first_mut().filter(|image| image.page == PageNo::FIRST) else { return };
    if first.bytes.get(18..20) == Some(&[2, 2]) {
        return;
    }
    header.extend_from_slice(first.bytes);
    if let Some(versions) = header.get_mut(18..20) {
        versions.copy_from_slice(&[2, 2]);
    }
    first.bytes = header;
}
