//! The pages a transaction spilled before its commit: private to one connection, dropped at its end.
//!
//! The first 128 MiB live on the heap, what comes after in memory-mapped chunks of an unlinked temporary file, so that a
//! bulk load larger than memory works and the commit can still hand out slices.
//!
//! Invariants:
//! 1. `index` maps each page to its newest frame.
//! 2. A frame below the savepoint mark is never overwritten, so a rollback to it finds the old image.

use std::collections::HashMap;
use std::io::{self, Write};

use memmap2::MmapMut;
use twill_types::PageNo;

const CHUNK_BYTES: usize = 4 << 20;
const HEAP_CHUNKS: usize = 32;

/// Frames of one write transaction, oldest first.
#[derive(Default)]
pub(crate) struct FrameList {
    page_size: usize,
    pages: Vec<PageNo>,
    index: HashMap<PageNo, usize>,
    chunks: Vec<Chunk>,
    /// Frames below this one belong to an open savepoint.
    mark: usize,
}

enum Chunk {
    Heap(Box<[u8]>),
    Mapped(MmapMut),
}

impl Chunk {
    fn new(position: usize, bytes: usize) -> io::Result<Self> {
        if position < HEAP_CHUNKS {
            return Ok(Self::Heap(vec![0; bytes].into_boxed_slice()));
        }
        let mut file = tempfile::tempfile()?;
        // Written, not just extended: a full disk must be an error here, not a signal at the first store.
        file.write_all(&vec![0; bytes])?;
        // SAFETY: the file is unlinked and private to this process, so nobody else truncates or writes it.
        #[expect(unsafe_code, reason = "mapping a private, unlinked file")]
        let mapped = unsafe { MmapMut::map_mut(&file) }?;
        Ok(Self::Mapped(mapped))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

impl FrameList {
    /// How many frames there are: the position a savepoint remembers.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Keeps every present frame as it is from now on, and returns their number.
    pub(crate) fn set_mark(&mut self) -> usize {
        self.mark = self.pages.len();
        self.mark
    }

    /// The newest image of `page`.
    pub(crate) fn get(&self, page: PageNo) -> Option<&[u8]> {
        if self.pages.is_empty() {
            return None;
        }
        self.slot(*self.index.get(&page)?)
    }

    /// Adds an image of `page`, or replaces the one since the last savepoint.
    ///
    /// # Errors
    /// When the temporary file cannot grow.
    pub(crate) fn put(&mut self, page: PageNo, image: &[u8]) -> io::Result<()> {
        if self.pages.is_empty() && self.page_size != image.len() {
            self.page_size = image.len();
            self.chunks.clear();
        }
        let position = match self.index.get(&page) {
            Some(&position) if position >= self.mark => position,
            _ => self.pages.len(),
        };
        let per_chunk = CHUNK_BYTES / self.page_size;
        let (chunk, within) = (position / per_chunk, position % per_chunk * self.page_size);
        if chunk == self.chunks.len() {
            self.chunks.push(Chunk::new(chunk, CHUNK_BYTES)?);
        }
        let slot = self
            .chunks
            .get_mut(chunk)
            .and_then(|chunk| chunk.bytes_mut().get_mut(within..within + image.len()));
        slot.ok_or_else(|| io::Error::other("a page of another size in one transaction"))?
            .copy_from_slice(image);
        if position == self.pages.len() {
            self.pages.push(page);
            self.index.insert(page, position);
        }
        Ok(())
    }

    /// Forgets the frames after the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.mark = self.mark.min(len);
        if len >= self.pages.len() {
            // The common case of a statement that failed: nothing was spilled since.
            return;
        }
        self.pages.truncate(len);
        self.index = self.pages.iter().enumerate().map(|(position, page)| (*page, position)).collect();
    }

    /// Forgets all, and returns which pages there were.
    pub(crate) fn clear(&mut self) -> Vec<PageNo> {
        let pages = self.index.keys().copied().collect();
        self.pages.clear();
        self.index.clear();
        self.mark = 0;
        // One warm chunk stays for the next transaction; mapped ones and their disk space go.
        self.chunks.truncate(1);
        pages
    }

    /// The newest image of each page, in no order.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (PageNo, &[u8])> {
        self.index.iter().filter_map(|(page, position)| Some((*page, self.slot(*position)?)))
    }

    fn slot(&self, position: usize) -> Option<&[u8]> {
        let per_chunk = CHUNK_BYTES / self.page_size;
        let within = position % per_chunk * self.page_size;
        self.chunks.get(position / per_chunk)?.bytes().get(within..within + self.page_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> PageNo {
        PageNo::new(number).unwrap()
    }

    #[test]
    fn a_savepoint_keeps_older_images() {
        let mut frames = FrameList::default();
        frames.put(page(1), &[1; 512]).unwrap();
        frames.put(page(1), &[2; 512]).unwrap();
        assert_eq!(frames.len(), 1, "overwritten in place");
        let mark = frames.set_mark();
        frames.put(page(1), &[3; 512]).unwrap();
        frames.put(page(2), &[4; 512]).unwrap();
        assert_eq!(frames.get(page(1)), Some(&[3; 512][..]));
        frames.truncate(mark);
        assert_eq!(frames.get(page(1)), Some(&[2; 512][..]));
        assert_eq!(frames.get(page(2)), None);
        assert_eq!(frames.clear(), [page(1)]);
        frames.put(page(7), &[5; 65536]).unwrap();
        assert_eq!(frames.get(page(7)), Some(&[5; 65536][..]));
    }

    #[test]
    fn beyond_the_heap_frames_live_in_a_file() {
        let mut frames = FrameList::default();
        let count = 64 * (u32::try_from(HEAP_CHUNKS).unwrap() + 2);
        for number in 1..=count {
            frames.put(page(number), &[number.to_le_bytes()[0]; 65536]).unwrap();
        }
        assert!(matches!(frames.chunks.last(), Some(Chunk::Mapped(_))));
        for number in [1, count / 2, count] {
            assert_eq!(frames.get(page(number)), Some(&[number.to_le_bytes()[0]; 65536][..]));
        }
        frames.clear();
        assert_eq!(frames.chunks.len(), 1);
    }
}
