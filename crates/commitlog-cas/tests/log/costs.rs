//! What the log costs, in requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{Either, select};
use twill_commitlog_cas::{Environment, Follower, Log, NewCommit, Polling};

use crate::world::{Kind, MS, PUT_TIME, World};

#[test]
fn a_lone_append_is_one_put_and_no_other_request() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let (log, _) = world.open(&world.site()).unwrap();
    world.requests();
    for payload in ["first", "second", "third"] {
        world.commit(&log, &[payload]);
        assert_eq!(world.count(), BTreeMap::from([(Kind::Put, 1)]), "{payload}");
    }
    assert_eq!(world.history(), ["first", "second", "third"]);
}

#[test]
fn an_open_log_and_a_closing_one_send_nothing() {
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["one"]);
    world.requests();
    world.pass(100_000 * MS);
    world.run(log.close()).unwrap();
    assert_eq!(world.requests(), []);
}

#[test]
fn an_open_with_nothing_to_replay_is_four_requests_however_many_epochs_there_were() {
    let world = World::with_timeline();
    for _ in 0..20 {
        world.requests();
        world.open(&world.site()).unwrap();
        // Branch record, LIST, fence, branch record.
        assert_eq!(world.count(), BTreeMap::from([(Kind::Get, 1), (Kind::List, 1), (Kind::Put, 2)]));
    }
}

/// Appends and waits, again and again, from `appenders` tasks; gives commits and PUTs of the steady state.
fn closed_loop(appenders: usize) -> (usize, usize) {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let (log, _) = world.open(&world.site()).unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    for _ in 0..appenders {
        let (log, commits): (Log, _) = (log.clone(), Arc::clone(&commits));
        world.spawn(async move {
            loop {
                let lsn = log.append(NewCommit::new("x")).unwrap();
                assert!(log.wait_durable(lsn).await.is_durable());
                commits.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    world.pass(20 * PUT_TIME);
    world.requests();
    let before = commits.load(Ordering::SeqCst);
    world.pass(200 * PUT_TIME);
    let count = world.count();
    assert_eq!(count.keys().collect::<Vec<_>>(), [&Kind::Put], "nothing but PUTs in the steady state");
    (commits.load(Ordering::SeqCst) - before, count[&Kind::Put])
}

#[test]
fn sixty_four_appenders_share_puts() {
    let (commits, puts) = closed_loop(64);
    assert!(commits >= 5 * puts, "{commits} commits in {puts} PUTs");
    // 200 round trips: one writer alone would have committed 200 times.
    assert!(commits >= 40 * 200, "{commits} commits in 200 round trips");
}

#[test]
fn one_appender_commits_once_per_round_trip() {
    let (commits, puts) = closed_loop(1);
    assert_eq!((commits, puts), (200, 200));
}

#[test]
fn rule_18_a_follower_that_is_told_not_to_poll_sends_nothing() {
    let world = World::with_timeline();
    let (log, recovered) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a", "b"]);
    world.requests();
    let mut follower = Follower::new(&world.site(), recovered.end, Polling::Never);
    let waited = world.run(async {
        let sleep = world.sleep(1_000_000 * MS);
        matches!(select(Box::pin(follower.changed()), sleep).await, Either::Right(_))
    });
    assert!(waited);
    assert_eq!(world.requests(), []);
    assert_eq!(world.run(follower.advance()).unwrap().len(), 2);
}

#[test]
fn rule_18_a_look_in_vain_is_one_get() {
    let world = World::with_timeline();
    let (log, recovered) = world.open(&world.site()).unwrap();
    let mut follower = Follower::new(&world.site(), recovered.end, Polling::Never);
    assert_eq!(world.run(follower.advance()).unwrap(), []);
    world.requests();
    for _ in 0..7 {
        assert_eq!(world.run(follower.advance()).unwrap(), []);
        assert_eq!(world.count(), BTreeMap::from([(Kind::Get, 1)]));
    }
    world.run(follower.advance()).unwrap();
    assert_eq!(world.count().get(&Kind::List), Some(&1), "now and then it looks around");
    world.commit(&log, &["a"]);
    assert_eq!(world.run(follower.advance()).unwrap().len(), 1);
}
