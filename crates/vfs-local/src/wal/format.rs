//! The bytes of SQLite's WAL (<https://www.sqlite.org/fileformat2.html#walformat>). All integers are big-endian.
//!
//! ```text
//! header, 32 bytes                        frame, 24 + page size bytes
//!  0  magic 0x377f0682, or ..83:           0  page number
//!     checksum words are little-endian,    4  pages in the database after this commit; 0: not its last frame
//!     or big-endian                        8  salt 1, as in the header
//!  4  version 3007000                     12  salt 2
//!  8  page size                           16  checksum, first sum: over the checksum of the frame before (or of the
//! 12  checkpoint sequence number          20  second sum           header), bytes 0..8 here, and the page
//! 16  salt 1: one more at each reset      24  the page
//! 20  salt 2: random at each reset
//! 24  checksum of bytes 0..24, first sum
//! 28  second sum
//! ```
//!
//! Invariants:
//! 1. A frame is valid when its salts are the header's and its checksum continues the chain; so a frame of an earlier
//!    round, or one behind a damaged one, never is.
//! 2. What this module writes it reads back equal, in either byte order.

use twill_types::PageSize;

/// Bytes before the first frame.
pub(crate) const HEADER_LEN: usize = 32;
/// Bytes before a frame's page.
pub(crate) const FRAME_HEADER_LEN: usize = 24;
/// The only version there has ever been.
pub(crate) const VERSION: u32 = 3_007_000;

const MAGIC: u32 = 0x377f_0682;

/// In which order the checksum reads its 32-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordOrder {
    Little,
    Big,
}

/// The running checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum(pub(crate) u32, pub(crate) u32);

impl Checksum {
    /// Continues over `bytes`, whose length is a multiple of 8.
    #[must_use]
    pub(crate) fn over(self, bytes: &[u8], order: WordOrder) -> Self {
        match order {
            WordOrder::Little => self.fold(bytes, u32::from_le_bytes),
            WordOrder::Big => self.fold(bytes, u32::from_be_bytes),
        }
    }

    #[inline]
    fn fold(self, bytes: &[u8], word: impl Fn([u8; 4]) -> u32) -> Self {
        let Self(mut first, mut second) = self;
        let (pairs, _) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in pairs {
            first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
            second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
        }
        Self(first, second)
    }
}

/// A WAL's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalHeader {
    pub(crate) order: WordOrder,
    pub(crate) page_size: PageSize,
    pub(crate) checkpoint_seq: u32,
    pub(crate) salts: [u8; 8],
}

/// What the first 32 bytes of a WAL turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderBytes {
    Valid(WalHeader, Checksum),
    /// Not a WAL header; SQLite takes the log as empty.
    Garbage,
    /// A valid header of another version.
    OtherVersion(u32),
}

/// The big-endian integer at `at`; 0 beyond the end.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word))
}

impl WalHeader {
    /// The header's bytes and the checksum that the first frame continues.
    pub(crate) fn encode(&self) -> ([u8; HEADER_LEN], Checksum) {
        let magic = MAGIC | u32::from(self.order == WordOrder::Big);
        let mut head = [0; 24];
        let mut rest = head.as_mut_slice();
        for word in [magic, VERSION, self.page_size.get(), self.checkpoint_seq] {
            put(&mut rest, &word.to_be_bytes());
        }
        put(&mut rest, &self.salts);
        let checksum = Checksum::default().over(&head, self.order);
        let mut bytes = [0; HEADER_LEN];
        let mut rest = bytes.as_mut_slice();
        put(&mut rest, &head);
        put(&mut rest, &checksum.0.to_be_bytes());
        put(&mut rest, &checksum.1.to_be_bytes());
        (bytes, checksum)
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> HeaderBytes {
        let magic = be32(bytes, 0);
        let Ok(page_size) = PageSize::new(be32(bytes, 8)) else { return HeaderBytes::Garbage };
        let order = match magic {
            MAGIC => WordOrder::Little,
            _ if magic == MAGIC | 1 => WordOrder::Big,
            _ => return HeaderBytes::Garbage,
        };
        let (head, _) = bytes.split_at(24);
        let checksum = Checksum::default().over(head, order);
        if checksum != Checksum(be32(bytes, 24), be32(bytes, 28)) {
            return HeaderBytes::Garbage;
        }
        let version = be32(bytes, 4);
        if version != VERSION {
            return HeaderBytes::OtherVersion(version);
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(bytes.get(16..24).unwrap_or(&[0; 8]));
        HeaderBytes::Valid(Self { order, page_size, checkpoint_seq: be32(bytes, 12), salts }, checksum)
    }

    /// Appends a frame to `out` and returns the chain's new checksum. `page_count` is 0 but for a commit's last frame.
    pub(crate) fn encode_frame(
        &self,
        chain: Checksum,
        page: u32,
        page_count: u32,
        image: &[u8],
        out: &mut Vec<u8>,
    ) -> Checksum {
        let mut head = [0; 8];
        let mut rest = head.as_mut_slice();
        put(&mut rest, &page.to_be_bytes());
        put(&mut rest, &page_count.to_be_bytes());
        let checksum = chain.over(&head, self.order).over(image, self.order);
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.salts);
        out.extend_from_slice(&checksum.0.to_be_bytes());
        out.extend_from_slice(&checksum.1.to_be_bytes());
        out.extend_from_slice(image);
        checksum
    }

    /// Checks a frame, header and page, against the chain.
    pub(crate) fn decode_frame(&self, chain: Checksum, bytes: &[u8]) -> Option<Frame> {
        let (head, image) = bytes.split_at_checked(FRAME_HEADER_LEN)?;
        let page = be32(head, 0);
        if page == 0 || head.get(8..16)? != self.salts || image.len() != self.page_size.bytes() {
            return None;
        }
        let checksum = chain.over(head.get(..8)?, self.order).over(image, self.order);
        (checksum == Checksum(be32(head, 16), be32(head, 20))).then_some(Frame {
            page,
            page_count: be32(head, 4),
            checksum,
        })
    }

    /// Where frame `number` (from 1) begins in a log of this page size.
    pub(crate) fn frame_offset(page_size: PageSize, number: u32) -> u64 {
        let frame_len = FRAME_HEADER_LEN as u64 + u64::from(page_size.get());
        HEADER_LEN as u64 + u64::from(number.saturating_sub(1)) * frame_len
    }
}

/// A valid frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) page: u32,
    pub(crate) page_count: u32,
    pub(crate) checksum: Checksum,
}

/// Moves `bytes` to the front of `rest` and advances it.
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    if let Some((head, tail)) = std::mem::take(rest).split_at_mut_checked(bytes.len()) {
        head.copy_from_slice(bytes);
        *rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(order: WordOrder) -> WalHeader {
        WalHeader { order, page_size: PageSize::new(512).unwrap(), checkpoint_seq: 7, salts: *b"saltSALT" }
    }

    #[test]
    fn header_and_frames_read_back_in_both_word_orders() {
        for order in [WordOrder::Little, WordOrder::Big] {
            let header = header(order);
            let (bytes, chain) = header.encode();
            assert_eq!(WalHeader::decode(&bytes), HeaderBytes::Valid(header, chain));
            let mut out = Vec::new();
            let after = header.encode_frame(chain, 3, 9, &[0xab; 512], &mut out);
            let frame = header.decode_frame(chain, &out).unwrap();
            assert_eq!(frame, Frame { page: 3, page_count: 9, checksum: after });
            assert_eq!(header.decode_frame(after, &out), None, "a frame belongs to one place in the chain");
            for at in [0, 5, 9, 17, 24, 535] {
                let mut damaged = out.clone();
                damaged[at] ^= 1;
                assert_eq!(header.decode_frame(chain, &damaged), None, "byte {at}");
            }
        }
    }

    #[test]
    fn every_damaged_header_byte_makes_it_garbage() {
        let (bytes, _) = header(WordOrder::Little).encode();
        for at in 0..HEADER_LEN {
            let mut damaged = bytes;
            damaged[at] ^= 0x40;
            assert_eq!(WalHeader::decode(&damaged), HeaderBytes::Garbage, "byte {at}");
        }
    }

    /// Written by sqlite3 3.40.1: `PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t(x)`.
    #[test]
    fn reads_the_header_that_sqlite_wrote() {
        let golden = GOLDEN_HEADER;
        let HeaderBytes::Valid(header, _) = WalHeader::decode(&golden) else { panic!("not valid") };
        assert_eq!(header.order, WordOrder::Little);
        assert_eq!(header.page_size.get(), 512);
        assert_eq!(header.encode().0, golden);
    }

    const GOLDEN_HEADER: [u8; HEADER_LEN] = [
        0x37, 0x7f, 0x06, 0x82, 0x00, 0x2d, 0xe2, 0x18, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0xb4,
        0x23, 0x7c, 0x2a, 0x0b, 0x01, 0x87, 0x42, 0xff, 0x47, 0x26, 0xc7, 0xf9, 0xa7, 0xff, 0x77,
    ];
}
