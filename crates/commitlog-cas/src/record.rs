//! The bytes of a record: its header, its checksum, and what its body says. `docs/format/commit-log.md` draws them.
//!
//! ```text
//!   0 magic "TWILLREC" │ 8 version │ 10 kind │ 11 flags │ 12 zero │ 16 database │ 32 timeline │ 48 writer
//!  64 epoch │ 72 seq │ 80 first LSN │ 88 last LSN │ 96 checksum of the record before
//! 104 count │ 108 stored body bytes │ 112 body bytes │ 116 zero │ 120 XXH3-64 of bytes 0..120
//! 128 body, as stored …  │ XXH3-64 of everything before it: the record's checksum
//! ```
//! Integers are little-endian.
//!
//! Invariants:
//! 1. The first 128 bytes and their checksum keep their places in every version, so that a newer format is told from
//!    a corrupt one.
//! 2. Equal records have equal bytes: a repeated attempt sends what the first one sent.
//! 3. Decoding never panics and never allocates more than the bytes at hand, or [`BODY_BYTES_MAX`], warrant.
//! 4. Decoding refuses what encoding does not produce: unknown kinds and flags, trailing bytes, numbers that do not add
//!    up.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use twill_types::{Epoch, Lsn, Seq, TimelineId};
use twox_hash::XxHash3_64;

use crate::error::LogError;
use crate::options::Compression;
use crate::position::{Checksum, DatabaseId, Identity, Slot, WriterId};

mod body;

pub(crate) use body::ENTRY_BYTES;
pub use body::{Body, Entry, Fence, PartReference, Payload, Seal};

/// The newest format this build reads, and the one it writes.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 128;
/// The largest body, uncompressed, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"TWILLREC";
const CHECKED_BYTES: usize = 120;
const TRAILER_BYTES: usize = 8;
const FLAG_LZ4: u8 = 1;
const FLAG_HAS_PARTS: u8 = 2;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One or more commits.
    Commits = 1,
    /// The end of an epoch.
    Fence = 2,
    /// The end of a timeline.
    Seal = 3,
    /// A piece of a large commit's payload.
    Part = 4,
    /// Several records, byte for byte.
    Merged = 5,
}

/// A decoded header: everything but the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record is.
    pub kind: Kind,
    /// Whether parts belong to it.
    pub has_parts: bool,
    /// Whose log it is of.
    pub identity: Identity,
    /// Who wrote it; zeros for a merged object.
    pub writer: WriterId,
    /// Where it is: the slot; for a part its epoch and number; for a merged object its last slot.
    pub slot: Slot,
    /// The first commit; for a fence or seal the last commit before it, as its writer believed.
    pub first: Lsn,
    /// The last commit; for a fence or seal as `first`.
    pub last: Lsn,
    /// Checksum of the record before.
    pub previous: Checksum,
    /// How many commits, or merged records.
    pub count: u32,
}

/// A header, a body, and the checksum the next record repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Everything but the body.
    pub header: Header,
    /// What it holds.
    pub body: Body,
    /// XXH3-64 of the bytes before the trailer.
    pub checksum: Checksum,
}

/// A header as stored, with the numbers only decoding needs.
struct Stored {
    header: Header,
    lz4: bool,
    stored_bytes: usize,
    body_bytes: usize,
}

/// XXH3-64 of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> Checksum {
    Checksum(XxHash3_64::oneshot(bytes))
}

/// The bytes of a record, and its checksum.
///
/// # Errors
/// [`LogError::Invalid`] for a body beyond [`BODY_BYTES_MAX`].
pub fn encode(header: &Header, body: &Body, compression: Compression) -> Result<(Bytes, Checksum), LogError> {
    let plain = body.encode()?;
    if plain.len() > BODY_BYTES_MAX {
        return Err(LogError::invalid(format!(
            "a record of {} bytes; at most {BODY_BYTES_MAX}",
            plain.len()
        )));
    }
    let packed = match compression {
        Compression::Lz4 if body.may_compress() => pack(&plain),
        Compression::Lz4 | Compression::None => None,
    };
    let stored = packed.as_deref().unwrap_or(&plain);
    let flags =
        if packed.is_some() { FLAG_LZ4 } else { 0 } | if body.has_parts() { FLAG_HAS_PARTS } else { 0 };
    let mut out = BytesMut::with_capacity(HEADER_BYTES + stored.len() + TRAILER_BYTES);
    out.put_slice(MAGIC);
    out.put_u16_le(FORMAT_VERSION);
    out.put_u8(body.kind() as u8);
    out.put_u8(flags);
    out.put_u32_le(0);
    out.put_slice(&header.identity.database.0);
    out.put_slice(&header.identity.timeline.0);
    out.put_slice(&header.writer.0);
    for number in
        [header.slot.epoch.0, header.slot.seq.0, header.first.get(), header.last.get(), header.previous.0]
    {
        out.put_u64_le(number);
    }
    out.put_u32_le(body.count()?);
    out.put_u32_le(length(stored.len())?);
    out.put_u32_le(length(plain.len())?);
    out.put_u32_le(0);
    let checked = checksum(&out);
    out.put_u64_le(checked.0);
    out.put_slice(stored);
    let whole = checksum(&out);
    out.put_u64_le(whole.0);
    Ok((out.freeze(), whole))
}

fn length(bytes: usize) -> Result<u32, LogError> {
    u32::try_from(bytes).map_err(|_| LogError::invalid(format!("{bytes} bytes in one record")))
}

/// The compressed body, if that saves an eighth.
fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let packed = lz4_flex::block::compress(plain);
    (packed.len() + plain.len() / 8 <= plain.len()).then_some(packed)
}

/// Reads and checks a record; `object` is its name, for errors.
///
/// # Errors
/// [`LogError::NewerFormat`], or [`LogError::Corrupt`] for anything encoding does not produce.
pub fn decode(object: &str, bytes: &Bytes) -> Result<Record, LogError> {
    let stored = decode_stored(object, bytes)?;
    let end = HEADER_BYTES + stored.stored_bytes;
    if bytes.len() != end + TRAILER_BYTES {
        let found = format!("{} bytes", bytes.len());
        return Err(LogError::corrupt(object, format!("a record of {} bytes", end + TRAILER_BYTES), found));
    }
    let computed = checksum(bytes.get(..end).unwrap_or_default());
    let mut trailer = bytes.get(end..).unwrap_or_default();
    let written = Checksum(trailer.try_get_u64_le().unwrap_or_default());
    if computed != written {
        return Err(LogError::corrupt(object, format!("checksum {written}"), computed));
    }
    let raw = bytes.slice(HEADER_BYTES..end);
    let plain = if stored.lz4 { unpack(object, &raw, stored.body_bytes)? } else { raw };
    let body = Body::decode(object, &stored.header, plain)?;
    if body.has_parts() != stored.header.has_parts {
        return Err(LogError::corrupt(object, "a flag that says whether there are parts", "the opposite"));
    }
    Ok(Record { header: stored.header, body, checksum: computed })
}

/// Reads and checks the header at the front of `bytes`; what follows it is not looked at.
///
/// # Errors
/// As [`decode`].
pub fn decode_header(object: &str, bytes: &[u8]) -> Result<Header, LogError> {
    Ok(decode_stored(object, bytes)?.header)
}

fn unpack(object: &str, raw: &[u8], body_bytes: usize) -> Result<Bytes, LogError> {
    let corrupt = |found: String| LogError::corrupt(object, format!("LZ4 of {body_bytes} bytes"), found);
    // LZ4 yields at most 255 bytes for one, so a lying length is noticed before anything is allocated.
    if body_bytes / 255 > raw.len() {
        return Err(corrupt(format!("{} bytes", raw.len())));
    }
    let plain = lz4_flex::block::decompress(raw, body_bytes).map_err(|error| corrupt(error.to_string()))?;
    if plain.len() != body_bytes {
        return Err(corrupt(format!("LZ4 of {}", plain.len())));
    }
    Ok(plain.into())
}

fn decode_stored(object: &str, bytes: &[u8]) -> Result<Stored, LogError> {
    let Some(mut header) = bytes.get(..HEADER_BYTES) else {
        let found = format!("{} bytes", bytes.len());
        return Err(LogError::corrupt(object, format!("a header of {HEADER_BYTES} bytes"), found));
    };
    let computed = checksum(header.get(..CHECKED_BYTES).unwrap_or_default());
    if header.get(..MAGIC.len()) != Some(MAGIC.as_slice()) {
        return Err(LogError::corrupt(object, "a record of the log", "another magic number"));
    }
    let mut trailer = header.get(CHECKED_BYTES..).unwrap_or_default();
    let written = Checksum(trailer.try_get_u64_le().unwrap_or_default());
    if computed != written {
        return Err(LogError::corrupt(object, format!("header checksum {written}"), computed));
    }
    header.advance(MAGIC.len());
    decode_fields(object, &mut header)
        .map_err(|short| LogError::corrupt(object, "a header", short))
        .and_then(|fields| fields)
}

/// The fields between magic and checksum. The outer error cannot happen, as the header has its 128 bytes.
fn decode_fields(object: &str, header: &mut &[u8]) -> Result<Result<Stored, LogError>, bytes::TryGetError> {
    let version = header.try_get_u16_le()?;
    if version > FORMAT_VERSION {
        let object = object.to_owned();
        return Ok(Err(LogError::NewerFormat { object, found: version, supported: FORMAT_VERSION }));
    }
    let (kind, flags) = (header.try_get_u8()?, header.try_get_u8()?);
    let mut zeros = header.try_get_u32_le()?;
    let mut id = || {
        let mut id = [0; 16];
        header.try_copy_to_slice(&mut id).map(|()| id)
    };
    let (database, timeline, writer) = (DatabaseId(id()?), TimelineId(id()?), WriterId(id()?));
    let (epoch, seq) = (Epoch(header.try_get_u64_le()?), Seq(header.try_get_u64_le()?));
    let (first, last) = (Lsn::new(header.try_get_u64_le()?), Lsn::new(header.try_get_u64_le()?));
    let previous = Checksum(header.try_get_u64_le()?);
    let count = header.try_get_u32_le()?;
    let (stored, body) = (header.try_get_u32_le()?, header.try_get_u32_le()?);
    zeros |= header.try_get_u32_le()?;
    let found = |what: String| Ok(Err(LogError::corrupt(object, "a header of version 1", what)));
    let kind = match kind {
        1 => Kind::Commits,
        2 => Kind::Fence,
        3 => Kind::Seal,
        4 => Kind::Part,
        5 => Kind::Merged,
        other => return found(format!("kind {other}")),
    };
    if version == 0 || flags & !(FLAG_LZ4 | FLAG_HAS_PARTS) != 0 || zeros != 0 {
        return found(format!("version {version}, flags {flags:#x}, reserved {zeros:#x}"));
    }
    let (stored_bytes, body_bytes) = (stored as usize, body as usize);
    let lz4 = flags & FLAG_LZ4 != 0;
    if body_bytes > BODY_BYTES_MAX || stored_bytes > body_bytes || (!lz4 && stored_bytes != body_bytes) {
        return found(format!("a body of {body} bytes, stored in {stored}"));
    }
    let header = Header {
        kind,
        has_parts: flags & FLAG_HAS_PARTS != 0,
        identity: Identity { database, timeline },
        writer,
        slot: Slot { epoch, seq },
        first,
        last,
        previous,
        count,
    };
    Ok(Ok(Stored { header, lz4, stored_bytes, body_bytes }))
}

#[cfg(test)]
mod tests;
