//! Decoding against encoding, against damage, and against chance.
#![expect(clippy::cast_possible_truncation, reason = "numbers by chance, cut to what is asked for")]

use super::*;
use crate::position::{CommitTime, Token};
use twill_types::seeded::Chance;

const IDENTITY: Identity = Identity { database: DatabaseId([0xdb; 16]), timeline: TimelineId([0x71; 16]) };

fn header(kind: Kind, slot: Slot, first: u64, last: u64) -> Header {
    Header {
        kind,
        has_parts: false,
        identity: IDENTITY,
        writer: WriterId([0x33; 16]),
        slot,
        first: Lsn::new(first),
        last: Lsn::new(last),
        previous: Checksum(0x0102_0304_0506_0708),
        count: 0,
    }
}

fn entry(chance: &mut Chance, time: u64) -> Entry {
    let mut token = Token::default();
    token.0.fill(chance.next().to_le_bytes()[0]);
    let payload = match chance.next() % 4 {
        0 => Payload::Parts(
            (0..1 + chance.next() % 3)
                .map(|_| PartReference {
                    number: chance.next(),
                    bytes: chance.next().to_le_bytes()[0].into(),
                    checksum: Checksum(chance.next()),
                })
                .collect(),
        ),
        1 => Payload::Inline(vec![7; (chance.next() % 500) as usize].into()),
        _ => Payload::Inline((0..chance.next() % 60).map(|_| chance.next().to_le_bytes()[0]).collect()),
    };
    Entry { time: CommitTime(time), token, payload }
}

fn commits(chance: &mut Chance) -> (Header, Body) {
    let count = 1 + chance.next() % 5;
    let first = 1 + chance.next() % 1000;
    let entries = (0..count).map(|index| entry(chance, 100 + index * 10)).collect();
    let slot = Slot::new(chance.next() % 9, chance.next() % 9);
    (header(Kind::Commits, slot, first, first + count - 1), Body::Commits(entries))
}

/// A record of any kind.
fn any(chance: &mut Chance) -> (Header, Body) {
    let slot = Slot::new(4, 2);
    match chance.next() % 6 {
        0 => (
            header(Kind::Fence, slot, 5, 5),
            Body::Fence(Fence { next: Epoch(5), time: CommitTime(chance.next()) }),
        ),
        1 => {
            let redirect = (chance.next().is_multiple_of(2)).then_some(TimelineId([9; 16]));
            (header(Kind::Seal, slot, 5, 5), Body::Seal(Seal { redirect, time: CommitTime(3) }))
        }
        2 => (header(Kind::Part, slot, 5, 5), Body::Part(vec![1; (chance.next() % 900) as usize].into())),
        3 => {
            let records: Vec<Bytes> = (0..1 + chance.next() % 3)
                .map(|_| {
                    let (header, body) = commits(chance);
                    encode(&header, &body, Compression::Lz4).unwrap().0
                })
                .collect();
            let last = Slot::new(4, 10 + records.len() as u64 - 1);
            (header(Kind::Merged, last, 1, 50), Body::Merged { first: Seq(10), records })
        }
        _ => commits(chance),
    }
}

fn compression(chance: &mut Chance) -> Compression {
    if chance.next().is_multiple_of(2) { Compression::Lz4 } else { Compression::None }
}

#[test]
fn what_was_encoded_is_decoded_and_equal_records_have_equal_bytes() {
    let mut chance = Chance::from_seed(1);
    for _ in 0..2_000 {
        let (header, body) = any(&mut chance);
        let compression = compression(&mut chance);
        let (bytes, whole) = encode(&header, &body, compression).unwrap();
        assert_eq!(encode(&header, &body, compression).unwrap(), (bytes.clone(), whole));
        let record = decode("x", &bytes).unwrap();
        assert_eq!((&record.body, record.checksum), (&body, whole));
        let count = body.count().unwrap();
        assert_eq!(record.header, Header { has_parts: body.has_parts(), count, ..header });
        assert_eq!(decode_header("x", &bytes).unwrap(), record.header);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_corrupt() {
    let mut chance = Chance::from_seed(2);
    for _ in 0..60 {
        let (header, body) = any(&mut chance);
        let (bytes, _) = encode(&header, &body, compression(&mut chance)).unwrap();
        for length in 0..bytes.len() {
            let error = decode("x", &bytes.slice(..length)).unwrap_err();
            assert!(matches!(error, LogError::Corrupt { .. }), "{length} of {}: {error}", bytes.len());
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[index] ^= 1 << (chance.next() % 8);
            let error = decode("x", &damaged.into()).unwrap_err();
            assert!(matches!(error, LogError::Corrupt { .. }), "byte {index}: {error}");
        }
    }
}

/// Makes checksums right again, so that damage gets past them.
fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - TRAILER_BYTES;
    let front = checksum(&bytes[..CHECKED_BYTES]).0.to_le_bytes();
    bytes[CHECKED_BYTES..HEADER_BYTES].copy_from_slice(&front);
    let whole = checksum(&bytes[..end]).0.to_le_bytes();
    bytes[end..].copy_from_slice(&whole);
}

#[test]
fn damage_behind_right_checksums_never_panics_and_what_is_accepted_is_encodable() {
    let mut chance = Chance::from_seed(3);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..30_000 {
        let (header, body) = any(&mut chance);
        let (bytes, _) = encode(&header, &body, compression(&mut chance)).unwrap();
        let mut damaged = bytes.to_vec();
        for _ in 0..1 + chance.next() % 4 {
            let length = damaged.len() as u64;
            match chance.next() % 4 {
                0 => damaged[(chance.next() % length) as usize] = chance.next().to_le_bytes()[0],
                1 => damaged[(chance.next() % length) as usize] ^= 1 << (chance.next() % 8),
                // Numbers that lie: the fields of the header.
                2 => {
                    let at = 8 + (chance.next() % 28) as usize * 4;
                    let value =
                        [0, 1, u32::MAX, 0x7fff_ffff, chance.next() as u32][(chance.next() % 5) as usize];
                    damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
                }
                _ => {
                    let at = HEADER_BYTES + (chance.next() % (length - HEADER_BYTES as u64)) as usize;
                    if chance.next().is_multiple_of(2) {
                        damaged.truncate(at)
                    } else {
                        damaged.insert(at, 0xff)
                    }
                    damaged.resize(damaged.len().max(HEADER_BYTES + TRAILER_BYTES), 0);
                }
            }
        }
        reseal(&mut damaged);
        match decode("x", &damaged.into()) {
            Err(LogError::Corrupt { .. } | LogError::NewerFormat { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(record) => {
                accepted += 1;
                let (again, _) = encode(&record.header, &record.body, Compression::None).unwrap();
                assert_eq!(decode("x", &again).unwrap().body, record.body);
            }
        }
    }
    assert!(refused > 1_000 && accepted > 1_000, "{refused} refused, {accepted} accepted");
}

#[test]
fn noise_is_refused() {
    let mut chance = Chance::from_seed(4);
    for _ in 0..20_000 {
        let mut noise: Vec<u8> = (0..chance.next() % 400).map(|_| chance.next().to_le_bytes()[0]).collect();
        if chance.next().is_multiple_of(2) && noise.len() >= HEADER_BYTES + TRAILER_BYTES {
            noise[..8].copy_from_slice(MAGIC);
            noise[8..10].copy_from_slice(&1_u16.to_le_bytes());
            reseal(&mut noise);
        }
        assert!(decode("x", &noise.into()).is_err());
    }
}

#[test]
fn a_newer_format_is_told_from_a_corrupt_record() {
    let mut chance = Chance::from_seed(5);
    let (header, body) = commits(&mut chance);
    let mut bytes = encode(&header, &body, Compression::None).unwrap().0.to_vec();
    bytes[8] = 2;
    assert!(matches!(decode("x", &bytes.clone().into()), Err(LogError::Corrupt { .. })));
    reseal(&mut bytes);
    let error = decode("log/1/2", &bytes.into()).unwrap_err();
    assert_eq!(error.to_string(), "log/1/2 has format version 2; this software reads up to version 1");
}

#[test]
fn a_length_that_lies_is_noticed_before_it_is_allocated() {
    let (header, body) = (header(Kind::Part, Slot::new(1, 1), 1, 1), Body::Part(vec![0; 4096].into()));
    let mut bytes = encode(&header, &body, Compression::Lz4).unwrap().0.to_vec();
    assert!(bytes.len() < 300, "{}", bytes.len());
    bytes[112..116].copy_from_slice(&(BODY_BYTES_MAX as u32).to_le_bytes());
    reseal(&mut bytes);
    assert!(matches!(decode("x", &bytes.into()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let body = Body::Part(vec![0; BODY_BYTES_MAX + 1].into());
    let error = encode(&header(Kind::Part, Slot::new(1, 1), 1, 1), &body, Compression::Lz4).unwrap_err();
    assert!(matches!(error, LogError::Invalid { .. }));
}

#[test]
fn a_body_is_compressed_only_where_that_saves_an_eighth() {
    let mut chance = Chance::from_seed(6);
    let noise: Bytes = (0..4000).map(|_| chance.next().to_le_bytes()[0]).collect();
    for (payload, packs) in [(noise, false), (Bytes::from(vec![5; 4000]), true)] {
        let (bytes, _) =
            encode(&header(Kind::Part, Slot::new(1, 1), 1, 1), &Body::Part(payload), Compression::Lz4)
                .unwrap();
        assert_eq!(bytes.len() < 1000, packs);
        assert_eq!(bytes[11] & FLAG_LZ4 != 0, packs);
    }
}
