//! Rules 9, 14, 15, 17, 18: floor, merging, collection, seals, and who reads meanwhile.

use bytes::Bytes;
use twill_commitlog_cas::{
    Collected, Follower, LogError, MergeOptions, Merged, NewCommit, Outcome, Pinned, Point, Polling,
    Position, Raise, Reader, collect, collect_from, merge, raise,
};
use twill_types::{Lsn, TimelineId};

use crate::world::{Fault, Kind, MS, World, lengthen};

const SMALL: MergeOptions = MergeOptions { target_bytes: 4_000, records_min: 2, objects_max: 99 };

/// Three epochs of four commits each, the floor behind the tenth.
fn grown() -> (World, twill_commitlog_cas::Log) {
    let world = World::with_timeline();
    let mut number = 0;
    let mut log = None;
    for _ in 0..3 {
        let opened = world.open(&world.site()).unwrap().0;
        for _ in 0..4 {
            number += 1;
            world.commit(&opened, &[&format!("c{number}")]);
        }
        log = Some(opened);
    }
    let log = log.unwrap();
    let floor = log.boundary_at(Lsn::new(10));
    assert_eq!(floor.unwrap().lsn, Lsn::new(10));
    world.run(log.raise(Raise { floor, horizon: None })).unwrap();
    (world, log)
}

fn all() -> Vec<String> {
    (1..=12).map(|number| format!("c{number}")).collect()
}

/// The whole history, from where the record says it begins.
fn read_all(world: &World) -> Vec<String> {
    let mut reader = Reader::new(&world.site(), world.state().horizon);
    let mut found = Vec::new();
    loop {
        let batch = world.run(reader.next(Lsn::new(u64::MAX))).unwrap();
        if batch.is_empty() {
            return found;
        }
        found.extend(batch.iter().map(|commit| String::from_utf8(commit.payload.to_vec()).unwrap()));
    }
}

fn merge_all(world: &World) -> Merged {
    world.run(merge(&world.site(), Position::default(), &SMALL)).unwrap()
}

#[test]
fn rule_9_merging_publishes_before_it_deletes_and_keeps_fences() {
    let (world, log) = grown();
    world.requests();
    let merged = merge_all(&world);
    assert_eq!((merged.objects, merged.records, merged.next.lsn), (3, 10, Lsn::new(8)));
    let requests = world.requests();
    for (object, slots) in [("log/1/3.0", 0..4), ("log/2/3.0", 0..4)] {
        let published =
            requests.iter().position(|request| *request == (Kind::Put, object.to_owned())).unwrap();
        for seq in slots {
            let slot = format!("{}/{seq}", &object[..5]);
            let deleted =
                requests.iter().position(|request| *request == (Kind::Delete, slot.clone())).unwrap();
            assert!(published < deleted, "{requests:?}");
        }
    }
    assert_eq!(
        world.keys(),
        [
            "branches/main",
            "log/0/0",
            "log/1/3.0",
            "log/1/4",
            "log/2/3.0",
            "log/2/4",
            "log/3/1.0",
            "log/3/2",
            "log/3/3"
        ]
    );
    assert_eq!(read_all(&world), all());
    assert_eq!(world.history(), ["c11", "c12"]);
    world.commit(&log, &["c13"]);
    let (log, recovered) = world.open(&world.site()).unwrap();
    assert_eq!(recovered.commits.len(), 3);
    world.commit(&log, &["c14"]);
}

#[test]
fn merging_again_finds_nothing_to_do_and_reads_little() {
    let (world, _) = grown();
    let merged = merge_all(&world);
    world.requests();
    let again = world.run(merge(&world.site(), merged.next, &SMALL)).unwrap();
    assert_eq!((again.objects, again.records, again.leftovers), (0, 0, 0));
    assert!(!world.requests().iter().any(|(kind, _)| matches!(kind, Kind::Put | Kind::Delete)));
    assert_eq!(read_all(&world), all());
}

#[test]
fn nothing_above_the_floor_is_merged_or_collected() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a", "b", "c", "d"]);
    let before = world.keys();
    assert_eq!(merge_all(&world), Merged { next: world.state().horizon, ..Merged::default() });
    assert_eq!(world.run(collect(&world.site(), &[])).unwrap(), Collected::default());
    assert_eq!(world.keys(), before);
}

#[test]
fn rule_9_a_crash_at_any_point_of_merging_leaves_the_history_whole() {
    for at in [Point::BeforeMergedPut, Point::AfterMergedPut, Point::BeforeDelete, Point::AfterDelete] {
        for times in 0..6 {
            let (world, _) = grown();
            let mut left = times;
            world.hook(move |point| {
                let stops = point == at && left == 0;
                left -= i32::from(point == at);
                stops.then(|| Box::pin(std::future::pending::<()>()) as _)
            });
            let site = world.site();
            world.spawn(async move {
                drop(merge(&site, Position::default(), &SMALL).await);
            });
            world.pass(100 * MS);
            world.unhook();
            assert_eq!(read_all(&world), all(), "{at} {times}");
            assert_eq!(world.history(), ["c11", "c12"]);
            // The next one cleans up, and comes to the same end.
            merge_all(&world);
            assert_eq!(read_all(&world), all());
            let slots =
                world.keys().iter().filter(|key| key.starts_with("log/1/") && !key.contains('.')).count();
            assert_eq!(slots, 1, "only the fence of epoch 1 is left: {:?}", world.keys());
        }
    }
}

#[test]
fn rule_9_two_mergers_do_not_disturb_each_other() {
    let (world, _) = grown();
    for _ in 0..2 {
        let site = world.site();
        world.latency(3 * MS);
        world.spawn(async move {
            drop(merge(&site, Position::default(), &SMALL).await);
        });
        world.pass(4 * MS);
    }
    world.pass(1_000 * MS);
    assert_eq!(read_all(&world), all());
    merge_all(&world);
    assert_eq!(read_all(&world), all());
}

#[test]
fn rule_9_the_record_is_raised_before_anything_is_deleted_and_fences_and_seals_stay() {
    let (world, log) = grown();
    world.requests();
    let horizon = log.boundary_at(Lsn::new(10));
    assert!(matches!(
        world.run(raise(&world.site(), Raise { floor: None, horizon: Some(log.durable_position()) })),
        Err(LogError::Invalid { .. })
    ));
    assert!(matches!(
        world.run(log.raise(Raise {
            floor: Some(Position { lsn: Lsn::new(99), ..log.durable_position() }),
            horizon: None
        })),
        Err(LogError::Invalid { .. })
    ));
    world.run(raise(&world.site(), Raise { floor: None, horizon })).unwrap();
    assert!(!world.requests().iter().any(|(kind, _)| *kind == Kind::Delete));
    let collected = world.run(collect(&world.site(), &[])).unwrap();
    assert_eq!((collected.records, collected.kept), (10, 0));
    assert_eq!(world.keys(), ["branches/main", "log/0/0", "log/1/4", "log/2/4", "log/3/2", "log/3/3"]);
    assert_eq!(read_all(&world), ["c11", "c12"]);
    // A reader from before is told, not cheated.
    let mut reader = Reader::new(&world.site(), Position::beginning(Lsn::ZERO));
    let error = world.run(reader.next(Lsn::new(99))).unwrap_err();
    assert!(matches!(error, LogError::Expired { .. }), "{error:?}");
    // Floor and horizon never go back.
    let state = world.run(raise(
        &world.site(),
        Raise { floor: Some(Position::default()), horizon: Some(Position::default()) },
    ));
    assert_eq!(state.unwrap().floor.lsn, Lsn::new(10));
}

#[test]
fn rule_9_a_position_that_goes_back_is_refused() {
    // As a walk finds it that went over a superseded opener's fence: a later epoch, an earlier commit.
    let (world, log) = grown();
    let floor = world.state().floor;
    let astray = Position { slot: log.durable_position().slot.next_epoch(), lsn: Lsn::new(5), ..floor };
    for raised in [Raise { floor: Some(astray), horizon: None }, Raise { floor: None, horizon: Some(astray) }]
    {
        assert!(matches!(world.run(raise(&world.site(), raised)), Err(LogError::Invalid { .. })));
    }
    assert_eq!(world.state().floor, floor);
}

#[test]
fn a_collection_that_goes_on_from_the_last_one_does_not_look_at_old_fences_again() {
    let (world, log) = grown();
    let horizon = log.boundary_at(Lsn::new(10));
    world.run(raise(&world.site(), Raise { floor: None, horizon })).unwrap();
    world.run(collect(&world.site(), &[])).unwrap();
    world.requests();
    assert_eq!(world.run(collect_from(&world.site(), horizon.unwrap(), &[])).unwrap(), Collected::default());
    // The branch record, and the merged-away slots of the horizon's own epoch, of which nothing is left.
    assert_eq!(world.requests().iter().filter(|(kind, _)| *kind == Kind::Get).count(), 1);
}

#[test]
fn rule_14_what_a_pin_keeps_stays_and_goes_with_the_pin() {
    let (world, log) = grown();
    merge_all(&world);
    let horizon = log.boundary_at(Lsn::new(10));
    world.run(raise(&world.site(), Raise { floor: None, horizon })).unwrap();
    let pin = Pinned { first: Lsn::new(6), last: Lsn::new(7) };
    let collected = world.run(collect(&world.site(), &[pin])).unwrap();
    assert_eq!((collected.records, collected.kept), (2, 1));
    assert!(world.keys().contains(&"log/2/3.0".to_owned()));
    let collected = world.run(collect(&world.site(), &[])).unwrap();
    assert_eq!((collected.records, collected.kept), (1, 0));
}

#[test]
fn rule_9_collection_goes_on_after_a_crash_at_any_delete() {
    for at in [Point::BeforeDelete, Point::AfterDelete] {
        for times in 0..4 {
            let (world, log) = grown();
            let horizon = log.boundary_at(Lsn::new(10));
            world.run(raise(&world.site(), Raise { floor: None, horizon })).unwrap();
            let mut left = times;
            world.hook(move |point| {
                let stops = point == at && left == 0;
                left -= i32::from(point == at);
                stops.then(|| Box::pin(std::future::pending::<()>()) as _)
            });
            let site = world.site();
            world.spawn(async move {
                drop(collect(&site, &[]).await);
            });
            world.pass(100 * MS);
            world.unhook();
            assert_eq!(read_all(&world), ["c11", "c12"]);
            world.run(collect(&world.site(), &[])).unwrap();
            assert_eq!(
                world.keys(),
                ["branches/main", "log/0/0", "log/1/4", "log/2/4", "log/3/2", "log/3/3"]
            );
        }
    }
}

#[test]
fn rule_15_a_seal_ends_the_timeline_for_everybody() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a"]);
    let last = log.append(NewCommit::new("b")).unwrap();
    let to = TimelineId([9; 16]);
    world.run(log.seal(Some(to))).unwrap();
    assert!(log.outcome(last).unwrap().is_durable(), "what was appended before is durable first");
    let refused = log.append(NewCommit::new("c")).unwrap_err();
    assert!(
        matches!(refused, LogError::Sealed { redirect: Some(timeline) } if timeline == to),
        "{refused:?}"
    );
    let before = world.keys();
    let error = world.open(&world.site()).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), format!("the timeline is sealed; the branch goes on in timeline {to}"));
    assert_eq!(world.keys(), before, "nothing is ever put behind a seal");
    assert_eq!(world.history(), ["a", "b"]);
    world.run(log.close()).unwrap();
    // No floor gets behind it.
    assert_eq!(log.durable_position().slot, twill_commitlog_cas::Slot::new(1, 2));
    let at = Some(log.durable_position());
    world.run(raise(&world.site(), Raise { floor: at, horizon: at })).unwrap();
    world.run(collect(&world.site(), &[])).unwrap();
    assert_eq!(world.keys(), ["branches/main", "log/0/0", "log/1/2"]);
    assert!(matches!(world.open(&world.site()), Err(LogError::Sealed { .. })), "{:?}", world.keys());
}

#[test]
fn rule_15_a_fenced_writer_cannot_seal_and_an_opener_meets_a_seal_at_its_fence() {
    let world = World::with_timeline();
    let (old, _) = world.open(&world.site()).unwrap();
    let (new, _) = world.open(&world.site()).unwrap();
    let error = world.run(old.seal(None)).unwrap_err();
    assert!(matches!(error, LogError::Fenced { .. }), "{error:?}");
    let release = crate::opening::hold(&world, Point::BeforeFencePut);
    let (site, result) = (world.site(), std::sync::Arc::new(std::sync::Mutex::new(None)));
    let there = std::sync::Arc::clone(&result);
    world.spawn(async move {
        let opened = twill_commitlog_cas::Log::open(&site).await;
        *there.lock().unwrap() = Some(opened.map(|_| ()));
    });
    world.pass(5 * MS);
    world.commit(&new, &["a"]);
    world.run(new.seal(None)).unwrap();
    release.store(true, std::sync::atomic::Ordering::SeqCst);
    world.pass(50 * MS);
    assert!(matches!(result.lock().unwrap().take(), Some(Err(LogError::Sealed { redirect: None }))));
}

#[test]
fn a_seal_with_a_lost_reply_is_settled_and_a_refused_one_is_told() {
    for (fault, sealed) in
        [(Fault::AppliedStatus(500), true), (Fault::ReplyLost, true), (Fault::Status(403), false)]
    {
        let world = World::with_timeline();
        let (log, _) = world.open(&world.site()).unwrap();
        world.spoil(Kind::Put, "log/1/0", 1, fault);
        assert_eq!(world.run(log.seal(None)).is_ok(), sealed, "{fault:?}");
        assert_eq!(matches!(world.open(&world.site()), Err(LogError::Sealed { .. })), sealed, "{fault:?}");
    }
}

fn payloads(commits: &[twill_commitlog_cas::Commit]) -> Vec<Bytes> {
    commits.iter().map(|commit| commit.payload.clone()).collect()
}

#[test]
fn rule_18_a_follower_sees_each_commit_once_across_fences_and_ends_at_a_seal() {
    let world = World::with_timeline();
    let mut follower = Follower::new(&world.site(), world.state().floor, Polling::Every(100 * MS));
    assert_eq!(world.run(follower.advance()).unwrap(), []);
    let (old, _) = world.open(&world.site()).unwrap();
    world.commit(&old, &["a", "b"]);
    assert_eq!(payloads(&world.run(follower.changed()).unwrap()), ["a", "b"]);
    let (new, _) = world.open(&world.site()).unwrap();
    assert_eq!(world.run(follower.advance()).unwrap(), []);
    world.commit(&new, &["c"]);
    assert_eq!(payloads(&world.run(follower.changed()).unwrap()), ["c"]);
    assert_eq!(follower.position(), new.durable_position());
    world.commit(&new, &["d"]);
    world.run(new.seal(None)).unwrap();
    assert_eq!(payloads(&world.run(follower.advance()).unwrap()), ["d"]);
    assert!(matches!(world.run(follower.advance()), Err(LogError::Sealed { .. })));
    assert!(matches!(world.run(follower.changed()), Err(LogError::Sealed { .. })));
}

#[test]
fn rule_18_a_follower_finds_what_was_merged_away_and_is_told_when_it_was_left_behind() {
    let (world, log) = grown();
    let mut slow = Follower::new(&world.site(), Position::beginning(Lsn::ZERO), Polling::Never);
    let mut behind = Follower::new(&world.site(), log.boundary_at(Lsn::new(10)).unwrap(), Polling::Never);
    merge_all(&world);
    let found = world.run(slow.advance()).unwrap();
    assert_eq!(
        payloads(&found),
        all().iter().map(|payload| Bytes::from(payload.clone())).collect::<Vec<_>>()
    );
    world.commit(&log, &["c13"]);
    let at = Some(log.durable_position());
    world.run(log.raise(Raise { floor: at, horizon: at })).unwrap();
    world.run(collect(&world.site(), &[])).unwrap();
    let error = world.run(behind.advance()).unwrap_err();
    assert!(matches!(error, LogError::Expired { .. }), "{error:?}");
    assert!(matches!(world.run(slow.advance()), Err(LogError::Expired { .. })));
    let mut fresh = Follower::new(&world.site(), world.state().floor, Polling::Never);
    world.commit(&log, &["c14"]);
    assert_eq!(payloads(&world.run(fresh.advance()).unwrap()), ["c14"]);
}

#[test]
fn rule_18_a_follower_does_not_stay_behind_a_superseded_fence() {
    let (world, log) = grown();
    // It has read up to commit 9; the slots behind are merged away, and somebody fences the empty place.
    let nine = log.boundary_at(Lsn::new(10)).unwrap();
    let mut follower = Follower::new(&world.site(), Position::beginning(Lsn::ZERO), Polling::Never);
    let fence = world.get_raw(&lengthen("log/2/4")).unwrap();
    merge_all(&world);
    // A record that is right in itself: a fence of slot 2/4 is not one of 2/1, so the walk must not even read it.
    world.put_raw(&lengthen("log/2/1"), fence);
    assert_eq!(world.run(follower.advance()).unwrap().len(), 12);
    assert_eq!(follower.position(), log.durable_position());
    assert!(nine.slot < follower.position().slot);
}

#[test]
fn a_reader_stops_where_it_is_told_and_goes_on_from_there() {
    let (world, _) = grown();
    let mut reader = Reader::new(&world.site(), Position::beginning(Lsn::ZERO));
    for to in [3, 3, 4, 9, 12, 12] {
        let mut last = reader.position().lsn;
        loop {
            let batch = world.run(reader.next(Lsn::new(to))).unwrap();
            let Some(commit) = batch.last() else { break };
            last = commit.lsn;
        }
        assert_eq!((last, reader.position().lsn), (Lsn::new(to), Lsn::new(to)));
    }
}

#[test]
fn rule_17_reading_writes_nothing() {
    let (world, _) = grown();
    world.requests();
    read_all(&world);
    world.history();
    let mut follower = Follower::new(&world.site(), Position::beginning(Lsn::ZERO), Polling::Never);
    world.run(follower.advance()).unwrap();
    assert!(world.requests().iter().all(|(kind, _)| matches!(kind, Kind::Get | Kind::List)));
}

/// A process that dies at each point of its work, one after another, over one timeline.
#[test]
fn a_crash_at_every_point_keeps_what_was_acknowledged() {
    let mut reached = std::collections::BTreeSet::new();
    for at in Point::ALL {
        let world = World::with_timeline();
        let options = twill_commitlog_cas::Options { part_bytes: 50, ..Default::default() };
        let (log, _) = world.open(&world.site_with(options.clone())).unwrap();
        world.commit(&log, &["a", "b", "c"]);
        world.hook({
            let at = *at;
            move |point| (point == at).then(|| Box::pin(std::future::pending::<()>()) as _)
        });
        let acknowledged = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (site, told) = (world.site_with(options), std::sync::Arc::clone(&acknowledged));
        let process = async move {
            let opened = twill_commitlog_cas::Log::open(&site).await?;
            let log = opened.log;
            let work = async {
                for payload in ["d".to_owned(), "e".repeat(120), "f".to_owned()] {
                    let lsn = log.append(NewCommit::new(payload.clone()))?;
                    if let Outcome::Durable = log.wait_durable(lsn).await {
                        told.lock().unwrap().push(payload);
                    }
                }
                let state = log.raise(Raise { floor: log.boundary_at(Lsn::new(6)), horizon: None }).await?;
                merge(&site, state.horizon, &SMALL).await?;
                log.raise(Raise { floor: None, horizon: log.boundary_at(Lsn::new(2)) }).await?;
                collect(&site, &[]).await?;
                log.seal(None).await
            };
            futures_util::pin_mut!(work);
            match futures_util::future::select(work, opened.driver).await {
                futures_util::future::Either::Left((done, _)) => done,
                futures_util::future::Either::Right(((), work)) => work.await,
            }
        };
        let finished = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let there = std::sync::Arc::clone(&finished);
        world.spawn(async move {
            process.await.unwrap();
            there.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        world.pass(60_000 * MS);
        if !finished.load(std::sync::atomic::Ordering::SeqCst) {
            reached.insert(at.name());
        }
        world.unhook();
        let mut expect = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        expect.extend(acknowledged.lock().unwrap().iter().cloned());
        let found = read_all(&world);
        let gone = usize::try_from(world.state().horizon.lsn.get()).unwrap();
        assert!(found.len() + gone >= expect.len(), "{at}: {found:?} does not hold {expect:?}");
        assert!(
            expect.iter().skip(gone).zip(&found).all(|(expect, found)| expect == found),
            "{at}: {found:?}"
        );
        match world.open(&world.site()) {
            Ok((log, _)) => drop(world.commit(&log, &["z"])),
            Err(LogError::Sealed { .. }) => {
                assert!(matches!(at, Point::AfterSealPut | Point::BeforeReadBack), "{at}")
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
    let unreached: Vec<_> =
        Point::ALL.iter().map(|point| point.name()).filter(|name| !reached.contains(name)).collect();
    assert_eq!(unreached, ["before_read_back"], "only an answer that says the slot is taken leads there");
}
