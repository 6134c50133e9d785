//! Rules 6 and 7: what records say and what is refused, large commits in parts, and the golden bytes.

use std::time::Duration;

use bytes::Bytes;
use twill_commitlog_cas::{
    Checksum, CommitTime, Compression, Identity, LogError, NewCommit, Options, Outcome, Point, Position,
    Raise, Slot, Token, WriterId, collect,
    record::{self, Body, Entry, Fence, Header, Kind as RecordKind, PartReference, Payload, Seal},
    recover,
};
use twill_types::{Epoch, Lsn, Seq, TimelineId};

use crate::world::{Fault, IDENTITY, Kind, MS, World, lengthen};

#[test]
fn rule_6_times_never_go_back_though_the_clock_does() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a"]);
    world.set_wall(Duration::from_secs(1_000));
    world.commit(&log, &["b"]);
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["c"]);
    world.set_wall(Duration::from_secs(1_800_000_000));
    world.commit(&log, &["d"]);
    let times: Vec<u64> =
        world.run(recover(&world.site())).unwrap().commits.iter().map(|commit| commit.time.0).collect();
    assert_eq!((times[0], times[1]), (times[1], times[2]));
    assert!(times[0] >= 1_700_000_000_000_000 && times[3] >= 1_800_000_000_000_000, "{times:?}");
}

/// What an opening and a reading answer when the object at `key` holds these bytes (or is gone).
fn damaged(key: &str, bytes: impl FnOnce(&World) -> Option<Bytes>) -> String {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a", "b", "c"]);
    let bytes = bytes(&world);
    world.delete_raw(&lengthen(key));
    if let Some(bytes) = bytes {
        world.put_raw(&lengthen(key), bytes);
    }
    let opened = world.open(&world.site()).map(|_| ()).unwrap_err();
    let read = world.run(recover(&world.site())).map(|_| ()).unwrap_err();
    assert_eq!(opened.to_string(), read.to_string());
    assert!(matches!(opened, LogError::Corrupt { .. } | LogError::NewerFormat { .. }), "{opened:?}");
    // Nobody was fenced by an opening that could not read what is there.
    world.commit(&log, &["d"]);
    opened.to_string()
}

fn raw(world: &World, key: &str) -> Vec<u8> {
    world.get_raw(&lengthen(key)).unwrap().to_vec()
}

fn reseal(bytes: &mut [u8]) {
    let front = record::checksum(&bytes[..120]).0.to_le_bytes();
    bytes[120..128].copy_from_slice(&front);
    let end = bytes.len() - 8;
    let whole = record::checksum(&bytes[..end]).0.to_le_bytes();
    bytes[end..].copy_from_slice(&whole);
}

#[test]
fn a_damaged_record_is_named_and_nothing_is_fenced() {
    let key = lengthen("log/1/1");
    let flipped = damaged("log/1/1", |world| {
        let mut bytes = raw(world, "log/1/1");
        bytes[150] ^= 1;
        Some(bytes.into())
    });
    assert!(flipped.starts_with(&format!("{key} is corrupt: expected checksum")), "{flipped}");
    let cut = damaged("log/1/1", |world| Some(raw(world, "log/1/1")[..140].to_vec().into()));
    assert!(cut.contains("a record of ") && cut.ends_with("found 140 bytes"), "{cut}");
    let empty = damaged("log/1/1", |_| Some(Bytes::new()));
    assert!(empty.ends_with("expected a header of 128 bytes, found 0 bytes"), "{empty}");
    let foreign = damaged("log/1/1", |_| Some(vec![7; 300].into()));
    assert!(foreign.ends_with("expected a record of the log, found another magic number"), "{foreign}");
    let newer = damaged("log/1/1", |world| {
        let mut bytes = raw(world, "log/1/1");
        bytes[8] = 9;
        reseal(&mut bytes);
        Some(bytes.into())
    });
    assert_eq!(newer, format!("{key} has format version 9; this software reads up to version 1"));
}

#[test]
fn rule_6_a_record_in_another_place_or_of_another_log_is_refused() {
    let swapped = damaged("log/1/1", |world| Some(raw(world, "log/1/2").into()));
    assert!(swapped.ends_with("expected slot 1/1, found 1/2"), "{swapped}");
    let chained = damaged("log/1/1", |world| {
        let mut bytes = raw(world, "log/1/1");
        bytes[96] ^= 1;
        reseal(&mut bytes);
        Some(bytes.into())
    });
    assert!(chained.contains("expected a record after checksum"), "{chained}");
    let renumbered = damaged("log/1/1", |world| {
        let mut bytes = raw(world, "log/1/1");
        (bytes[80], bytes[88]) = (7, 7);
        reseal(&mut bytes);
        Some(bytes.into())
    });
    assert!(renumbered.contains("expected commit 2 at"), "{renumbered}");
    let stranger = damaged("log/1/1", |world| {
        let mut bytes = raw(world, "log/1/1");
        bytes[16] ^= 1;
        reseal(&mut bytes);
        Some(bytes.into())
    });
    assert!(stranger.contains("a record of database dbdbdb"), "{stranger}");
}

#[test]
fn a_record_that_vanished_ends_the_walk_before_it_but_never_opens_over_it() {
    // Whoever deletes objects of the log by hand: the writer is alive, its records behind the gap are in the store.
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a", "b", "c"]);
    world.spoil(Kind::Get, "log/1/1", 2, Fault::Status(404));
    let error = world.run(recover(&world.site())).unwrap_err();
    assert!(matches!(error, LogError::Missing { .. }), "{error:?}");
}

#[test]
fn a_body_that_was_cut_on_its_way_is_not_taken_for_the_record() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a", "b"]);
    world.spoil(Kind::Get, "log/1/1", 1, Fault::Cut(60));
    assert!(matches!(world.run(recover(&world.site())), Err(LogError::Corrupt { .. })));
    assert_eq!(world.history(), ["a", "b"]);
}

fn parts_options() -> Options {
    Options { part_bytes: 1_000, ..Options::default() }
}

#[test]
fn rule_7_a_large_commit_goes_in_parts_before_its_record() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site_with(parts_options())).unwrap();
    let large: Bytes = (0..3_500_u32).map(|index| index.to_le_bytes()[0]).collect();
    world.requests();
    world.spoil(Kind::Put, "parts/1/2", 1, Fault::AppliedStatus(500));
    let lsns = [NewCommit::new("before"), NewCommit::new(large.clone()), NewCommit::new("after")]
        .map(|commit| log.append(commit).unwrap());
    assert!(world.run(log.wait_durable(lsns[2])).is_durable());
    let puts: Vec<String> =
        world.requests().into_iter().filter(|(kind, _)| *kind == Kind::Put).map(|put| put.1).collect();
    let place = |key: &str| puts.iter().position(|put| put == key).unwrap();
    for part in ["parts/1/0", "parts/1/1", "parts/1/2", "parts/1/3"] {
        assert!(place(part) < place("log/1/1"), "{puts:?}");
    }
    let recovered = world.run(recover(&world.site())).unwrap();
    let payloads: Vec<_> = recovered.commits.iter().map(|commit| commit.payload.clone()).collect();
    assert_eq!(payloads, [Bytes::from("before"), large, Bytes::from("after")]);
}

#[test]
fn rule_7_a_part_that_is_refused_leaves_its_commit_and_all_behind_not_applied() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site_with(parts_options())).unwrap();
    world.commit(&log, &["a"]);
    // Even an ambiguous end of a part is definite for the commit: its record was never sent.
    for (times, fault) in [(1, Fault::Status(500)), (1, Fault::Status(403))] {
        world.spoil(Kind::Put, "parts/1/1", times, fault);
    }
    let lsn = log.append(NewCommit::new(vec![1; 2_500])).unwrap();
    let behind = log.append(NewCommit::new("b")).unwrap();
    for lsn in [lsn, behind] {
        let outcome = world.run(log.wait_durable(lsn));
        assert!(matches!(outcome, Outcome::NotApplied(_)), "{outcome:?}");
    }
    assert!(!world.keys().contains(&"log/1/1".to_owned()));
    assert_eq!(world.history(), ["a"]);
}

#[test]
fn rule_7_a_part_that_is_missing_or_damaged_is_named() {
    for damage in [None, Some(5_usize), Some(200)] {
        let world = World::with_timeline();
        let (log, _) = world.open(&world.site_with(parts_options())).unwrap();
        let lsn = log.append(NewCommit::new(
            (0..2_500_u32).map(|index| (index * 7).to_le_bytes()[0]).collect::<Bytes>(),
        ));
        assert!(world.run(log.wait_durable(lsn.unwrap())).is_durable());
        let key = lengthen("parts/1/1");
        let mut bytes = world.get_raw(&key).unwrap().to_vec();
        world.delete_raw(&key);
        if let Some(at) = damage {
            bytes[at] ^= 1;
            world.put_raw(&key, bytes.into());
        }
        let error = world.run(recover(&world.site())).unwrap_err();
        assert!(error.to_string().starts_with(&key), "{error}");
    }
}

#[test]
fn rule_7_orphan_parts_go_only_when_their_epoch_lies_below_the_horizon() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site_with(parts_options())).unwrap();
    let kept = log.append(NewCommit::new(vec![1; 1_500])).unwrap();
    assert!(world.run(log.wait_durable(kept)).is_durable());
    world.stop_at(Point::AfterParts);
    log.append(NewCommit::new(vec![2; 1_500])).unwrap();
    world.pass(100 * MS);
    world.unhook();
    let parts = |world: &World| world.keys().iter().filter(|key| key.starts_with("parts")).count();
    assert_eq!(parts(&world), 4);
    // Its epoch is fenced now, but holds commits above the horizon.
    let (new, _) = world.open(&world.site()).unwrap();
    assert_eq!(world.run(collect(&world.site(), &[])).unwrap().parts, 0);
    world.commit(&new, &["b"]);
    let at = Some(new.durable_position());
    world.run(new.raise(Raise { floor: at, horizon: at })).unwrap();
    let collected = world.run(collect(&world.site(), &[])).unwrap();
    assert_eq!((collected.parts, parts(&world)), (4, 0));
    assert_eq!(collected.records, 2);
}

#[test]
fn rule_14_the_parts_of_what_a_pin_keeps_are_kept_though_it_is_merged_meanwhile() {
    use twill_commitlog_cas::{MergeOptions, Pinned, Reader, merge};
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site_with(parts_options())).unwrap();
    for payload in [1, 2, 3] {
        let lsn = log.append(NewCommit::new(vec![payload; 1_500])).unwrap();
        assert!(world.run(log.wait_durable(lsn)).is_durable());
    }
    let beginning = world.state().horizon;
    let (new, _) = world.open(&world.site()).unwrap();
    let at = Some(new.base());
    world.run(new.raise(Raise { floor: at, horizon: None })).unwrap();
    // A merge that began before the horizon was raised, and goes on while what is below is collected.
    let release = crate::opening::hold(&world, Point::BeforeMergedPut);
    let site = world.site();
    world.spawn(async move {
        let options = MergeOptions { records_min: 2, ..MergeOptions::default() };
        merge(&site, Position::default(), &options).await.unwrap();
    });
    world.pass(20 * MS);
    world.run(new.raise(Raise { floor: None, horizon: at })).unwrap();
    let all = [Pinned { first: Lsn::new(1), last: Lsn::new(3) }];
    // The collection lists the slots, but looks at them when they are merged and gone.
    world.latency(3 * MS);
    world.spoil(Kind::Get, "log/1/", 3, Fault::Slow(50 * MS));
    let site = world.site();
    world.spawn(async move {
        collect(&site, &all).await.unwrap();
    });
    world.pass(8 * MS);
    release.store(true, std::sync::atomic::Ordering::SeqCst);
    world.pass(200 * MS);
    world.latency(Duration::ZERO);
    let mut reader = Reader::new(&world.site(), beginning);
    let found = world.run(reader.next(Lsn::new(3))).unwrap();
    assert_eq!(found.iter().map(|commit| commit.payload.len()).collect::<Vec<_>>(), [1_500; 3]);
    // And with the pin everything goes.
    world.run(collect(&world.site(), &[])).unwrap();
    assert!(!world.keys().iter().any(|key| key.starts_with("parts")), "{:?}", world.keys());
}

const TOKEN: Token = Token([0x70; 16]);

fn golden_header(kind: RecordKind, slot: Slot, first: u64, last: u64) -> Header {
    Header {
        kind,
        has_parts: false,
        identity: Identity { ..IDENTITY },
        writer: if kind == RecordKind::Merged { WriterId::default() } else { WriterId([0x33; 16]) },
        slot,
        first: Lsn::new(first),
        last: Lsn::new(last),
        previous: Checksum(0x0102_0304_0506_0708),
        count: 0,
    }
}

/// One record of each kind and form, by the name of its fixture.
fn golden() -> Vec<(&'static str, Header, Body, Compression)> {
    let inline = |time, payload: Bytes| Entry {
        time: CommitTime(time),
        token: TOKEN,
        payload: Payload::Inline(payload),
    };
    let commits = Body::Commits(vec![
        inline(1_700_000_000_000_000, "one".into()),
        inline(1_700_000_000_000_001, Bytes::new()),
    ]);
    let packed = Body::Commits(vec![inline(1, vec![0xab; 400].into())]);
    let part = |number| PartReference { number, bytes: 1000, checksum: Checksum(0xfeed_0000 + number) };
    let in_parts = Body::Commits(vec![Entry {
        time: CommitTime(2),
        token: Token::default(),
        payload: Payload::Parts(vec![part(3), part(4)]),
    }]);
    let slot = Slot::new(2, 7);
    let commits_header = golden_header(RecordKind::Commits, slot, 41, 42);
    let merged = [slot, Slot::new(2, 8)].map(|slot| {
        let header = Header { slot, ..commits_header };
        record::encode(&header, &commits, Compression::None).unwrap().0
    });
    let fence = Fence { next: Epoch(3), time: CommitTime(5) };
    let sealed = |redirect| Body::Seal(Seal { redirect, time: CommitTime(6) });
    vec![
        ("commits", commits_header, commits, Compression::None),
        ("commits-lz4", golden_header(RecordKind::Commits, slot, 1, 1), packed, Compression::Lz4),
        ("commits-in-parts", golden_header(RecordKind::Commits, slot, 9, 9), in_parts, Compression::Lz4),
        ("fence", golden_header(RecordKind::Fence, slot, 42, 42), Body::Fence(fence), Compression::None),
        ("seal", golden_header(RecordKind::Seal, slot, 42, 42), sealed(None), Compression::None),
        (
            "seal-redirect",
            golden_header(RecordKind::Seal, slot, 42, 42),
            sealed(Some(TimelineId([0x99; 16]))),
            Compression::None,
        ),
        (
            "part",
            golden_header(RecordKind::Part, Slot::new(2, 3), 9, 9),
            Body::Part("piece".into()),
            Compression::None,
        ),
        (
            "merged",
            golden_header(RecordKind::Merged, Slot::new(2, 8), 41, 42),
            Body::Merged { first: Seq(7), records: merged.to_vec() },
            Compression::None,
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let line =
        |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ") + "\n";
    bytes.chunks(16).map(line).collect()
}

fn unhex(text: &str) -> Bytes {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn golden_records_are_written_and_read_as_ever() {
    for (name, header, body, compression) in golden() {
        let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let (bytes, checksum) = record::encode(&header, &body, compression).unwrap();
        if std::env::var_os("TWILL_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, hex(&bytes)).unwrap();
        }
        let fixture = unhex(&std::fs::read_to_string(&path).unwrap());
        let record = record::decode(name, &fixture).unwrap();
        assert_eq!((&record.body, record.checksum), (&body, checksum), "{name} reads differently");
        // Another LZ4 encoder may pack differently; readers do not care.
        if compression == Compression::None {
            assert_eq!(hex(&bytes), hex(&fixture), "{name} is written differently");
        }
    }
}

#[test]
fn the_golden_branch_record_is_read_as_ever() {
    let world = World::new();
    let path = format!("{}/tests/golden/branch-record.hex", env!("CARGO_MANIFEST_DIR"));
    let beginning = Position::beginning(Lsn::new(5));
    if std::env::var_os("TWILL_WRITE_GOLDEN").is_some() {
        world.run(world.register().create(Lsn::new(5), "the rest".into())).unwrap();
        std::fs::write(&path, hex(&world.get_raw("branches/main").unwrap())).unwrap();
    } else {
        world.put_raw("branches/main", unhex(&std::fs::read_to_string(&path).unwrap()));
    }
    use twill_commitlog_cas::{ObjectRegister, Register};
    let loaded = world.run(world.register().load()).unwrap();
    assert_eq!((loaded.state.floor, loaded.state.horizon), (beginning, beginning));
    assert_eq!(ObjectRegister::rest(&loaded), Bytes::from("the rest"));
    // The layers above change their part, the log its own; neither disturbs the other's.
    let swapped = world.run(world.register().swap_rest(loaded.clone(), "new rest".into())).unwrap();
    assert!(matches!(swapped, twill_commitlog_cas::Swapped::Done(_)));
    let (log, _) = world.open(&world.site()).unwrap();
    assert_eq!(world.commit(&log, &["a"]), Lsn::new(6));
    let now = world.run(world.register().load()).unwrap();
    assert_eq!((ObjectRegister::rest(&now), now.state.epoch), (Bytes::from("new rest"), Epoch(1)));
    let outdated = world.run(world.register().swap_rest(loaded, "lost".into())).unwrap();
    assert!(matches!(outdated, twill_commitlog_cas::Swapped::Changed));
}

#[test]
fn a_damaged_branch_record_is_refused() {
    let world = World::with_timeline();
    use twill_commitlog_cas::Register;
    let bytes = world.get_raw("branches/main").unwrap();
    for index in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[index] ^= 0x10;
        world.put_raw("branches/main", damaged.into());
        assert!(matches!(world.run(world.register().load()), Err(LogError::Corrupt { .. })), "byte {index}");
        world.put_raw("branches/main", bytes.slice(..index));
        assert!(
            matches!(world.run(world.register().load()), Err(LogError::Corrupt { .. })),
            "cut at {index}"
        );
    }
    world.delete_raw("branches/main");
    let error = world.run(world.register().load()).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "there is no branch record at branches/main");
}
