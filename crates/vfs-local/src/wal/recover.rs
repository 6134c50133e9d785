//! Reading a WAL from its start, as SQLite's `walIndexRecover` does.
//!
//! Invariants:
//! 1. What counts is the longest valid prefix that ends in a commit frame; whatever follows was never acknowledged.
//! 2. A log whose header is garbage is empty; a header of another version is an error, since the log may hold commits.
//!
//! Nothing here writes, except [`rewrite`], which a writer's open calls before it trusts what it read: after a failed
//! fdatasync the system may serve bytes that it never wrote.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use twill_types::PageSize;

use super::format::{Checksum, FRAME_HEADER_LEN, HEADER_LEN, HeaderBytes, WalHeader};
use crate::disk::DiskFile;

/// What a WAL holds.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) header: WalHeader,
    /// Frames up to and with the last commit frame; may be 0.
    pub(crate) frames: u32,
    /// The chain after that frame.
    pub(crate) checksum: Checksum,
    /// Pages in the database after the last commit.
    pub(crate) page_count: u32,
    /// The newest frame of each page.
    pub(crate) newest: HashMap<u32, u32>,
}

/// Why a WAL cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error("the WAL has version {0}")]
    OtherVersion(u32),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the log; `None` when it is empty or its header garbage.
pub(crate) fn recover(wal: &Arc<dyn DiskFile>) -> Result<Option<Recovered>, RecoverError> {
    let mut head = [0; HEADER_LEN];
    if wal.read_at(&mut head, 0)? < HEADER_LEN {
        return Ok(None);
    }
    let (header, chain) = match WalHeader::decode(&head) {
        HeaderBytes::Valid(header, chain) => (header, chain),
        HeaderBytes::Garbage => return Ok(None),
        HeaderBytes::OtherVersion(version) => return Err(RecoverError::OtherVersion(version)),
    };
    let mut found = Recovered { header, frames: 0, checksum: chain, page_count: 0, newest: HashMap::new() };
    let frame_len = FRAME_HEADER_LEN + header.page_size.bytes();
    let mut chunk = vec![0; frame_len * (1_usize << 20).div_ceil(frame_len)];
    let mut pending = Vec::new();
    let (mut number, mut chain, mut offset) = (0_u32, chain, HEADER_LEN as u64);
    'log: loop {
        let read = wal.read_at(&mut chunk, offset)?;
        for bytes in chunk.get(..read).unwrap_or_default().chunks_exact(frame_len) {
            let Some(frame) = header.decode_frame(chain, bytes) else { break 'log };
            number += 1;
            chain = frame.checksum;
            pending.push((frame.page, number));
            if frame.page_count > 0 {
                found.newest.extend(pending.drain(..));
                (found.frames, found.checksum, found.page_count) = (number, chain, frame.page_count);
            }
        }
        if read < chunk.len() {
            break;
        }
        offset += read as u64;
    }
    Ok(Some(found))
}

/// Writes the first `frames` frames, and the header, over themselves.
pub(crate) fn rewrite(wal: &Arc<dyn DiskFile>, page_size: PageSize, frames: u32) -> io::Result<()> {
    let end = WalHeader::frame_offset(page_size, frames + 1);
    let mut chunk = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < end {
        let want = usize::try_from(end - offset).map_or(chunk.len(), |left| left.min(chunk.len()));
        let part = chunk.get_mut(..want).unwrap_or_default();
        if wal.read_at(part, offset)? < want {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        wal.write_at(part, offset)?;
        offset += want as u64;
    }
    Ok(())
}
