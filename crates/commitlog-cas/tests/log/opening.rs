//! Rules 2, 3, 4, 8: fences, epochs, and openers that stall.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use twill_commitlog_cas::{
    Environment, Log, LogError, LogState, MergeOptions, NewCommit, Opening, Options, Outcome, Point,
    Position, Raise, Register, Slot, Spacing, merge, raise,
};
use twill_types::{Epoch, Lsn};

use crate::world::{Fault, Kind, MS, PUT_TIME, World, lengthen};

/// Stops whoever comes to `at` first, until the result is set.
pub fn hold(world: &World, at: Point) -> Arc<AtomicBool> {
    let release = Arc::new(AtomicBool::new(false));
    let (held, hooked, released) = (AtomicBool::new(false), world.clone(), Arc::clone(&release));
    world.hook(move |point| {
        if point != at || held.swap(true, Ordering::SeqCst) {
            return None;
        }
        let (world, released) = (hooked.clone(), Arc::clone(&released));
        Some(Box::pin(async move {
            while !released.load(Ordering::SeqCst) {
                world.sleep(MS).await;
            }
        }))
    });
    release
}

/// Begins an opening in the background; the result is there when it is done.
fn begin(world: &World) -> Arc<std::sync::Mutex<Option<Result<Opening, LogError>>>> {
    let result = Arc::new(std::sync::Mutex::new(None));
    let (site, there) = (world.site(), Arc::clone(&result));
    world.spawn(async move {
        let opening = Opening::begin(&site).await;
        *there.lock().unwrap() = Some(opening);
    });
    world.pass(20 * MS);
    result
}

fn done(
    world: &World,
    release: &AtomicBool,
    result: &std::sync::Mutex<Option<Result<Opening, LogError>>>,
) -> Opening {
    release.store(true, Ordering::SeqCst);
    world.pass(50 * MS);
    result.lock().unwrap().take().unwrap().unwrap()
}

#[test]
fn a_new_timeline_begins_in_epoch_one_and_a_reopened_one_goes_on() {
    let world = World::with_timeline();
    assert_eq!(world.history(), Vec::<String>::new());
    let (log, recovered) = world.open(&world.site()).unwrap();
    assert_eq!((log.epoch(), log.appended_lsn(), recovered.commits.len()), (Epoch(1), Lsn::ZERO, 0));
    assert_eq!(world.commit(&log, &["a", "b"]), Lsn::new(2));
    let (log, recovered) = world.open(&world.site()).unwrap();
    let payloads: Vec<_> = recovered.commits.iter().map(|commit| commit.payload.clone()).collect();
    assert_eq!((log.epoch(), payloads), (Epoch(2), vec![Bytes::from("a"), Bytes::from("b")]));
    assert_eq!(world.commit(&log, &["c"]), Lsn::new(3));
    assert_eq!(world.keys(), ["branches/main", "log/0/0", "log/1/0", "log/1/1", "log/1/2", "log/2/0"]);
    assert_eq!(world.state().epoch, Epoch(2));
}

#[test]
fn rule_2_what_lies_behind_a_fence_is_void_though_it_was_created() {
    let world = World::with_timeline();
    let backoff_first = 2_000 * MS;
    let options = Options { spacing: Spacing::Fixed(MS), backoff_first, ..Options::default() };
    let (old, _) = world.open(&world.site_with(options)).unwrap();
    world.commit(&old, &["a"]);
    // The PUT of slot 1 is on its way for long; slot 2 and 3 are there at once.
    world.spoil(Kind::Put, "log/1/1", 1, Fault::Late(10_000 * MS));
    world.latency(5 * MS);
    let appended: Vec<Lsn> = ["b", "c", "d"]
        .map(|payload| {
            let lsn = old.append(NewCommit::new(payload)).unwrap();
            world.pass(2 * MS);
            lsn
        })
        .to_vec();
    world.pass(10 * MS);
    assert!(world.keys().contains(&"log/1/3".to_owned()) && !world.keys().contains(&"log/1/1".to_owned()));
    // The fence goes to the first free slot, not behind the last listed one.
    let (new, recovered) = world.open(&world.site()).unwrap();
    assert_eq!((new.epoch(), recovered.commits.len(), new.appended_lsn()), (Epoch(2), 1, Lsn::new(1)));
    world.commit(&new, &["B", "C"]);
    for lsn in &appended {
        let outcome = world.run(old.wait_durable(*lsn));
        assert!(matches!(outcome, Outcome::Fenced(_)), "{lsn}: {outcome:?}");
    }
    let LogError::Fenced { slot, epoch, by } = old.failure().unwrap() else { panic!() };
    assert_eq!((slot, epoch, by), (Slot::new(1, 1), Epoch(2), new.writer()));
    world.pass(20_000 * MS);
    assert_eq!(world.history(), ["a", "B", "C"]);
}

#[test]
fn rule_2_epochs_in_vain_leave_nothing_to_walk() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a"]);
    let floor = Some(log.durable_position());
    world.run(log.raise(Raise { floor, horizon: None })).unwrap();
    for _ in 0..30 {
        world.open(&world.site()).unwrap();
    }
    world.requests();
    let (log, _) = world.open(&world.site()).unwrap();
    assert!(world.requests().len() <= 5);
    assert_eq!(log.epoch(), Epoch(32));
    assert_eq!(world.commit(&log, &["b"]), Lsn::new(2));
}

#[test]
fn rule_3_the_epoch_is_derived_from_the_log_whatever_the_record_says() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a"]);
    let register = world.register();
    let loaded = world.run(register.load()).unwrap();
    let lie = LogState { epoch: Epoch(77), ..loaded.state };
    world.run(register.swap(loaded.version, lie)).unwrap();
    let (log, recovered) = world.open(&world.site()).unwrap();
    assert_eq!((log.epoch(), recovered.commits.len()), (Epoch(2), 1));
    assert_eq!(world.state().epoch, Epoch(2));
}

#[test]
fn rule_3_an_opener_that_finds_a_fence_where_it_wanted_its_own_goes_on_to_the_next_epoch() {
    let world = World::with_timeline();
    let release = hold(&world, Point::BeforeFencePut);
    let slow = begin(&world);
    let (fast, _) = world.open(&world.site()).unwrap();
    world.commit(&fast, &["a", "b"]);
    let opening = done(&world, &release, &slow);
    assert_eq!((opening.epoch(), opening.recovered().commits.len()), (Epoch(2), 2));
    // The other one confirmed itself meanwhile.
    assert!(matches!(world.run(opening.confirm()), Err(LogError::Superseded)));
    let (log, recovered) = world.open(&world.site()).unwrap();
    assert_eq!((log.epoch(), recovered.commits.len()), (Epoch(3), 2));
}

#[test]
fn rule_4_the_fence_goes_behind_what_was_committed_after_the_list() {
    let world = World::with_timeline();
    let (old, _) = world.open(&world.site()).unwrap();
    world.commit(&old, &["a"]);
    let release = hold(&world, Point::BeforeFencePut);
    let opening = begin(&world);
    world.commit(&old, &["b", "c", "d"]);
    let opening = done(&world, &release, &opening);
    assert_eq!((opening.recovered().commits.len(), opening.epoch()), (4, Epoch(2)));
    let opened = world.run(opening.confirm()).unwrap();
    world.drive(opened.driver);
    world.commit(&opened.log, &["e"]);
    let late = old.append(NewCommit::new("x")).unwrap();
    assert!(matches!(world.run(old.wait_durable(late)), Outcome::Fenced(_)));
    assert_eq!(world.history(), ["a", "b", "c", "d", "e"]);
}

#[test]
fn rule_4_a_busy_writer_cannot_run_away_from_an_opener() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let options = Options { spacing: Spacing::Fixed(MS), ..Options::default() };
    let (old, _) = world.open(&world.site_with(options)).unwrap();
    let acknowledged = Arc::new(std::sync::Mutex::new(Lsn::ZERO));
    for _ in 0..64 {
        let (old, acknowledged): (Log, _) = (old.clone(), Arc::clone(&acknowledged));
        world.spawn(async move {
            while let Ok(lsn) = old.append(NewCommit::new("x")) {
                if old.wait_durable(lsn).await.is_durable() {
                    let mut acknowledged = acknowledged.lock().unwrap();
                    *acknowledged = (*acknowledged).max(lsn);
                }
            }
        });
    }
    world.pass(20 * PUT_TIME);
    let began = world.now();
    let (new, _) = world.open(&world.site()).unwrap();
    let took = world.now() - began;
    assert!(took < 30 * PUT_TIME, "{took:?}");
    world.pass(20 * PUT_TIME);
    assert!(matches!(old.failure(), Some(LogError::Fenced { .. })));
    let last = *acknowledged.lock().unwrap();
    assert!(new.appended_lsn() >= last && last > Lsn::new(100));
    assert_eq!(world.commit(&new, &["y"]), new.base().lsn.next());
    assert_eq!(world.history().len() as u64, new.appended_lsn().get());
}

#[test]
fn rule_8_an_opener_that_stalled_while_the_log_was_merged_and_cut_starts_again() {
    let world = World::with_timeline();
    let (old, _) = world.open(&world.site()).unwrap();
    world.commit(&old, &["a", "b"]);
    let release = hold(&world, Point::BeforeFencePut);
    let stalled = begin(&world);
    // The writer goes on; its log is applied, merged, and the slots are gone.
    world.commit(&old, &["c", "d", "e", "f"]);
    let floor = Some(old.durable_position());
    world.run(old.raise(Raise { floor, horizon: None })).unwrap();
    let options = MergeOptions { records_min: 2, ..MergeOptions::default() };
    let merged = world.run(merge(&world.site(), Position::default(), &options)).unwrap();
    assert_eq!((merged.objects, merged.records), (1, 6));
    world.commit(&old, &["g"]);
    // The opener comes back, and its fence goes into an empty place in the middle of the history.
    let opening = done(&world, &release, &stalled);
    assert!(world.keys().contains(&"log/1/2".to_owned()), "{:?}", world.keys());
    assert_eq!(opening.epoch(), Epoch(2));
    assert!(matches!(world.run(opening.confirm()), Err(LogError::Superseded)));
    // Nothing happened to the writer, nor to who reads the history, nor to who opens now.
    world.commit(&old, &["h"]);
    let mut reader = twill_commitlog_cas::Reader::new(&world.site(), Position::beginning(Lsn::ZERO));
    let mut history = Vec::new();
    loop {
        let batch = world.run(reader.next(Lsn::new(99))).unwrap();
        if batch.is_empty() {
            break;
        }
        history.extend(batch.iter().map(|commit| String::from_utf8(commit.payload.to_vec()).unwrap()));
    }
    assert_eq!(history, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    let (new, recovered) = world.open(&world.site()).unwrap();
    assert_eq!((new.epoch(), recovered.commits.len(), new.appended_lsn()), (Epoch(2), 2, Lsn::new(8)));
    world.commit(&new, &["i"]);
}

#[test]
fn rule_8_openers_misled_by_such_a_fence_disturb_nobody_for_long() {
    // Two stalled openers: the second fences the epoch that the first believes to own.
    let world = World::with_timeline();
    let (old, _) = world.open(&world.site()).unwrap();
    world.commit(&old, &["a", "b"]);
    let release = hold(&world, Point::BeforeFencePut);
    let first = begin(&world);
    let register = world.register();
    let stale = world.run(register.load()).unwrap();
    world.commit(&old, &["c", "d"]);
    world.run(old.raise(Raise { floor: Some(old.durable_position()), horizon: None })).unwrap();
    let options = MergeOptions { records_min: 2, ..MergeOptions::default() };
    world.run(merge(&world.site(), Position::default(), &options)).unwrap();
    let first = done(&world, &release, &first);
    // As if it had loaded the record before the floor was raised.
    let misled = twill_commitlog_cas::Site { register: Arc::new(Stale(stale)), ..world.site() };
    world.delete_raw(&lengthen("log/1/3.0"));
    let second = world.run(Opening::begin(&misled));
    drop(second);
    world.commit(&old, &["e"]);
    assert!(matches!(world.run(first.confirm()), Err(LogError::Superseded)));
    let (new, _) = world.open(&world.site()).unwrap();
    assert!(new.appended_lsn() == Lsn::new(5));
    let lsn = new.append(NewCommit::new("f")).unwrap();
    let outcome = world.run(new.wait_durable(lsn));
    // It may find the misled opener's fence in its first slot. Then it was fenced, and one more opening goes on.
    if !outcome.is_durable() {
        assert!(matches!(outcome, Outcome::Fenced(_)), "{outcome:?}");
        let (new, recovered) = world.open(&world.site()).unwrap();
        assert_eq!(recovered.end.lsn, Lsn::new(5));
        world.commit(&new, &["f"]);
    }
    assert_eq!(world.history().last().unwrap(), "f");
}

/// A register that answers what it answered once.
struct Stale(twill_commitlog_cas::Loaded);

impl Register for Stale {
    fn load(&self) -> futures_util::future::BoxFuture<'_, Result<twill_commitlog_cas::Loaded, LogError>> {
        let loaded = self.0.clone();
        Box::pin(async move { Ok(loaded) })
    }

    fn swap(
        &self,
        _: twill_commitlog_cas::Version,
        _: LogState,
    ) -> futures_util::future::BoxFuture<'_, Result<twill_commitlog_cas::Swapped, LogError>> {
        Box::pin(async { Ok(twill_commitlog_cas::Swapped::Changed) })
    }
}

#[test]
fn rule_8_nothing_is_sent_to_the_new_epoch_before_the_record_is_swapped() {
    let world = World::with_timeline();
    let release = hold(&world, Point::BeforeRecordPut);
    let opened = Arc::new(AtomicBool::new(false));
    let (site, there) = (world.site(), Arc::clone(&opened));
    world.spawn(async move {
        drop(Log::open(&site).await.unwrap());
        there.store(true, Ordering::SeqCst);
    });
    world.pass(1_000 * MS);
    assert!(!opened.load(Ordering::SeqCst));
    assert_eq!(world.keys(), ["branches/main", "log/0/0"]);
    release.store(true, Ordering::SeqCst);
    world.pass(10 * MS);
    assert!(opened.load(Ordering::SeqCst));
}

#[test]
fn rule_8_a_lost_reply_of_the_swap_is_settled_by_the_stamp() {
    for fault in [
        Fault::ReplyLost,
        Fault::AppliedStatus(500),
        Fault::AppliedStatus(409),
        Fault::Status(409),
        Fault::Lost,
        Fault::Late(3 * MS),
    ] {
        let world = World::with_timeline();
        world.spoil(Kind::Put, "branches/main", 1, fault);
        let (log, _) = world.open(&world.site()).unwrap();
        world.commit(&log, &["a"]);
        assert_eq!(world.state().writer, log.writer(), "{fault:?}");
    }
}

#[test]
fn a_late_swap_that_was_overtaken_changes_nothing() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a", "b"]);
    let floors = [log.boundary_at(Lsn::new(1)), log.boundary_at(Lsn::new(2))];
    world.spoil(Kind::Put, "branches/main", 1, Fault::Late(5_000 * MS));
    for floor in floors {
        world.run(raise(&world.site(), Raise { floor, horizon: None })).unwrap();
    }
    world.pass(10_000 * MS);
    assert_eq!(world.state().floor.lsn, Lsn::new(2));
}

#[test]
fn a_walk_that_a_list_cut_in_two_is_closed_by_another() {
    // A fence is created behind the LIST's back, and so is what follows it.
    let world = World::with_timeline();
    let (old, _) = world.open(&world.site()).unwrap();
    world.commit(&old, &["a"]);
    let (new, _) = world.open(&world.site()).unwrap();
    world.commit(&new, &["b"]);
    let fence = world.get_raw(&lengthen("log/1/1")).unwrap();
    world.delete_raw(&lengthen("log/1/1"));
    let world2 = world.clone();
    let mut fence = Some(fence);
    world.hook(move |point| {
        if point == Point::AfterList
            && let Some(fence) = fence.take()
        {
            let world = world2.clone();
            return Some(Box::pin(async move {
                let key = object_store::path::Path::from(lengthen("log/1/1"));
                object_store::ObjectStoreExt::put(world.bucket(), &key, fence.into()).await.unwrap();
            }));
        }
        None
    });
    assert_eq!(world.history(), ["a", "b"]);
}
