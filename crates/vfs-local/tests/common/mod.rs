//! Pages and commits for tests.

#![allow(dead_code, reason = "each test binary uses its part")]

use twill_types::{PageNo, PageSize};
use twill_vfs_trait::{Commit, PageImage, Snapshot, Storage, StorageError, Wait};

/// Small pages make small files.
pub(crate) fn page_size() -> PageSize {
    PageSize::new(512).unwrap()
}

/// A page whose first and last words are `fill`, and the words between are drawn from it: the WAL's checksum is too weak
/// to tell a mixture of constant pages from a whole one. Page 1 begins with a database header in WAL mode.
pub(crate) fn image(page: u32, fill: u32, page_count: u32) -> Vec<u8> {
    let mut word = (u64::from(page) << 32 | u64::from(fill)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(page_size().bytes());
    while bytes.len() < page_size().bytes() {
        word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(1);
        bytes.extend_from_slice(&(word >> 32).to_be_bytes()[4..]);
    }
    bytes[..4].copy_from_slice(&fill.to_be_bytes());
    bytes[508..].copy_from_slice(&fill.to_be_bytes());
    if page == 1 {
        bytes[..16].copy_from_slice(b"SQLite format 3\0");
        bytes[16..18].copy_from_slice(&512_u16.to_be_bytes());
        bytes[18..20].copy_from_slice(&[2, 2]);
        bytes[24..28].copy_from_slice(&fill.to_be_bytes());
        bytes[28..32].copy_from_slice(&page_count.to_be_bytes());
        bytes[92..96].copy_from_slice(&fill.to_be_bytes());
    }
    bytes
}

/// Appends pages filled with `fill`, and page 1; returns the new state, not yet durable.
pub(crate) fn append(
    storage: &dyn Storage,
    pages: &[u32],
    fill: u32,
    page_count: u32,
) -> Result<Snapshot, StorageError> {
    let ticket = storage.begin_write(Wait::forever())?;
    let mut numbers = pages.to_vec();
    numbers.push(1);
    numbers.sort_unstable();
    numbers.dedup();
    let images: Vec<_> = numbers.iter().map(|page| (*page, image(*page, fill, page_count))).collect();
    let pages: Vec<_> =
        images.iter().map(|(page, bytes)| PageImage { page: PageNo::new(*page).unwrap(), bytes }).collect();
    storage.append(ticket, Commit { page_size: page_size(), page_count, pages: &pages })
}

/// Appends and waits.
pub(crate) fn commit(
    storage: &dyn Storage,
    pages: &[u32],
    fill: u32,
    page_count: u32,
) -> Result<Snapshot, StorageError> {
    let at = append(storage, pages, fill, page_count)?;
    storage.wait_durable(&at)?;
    Ok(at)
}

/// One page as of `at`.
pub(crate) fn read(storage: &dyn Storage, at: &Snapshot, page: u32) -> Vec<u8> {
    let mut bytes = vec![0; at.page_size().bytes()];
    storage.read_page(at, PageNo::new(page).unwrap(), &mut bytes).unwrap();
    bytes
}

/// Every page as of `at`.
pub(crate) fn read_all(storage: &dyn Storage, at: &Snapshot) -> Vec<Vec<u8>> {
    (1..=at.page_count()).map(|page| read(storage, at, page)).collect()
}
