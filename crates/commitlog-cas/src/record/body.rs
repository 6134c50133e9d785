//! What the body of a record says, by kind.
//!
//! Invariants:
//! 1. The commits of a record are `first..=last` of its header, one entry each, in order, their times not decreasing.
//! 2. A fence names the epoch after its own.
//! 3. A merged object holds the records of consecutive slots of one epoch, byte for byte, the last of which is its own
//!    slot; they are checked one by one when read.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use twill_types::{Epoch, Lsn, Seq, TimelineId};

use super::{Header, Kind, length};
use crate::error::LogError;
use crate::position::{Checksum, CommitTime, Token};

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// One or more commits, in order.
    Commits(Vec<Entry>),
    /// The end of an epoch.
    Fence(Fence),
    /// The end of a timeline.
    Seal(Seal),
    /// A piece of a large commit's payload.
    Part(Bytes),
    /// Records, byte for byte, of consecutive slots from `first`.
    Merged {
        /// The slot number of the first of them.
        first: Seq,
        /// Their bytes.
        records: Vec<Bytes>,
    },
}

/// One commit of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was appended.
    pub time: CommitTime,
    /// The client's name for it.
    pub token: Token,
    /// Its bytes, or where they are.
    pub payload: Payload,
}

/// A commit's bytes, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the record itself.
    Inline(Bytes),
    /// In parts of the record's epoch, in order. At least one.
    Parts(Vec<PartReference>),
}

/// One part of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartReference {
    /// The part's number within its epoch.
    pub number: u64,
    /// Its bytes of payload.
    pub bytes: u32,
    /// XXH3-64 of them.
    pub checksum: Checksum,
}

/// The end of an epoch. Its place alone counts: an epoch ends at the first fence in it, whatever that fence's writer
/// believed of the history before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The epoch it opens: the one after its own. Its owner is the record's writer.
    pub next: Epoch,
    /// The writer's clock, for people.
    pub time: CommitTime,
}

/// The terminal record of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// In which timeline the branch goes on.
    pub redirect: Option<TimelineId>,
    /// The writer's clock, for people.
    pub time: CommitTime,
}

/// Bytes of an entry before its payload.
pub(crate) const ENTRY_BYTES: usize = 32;
const REFERENCE_BYTES: usize = 20;

impl Body {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Commits(_) => Kind::Commits,
            Self::Fence(_) => Kind::Fence,
            Self::Seal(_) => Kind::Seal,
            Self::Part(_) => Kind::Part,
            Self::Merged { .. } => Kind::Merged,
        }
    }

    /// Merged records are compressed already.
    pub(super) const fn may_compress(&self) -> bool {
        matches!(self, Self::Commits(_) | Self::Part(_))
    }

    pub(super) fn has_parts(&self) -> bool {
        match self {
            Self::Commits(entries) => entries.iter().any(|entry| matches!(entry.payload, Payload::Parts(_))),
            Self::Merged { records, .. } => records
                .iter()
                .any(|bytes| super::decode_header("", bytes).is_ok_and(|header| header.has_parts)),
            Self::Fence(_) | Self::Seal(_) | Self::Part(_) => false,
        }
    }

    pub(super) fn count(&self) -> Result<u32, LogError> {
        match self {
            Self::Commits(entries) => length(entries.len()),
            Self::Merged { records, .. } => length(records.len()),
            Self::Fence(_) | Self::Seal(_) | Self::Part(_) => Ok(0),
        }
    }

    pub(super) fn encode(&self) -> Result<Bytes, LogError> {
        let mut out = BytesMut::new();
        match self {
            Self::Commits(entries) => encode_entries(entries, &mut out)?,
            Self::Fence(fence) => {
                out.put_u64_le(fence.time.0);
                out.put_u64_le(fence.next.0);
            }
            Self::Seal(seal) => {
                out.put_u64_le(seal.time.0);
                out.put_u8(u8::from(seal.redirect.is_some()));
                out.put_slice(&seal.redirect.map(|timeline| timeline.0).unwrap_or_default());
            }
            Self::Part(bytes) => return Ok(bytes.clone()),
            Self::Merged { first, records } => {
                out.put_u64_le(first.0);
                for record in records {
                    out.put_u32_le(length(record.len())?);
                }
                records.iter().for_each(|record| out.put_slice(record));
            }
        }
        Ok(out.freeze())
    }

    pub(super) fn decode(object: &str, header: &Header, body: Bytes) -> Result<Self, LogError> {
        let mut rest = body;
        let decoded = match header.kind {
            Kind::Commits => decode_entries(header, &mut rest).map(Self::Commits),
            Kind::Fence => decode_fence(header, &mut rest).map(Self::Fence),
            Kind::Seal => decode_seal(&mut rest).map(Self::Seal),
            Kind::Part => Ok(Self::Part(std::mem::take(&mut rest))),
            Kind::Merged => decode_merged(header, &mut rest),
        };
        let body = decoded.map_err(|found| LogError::corrupt(object, "a body that adds up", found.0))?;
        let counted = matches!(header.kind, Kind::Commits | Kind::Merged);
        if !rest.is_empty() || (!counted && header.count != 0) {
            let found = format!("{} bytes behind it, count {}", rest.len(), header.count);
            return Err(LogError::corrupt(object, "the end of the body", found));
        }
        Ok(body)
    }
}

/// What was found instead of a body that adds up.
struct Found(String);

impl From<TryGetError> for Found {
    fn from(error: TryGetError) -> Self {
        Self(error.to_string())
    }
}

fn found<T>(what: impl Into<String>) -> Result<T, Found> {
    Err(Found(what.into()))
}

fn encode_entries(entries: &[Entry], out: &mut BytesMut) -> Result<(), LogError> {
    for entry in entries {
        out.put_u64_le(entry.time.0);
        out.put_slice(&entry.token.0);
        match &entry.payload {
            Payload::Inline(bytes) => {
                out.put_u32_le(length(bytes.len())?);
                out.put_u32_le(0);
                out.put_slice(bytes);
            }
            Payload::Parts(parts) => {
                out.put_u32_le(0);
                out.put_u32_le(length(parts.len())?);
                for part in parts {
                    out.put_u64_le(part.number);
                    out.put_u32_le(part.bytes);
                    out.put_u64_le(part.checksum.0);
                }
            }
        }
    }
    Ok(())
}

fn decode_entries(header: &Header, rest: &mut Bytes) -> Result<Vec<Entry>, Found> {
    let count = header.count as usize;
    let span = header.last.get().checked_sub(header.first.get()).and_then(|span| span.checked_add(1));
    if count == 0 || span != Some(u64::from(header.count)) || header.first == Lsn::ZERO {
        return found(format!("{count} commits numbered {} to {}", header.first, header.last));
    }
    if rest.len() / ENTRY_BYTES < count {
        return found(format!("{count} commits in {} bytes", rest.len()));
    }
    let mut entries = Vec::with_capacity(count);
    let mut before = CommitTime::default();
    for _ in 0..count {
        let time = CommitTime(rest.try_get_u64_le()?);
        if time < before {
            return found("a time before the one of the commit before");
        }
        before = time;
        let mut token = Token::default();
        rest.try_copy_to_slice(&mut token.0)?;
        let (inline, parts) = (rest.try_get_u32_le()? as usize, rest.try_get_u32_le()? as usize);
        let payload = match (inline, parts) {
            (_, 0) if inline <= rest.len() => Payload::Inline(rest.split_to(inline)),
            (0, 1..) if parts <= rest.len() / REFERENCE_BYTES => {
                Payload::Parts(decode_references(parts, rest)?)
            }
            _ => return found(format!("{inline} bytes and {parts} parts in {} bytes", rest.len())),
        };
        entries.push(Entry { time, token, payload });
    }
    Ok(entries)
}

fn decode_references(count: usize, rest: &mut Bytes) -> Result<Vec<PartReference>, Found> {
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let (number, bytes) = (rest.try_get_u64_le()?, rest.try_get_u32_le()?);
        parts.push(PartReference { number, bytes, checksum: Checksum(rest.try_get_u64_le()?) });
    }
    Ok(parts)
}

fn decode_fence(header: &Header, rest: &mut Bytes) -> Result<Fence, Found> {
    let fence = Fence { time: CommitTime(rest.try_get_u64_le()?), next: Epoch(rest.try_get_u64_le()?) };
    if header.slot.epoch.0.checked_add(1) != Some(fence.next.0) {
        return found(format!("a fence of epoch {} that opens {}", header.slot.epoch.0, fence.next.0));
    }
    Ok(fence)
}

fn decode_seal(rest: &mut Bytes) -> Result<Seal, Found> {
    let time = CommitTime(rest.try_get_u64_le()?);
    let present = rest.try_get_u8()?;
    let mut timeline = [0; 16];
    rest.try_copy_to_slice(&mut timeline)?;
    match present {
        0 if timeline == [0; 16] => Ok(Seal { redirect: None, time }),
        1 => Ok(Seal { redirect: Some(TimelineId(timeline)), time }),
        _ => found(format!("a redirect marked {present}")),
    }
}

fn decode_merged(header: &Header, rest: &mut Bytes) -> Result<Body, Found> {
    let count = header.count as usize;
    let first = Seq(rest.try_get_u64_le()?);
    let span = header.slot.seq.0.checked_sub(first.0).and_then(|span| span.checked_add(1));
    if count == 0 || span != Some(u64::from(header.count)) || rest.len() / 4 < count {
        return found(format!("{count} records of slots {} to {}", first.0, header.slot.seq.0));
    }
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push(rest.try_get_u32_le()? as usize);
    }
    let mut records = Vec::with_capacity(count);
    for length in lengths {
        if length > rest.len() {
            return found(format!("a record of {length} bytes in {}", rest.len()));
        }
        records.push(rest.split_to(length));
    }
    Ok(Body::Merged { first, records })
}
