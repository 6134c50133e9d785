//! Old page images that a pinned snapshot needs and that the checkpoint must overwrite in the database file or the WAL.
//! They lie in a nameless scratch file, in slots of one page size each.
//!
//! Invariants:
//! 1. A slot is read only through an entry of the index, and freed only after that entry is gone.
//! 2. When no slot is in use the file is empty, so its room is given back.
//!
//! A crash takes the pins and this file with it. Nothing here is ever synced.

use std::path::PathBuf;
use std::sync::Arc;

use twill_vfs_trait::StorageError;

use crate::disk::{Disk, DiskFile};

/// See the module.
pub(crate) struct Spill {
    disk: Arc<dyn Disk>,
    beside: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    free: Vec<u32>,
    slots: u32,
}

impl Spill {
    /// An empty spill; its file is made when it is needed.
    pub(crate) fn new(disk: Arc<dyn Disk>, beside: PathBuf) -> Self {
        Self { disk, beside, file: None, free: Vec::new(), slots: 0 }
    }

    /// Keeps an image. Returns its slot.
    pub(crate) fn keep(&mut self, image: &[u8]) -> Result<u32, StorageError> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(self.disk.scratch(&self.beside).map_err(|e| self.failed(e))?),
        };
        let slot = self.free.last().copied().unwrap_or(self.slots);
        file.write_at(image, u64::from(slot) * image.len() as u64).map_err(|e| self.failed(e))?;
        if self.free.pop().is_none() {
            self.slots += 1;
        }
        Ok(slot)
    }

    /// Reads a slot.
    pub(crate) fn read(&self, slot: u32, buf: &mut [u8]) -> Result<(), StorageError> {
        let file = self.file.as_ref().ok_or_else(|| StorageError::invalid("nothing was spilled"))?;
        let read = file.read_at(buf, u64::from(slot) * buf.len() as u64).map_err(|e| self.failed(e))?;
        if read < buf.len() {
            return Err(StorageError::Corrupt {
                object: "the spill".to_owned(),
                expected: format!("slot {slot}"),
                found: "the end of the file".to_owned(),
            });
        }
        Ok(())
    }

    /// Gives a slot back. Returns how many are in use.
    pub(crate) fn free(&mut self, slot: u32) -> u64 {
        self.free.push(slot);
        let used = self.used();
        if used == 0 {
            self.free.clear();
            self.slots = 0;
            if let Some(file) = &self.file
                && let Err(error) = file.set_len(0)
            {
                tracing::warn!(%error, "the spill keeps its room");
            }
        }
        used
    }

    /// Slots in use.
    pub(crate) fn used(&self) -> u64 {
        u64::from(self.slots).saturating_sub(self.free.len() as u64)
    }

    fn failed(&self, error: std::io::Error) -> StorageError {
        let what = format!("spilling beside {}: {error}", self.beside.display());
        crate::storage::medium_failed(what, error)
    }
}
