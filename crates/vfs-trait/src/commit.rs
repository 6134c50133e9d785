//! One transaction's pages, as a writer hands them to a storage, and the rules they keep.
//!
//! Invariant: whatever passed [`Commit::validate`] can be applied by every backend; what did not changed nothing.

use twill_types::{PageNo, PageSize};

use crate::{Snapshot, StorageError};

/// One page's new content.
#[derive(Clone, Copy, Debug)]
pub struct PageImage<'a> {
    /// Which page.
    pub page: PageNo,
    /// Its bytes; exactly one page size long.
    pub bytes: &'a [u8],
}

/// One transaction: the pages it changed and the size it leaves the database with.
///
/// Rules, checked by [`Commit::validate`]: at least one page; page numbers strictly ascending and within
/// `page_count`; every image one page long; the page size is that of the base unless the base is empty.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Size of every page.
    pub page_size: PageSize,
    /// Pages in the database after this commit. Pages beyond it are gone; if the database later grows over them again
    /// without writing them, they read as zeros.
    pub page_count: u32,
    /// The changed pages, by ascending number.
    pub pages: &'a [PageImage<'a>],
}

impl Commit<'_> {
    /// Checks the rules against the state the commit builds on.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] that names the rule.
    pub fn validate(&self, base: &Snapshot) -> Result<(), StorageError> {
        if self.pages.is_empty() {
            return Err(StorageError::invalid("a commit needs at least one page"));
        }
        if base.page_count() > 0 && base.page_size() != self.page_size {
            return Err(StorageError::invalid(format!(
                "the database has {}-byte pages; a commit of {}-byte pages does not fit",
                base.page_size(),
                self.page_size
            )));
        }
        let mut last = 0;
        for image in self.pages {
            let number = image.page.get();
            if number <= last {
                return Err(StorageError::invalid(format!(
                    "page {number} is out of order after page {last}"
                )));
            }
            if number > self.page_count {
                return Err(StorageError::invalid(format!(
                    "page {number} lies beyond the page count {}",
                    self.page_count
                )));
            }
            if image.bytes.len() != self.page_size.bytes() {
                return Err(StorageError::invalid(format!(
                    "page {number} has {} bytes, not {}",
                    image.bytes.len(),
                    self.page_size
                )));
            }
            last = number;
        }
        Ok(())
    }
}
