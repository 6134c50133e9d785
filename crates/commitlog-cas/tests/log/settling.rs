//! Rules 1, 4, 5: what becomes of a commit under each answer of the store.

use twill_commitlog_cas::{LogError, NewCommit, Options, Outcome, Spacing, Verdict};
use twill_types::Lsn;

use crate::world::{Fault, Kind, MS, PUT_TIME, World};

fn named(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Durable => "durable",
        Outcome::NotApplied(_) => "not applied",
        Outcome::Fenced(_) => "fenced",
        Outcome::Indeterminate(_) => "indeterminate",
    }
}

/// Spoils the PUT of one commit between two others, and checks each outcome, and what a reopening finds.
fn check(puts: &[(usize, Fault)], gets: &[(usize, Fault)], expect: [&str; 2], history: &[&str]) {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let options = Options { spacing: Spacing::Fixed(MS), ..Options::default() };
    let (log, _) = world.open(&world.site_with(options)).unwrap();
    world.commit(&log, &["a"]);
    for (times, fault) in puts {
        world.spoil(Kind::Put, "log/1/1", *times, *fault);
    }
    for (times, fault) in gets {
        world.spoil(Kind::Get, "log/1/1", *times, *fault);
    }
    let b = log.append(NewCommit::new("b")).unwrap();
    world.pass(2 * MS);
    let c = log.append(NewCommit::new("c")).unwrap();
    let outcomes = [world.run(log.wait_durable(b)), world.run(log.wait_durable(c))];
    assert_eq!(outcomes.each_ref().map(named), expect, "{puts:?} {gets:?}: {outcomes:?}");
    let again = [b, c].map(|lsn| named(&log.outcome(lsn).unwrap()));
    assert_eq!(again, expect, "asked again it says the same");
    if expect != ["durable"; 2] {
        let refused = log.append(NewCommit::new("d")).unwrap_err();
        assert!(matches!(refused, LogError::Poisoned { .. }), "{refused:?}");
        assert!(world.run(log.close()).is_err());
    }
    world.heal();
    let (_, recovered) = world.open(&world.site()).unwrap();
    let found: Vec<_> = recovered.commits.iter().map(|commit| commit.payload.clone()).collect();
    assert_eq!(found, history, "{puts:?} {gets:?}");
    world.pass(100_000 * MS);
    assert_eq!(world.history(), history, "late requests change nothing");
}

const DURABLE: [&str; 2] = ["durable"; 2];
const NOT_APPLIED: [&str; 2] = ["not applied"; 2];
const INDETERMINATE: [&str; 2] = ["indeterminate"; 2];
const ALL: &[&str] = &["a", "b", "c"];

#[test]
fn rule_5_an_ambiguous_attempt_is_repeated_in_its_slot_until_it_is_own() {
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(408),
        Fault::Status(0),
        Fault::Status(1),
        Fault::AppliedStatus(500),
        Fault::AppliedStatus(503),
        Fault::AppliedStatus(0),
        Fault::ReplyLost,
        Fault::Lost,
        Fault::Slow(8_000 * MS),
        Fault::Twice(10 * MS),
    ] {
        check(&[(1, fault)], &[], DURABLE, ALL);
        check(&[(3, fault)], &[], DURABLE, ALL);
    }
}

#[test]
fn rule_5_a_409_without_an_object_is_tried_again_and_one_with_it_is_read_back() {
    check(&[(2, Fault::Status(409))], &[], DURABLE, ALL);
    check(&[(1, Fault::AppliedStatus(409))], &[], DURABLE, ALL);
    check(&[(1, Fault::AppliedStatus(500))], &[(2, Fault::Status(503))], DURABLE, ALL);
    check(&[(1, Fault::ReplyLost)], &[(1, Fault::Lost)], DURABLE, ALL);
}

#[test]
fn rule_5_a_definite_refusal_means_not_applied_and_so_is_what_came_behind() {
    for status in [400, 401, 403, 404] {
        check(&[(1, Fault::Status(status))], &[], NOT_APPLIED, &["a"]);
    }
    // Neither 429 nor a refused connection wrote anything, however often.
    check(&[(2, Fault::Status(429)), (1, Fault::Status(403))], &[], NOT_APPLIED, &["a"]);
    check(&[(9999, Fault::Status(429))], &[], NOT_APPLIED, &["a"]);
    check(&[(9999, Fault::Status(1))], &[], NOT_APPLIED, &["a"]);
}

#[test]
fn rule_5_a_definite_refusal_after_an_ambiguous_attempt_is_indeterminate() {
    check(&[(1, Fault::Status(500)), (1, Fault::Status(403))], &[], INDETERMINATE, &["a"]);
    check(&[(1, Fault::AppliedStatus(500)), (1, Fault::Status(403))], &[], INDETERMINATE, ALL);
    check(&[(1, Fault::ReplyLost), (1, Fault::Status(404))], &[], INDETERMINATE, ALL);
    check(&[(1, Fault::AppliedStatus(500))], &[(1, Fault::Status(403))], INDETERMINATE, ALL);
}

#[test]
fn rule_5_what_is_not_settled_by_the_deadline_is_indeterminate() {
    check(&[(9999, Fault::Status(500))], &[], INDETERMINATE, &["a"]);
    check(&[(9999, Fault::Lost)], &[], INDETERMINATE, &["a"]);
    check(&[(1, Fault::AppliedStatus(500)), (9999, Fault::Status(500))], &[], INDETERMINATE, ALL);
    // It arrives after the deadline: before the reopening, or, as here, never in the history.
    check(&[(1, Fault::Late(60_000 * MS)), (9999, Fault::Status(503))], &[], INDETERMINATE, &["a"]);
}

#[test]
fn rule_5_a_409_until_the_deadline_is_told_as_unsettled_not_as_a_refusal_for_good() {
    let unsettled = |error: &LogError| matches!(error, LogError::Unsettled { waited_ms: 1.., .. });
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.spoil(Kind::Put, "log/1/0", 9999, Fault::Status(409));
    let outcome = world.run(log.wait_durable(log.append(NewCommit::new("a")).unwrap()));
    assert!(matches!(&outcome, Outcome::Indeterminate(error) if unsettled(error)), "{outcome:?}");
    world.heal();
    world.spoil(Kind::Put, "branches/main", 9999, Fault::Status(409));
    let opened = world.open(&world.site()).map(drop);
    assert!(matches!(&opened, Err(error) if unsettled(error)), "{opened:?}");
}

#[test]
fn rule_5_a_commit_that_was_never_sent_is_not_applied_when_one_before_is_indeterminate() {
    let world = World::with_timeline();
    let options = Options { window: 1, ..Options::default() };
    let (log, _) = world.open(&world.site_with(options)).unwrap();
    world.spoil(Kind::Put, "log/1/0", 9999, Fault::Status(500));
    let sent = log.append(NewCommit::new("a")).unwrap();
    world.pass(MS);
    let queued = log.append(NewCommit::new("b")).unwrap();
    assert_eq!(named(&world.run(log.wait_durable(queued))), "not applied");
    assert_eq!(named(&world.run(log.wait_durable(sent))), "indeterminate");
    let LogError::Unsettled { waited_ms, .. } = world.run(log.wait_durable(sent)).error().unwrap().clone()
    else {
        panic!()
    };
    assert!((20_000..=30_000).contains(&waited_ms), "{waited_ms}");
}

#[test]
fn rule_4_a_slot_is_acknowledged_after_every_slot_before_it() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let options = Options { spacing: Spacing::Fixed(MS), ..Options::default() };
    let (log, _) = world.open(&world.site_with(options)).unwrap();
    world.spoil(Kind::Put, "log/1/0", 1, Fault::Slow(500 * MS));
    let first = log.append(NewCommit::new("slow")).unwrap();
    world.pass(2 * MS);
    let second = log.append(NewCommit::new("fast")).unwrap();
    world.pass(400 * MS);
    assert!(world.keys().contains(&"log/1/1".to_owned()));
    assert!(log.outcome(first).is_none() && log.outcome(second).is_none());
    assert_eq!(log.durable_lsn(), Lsn::ZERO);
    world.pass(200 * MS);
    assert!(log.outcome(first).unwrap().is_durable() && log.outcome(second).unwrap().is_durable());
}

#[test]
fn rule_4_what_was_owned_before_a_failed_slot_is_still_acknowledged() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let options = Options { spacing: Spacing::Fixed(MS), ..Options::default() };
    let (log, _) = world.open(&world.site_with(options)).unwrap();
    world.spoil(Kind::Put, "log/1/0", 1, Fault::Slow(500 * MS));
    world.spoil(Kind::Put, "log/1/1", 1, Fault::Status(403));
    let first = log.append(NewCommit::new("slow")).unwrap();
    world.pass(2 * MS);
    let second = log.append(NewCommit::new("refused")).unwrap();
    assert_eq!(named(&world.run(log.wait_durable(second))), "not applied");
    assert!(log.outcome(first).is_none(), "it is still on its way");
    assert!(world.run(log.wait_durable(first)).is_durable());
    assert_eq!(world.history(), ["slow"]);
}

#[test]
fn a_wait_that_is_dropped_and_a_driver_that_is_dropped_lose_nothing_and_lie_about_nothing() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let opened = world.run(twill_commitlog_cas::Log::open(&world.site())).unwrap();
    let log = opened.log;
    let lsn = log.append(NewCommit::new("a")).unwrap();
    drop(log.wait_durable(lsn));
    let mut driver = opened.driver;
    // Polled once: the PUT is on its way.
    world.run(futures_util::future::poll_fn(|context| {
        let _ = std::future::Future::poll(std::pin::Pin::new(&mut driver), context);
        std::task::Poll::Ready(())
    }));
    let unsent = log.append(NewCommit::new("b")).unwrap();
    drop(driver);
    assert_eq!(named(&world.run(log.wait_durable(lsn))), "indeterminate");
    assert_eq!(named(&world.run(log.wait_durable(unsent))), "not applied");
    assert!(matches!(log.append(NewCommit::new("c")), Err(LogError::Closed)));
}

#[test]
fn a_log_whose_handles_are_dropped_settles_what_was_appended() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let (log, _) = world.open(&world.site()).unwrap();
    for payload in ["a", "b", "c"] {
        log.append(NewCommit::new(payload)).unwrap();
    }
    drop(log);
    world.pass(10 * PUT_TIME);
    assert_eq!(world.history(), ["a", "b", "c"]);
}

#[test]
fn close_settles_everything_and_may_be_called_again() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let (log, _) = world.open(&world.site()).unwrap();
    let lsn = log.append(NewCommit::new("a")).unwrap();
    world.run(log.close()).unwrap();
    world.run(log.close()).unwrap();
    assert!(log.outcome(lsn).unwrap().is_durable());
    assert!(matches!(log.append(NewCommit::new("b")), Err(LogError::Closed)));
    assert!(matches!(world.run(log.wait_durable(Lsn::new(9))), Outcome::NotApplied(_)), "never appended");
}

#[test]
fn room_is_given_when_the_queue_has_it() {
    let world = World::with_timeline();
    world.latency(PUT_TIME);
    let options = Options { queue_bytes: 100, window: 1, ..Options::default() };
    let (log, _) = world.open(&world.site_with(options)).unwrap();
    world.run(log.room());
    log.append(NewCommit::new("a")).unwrap();
    world.pass(MS);
    log.append(NewCommit::new("b".repeat(80))).unwrap();
    let waited = {
        use twill_commitlog_cas::Environment;
        let before = world.now();
        world.run(log.room());
        world.now() - before
    };
    assert!(waited > PUT_TIME / 2, "{waited:?}");
}

#[test]
fn rule_16_a_commit_is_named_by_timeline_epoch_and_lsn() {
    let world = World::with_timeline();
    let (old, _) = world.open(&world.site()).unwrap();
    world.commit(&old, &["a"]);
    world.spoil(Kind::Put, "log/1/1", 9999, Fault::Status(500));
    let lost = old.append(NewCommit::new("lost")).unwrap();
    assert_eq!(named(&world.run(old.wait_durable(lost))), "indeterminate");
    world.heal();
    let (new, _) = world.open(&world.site()).unwrap();
    assert_eq!(world.commit(&new, &["other"]), lost, "the same LSN, another commit");
    let verdict = |id| world.run(new.verdict(id)).unwrap();
    assert_eq!(verdict(old.commit_id(Lsn::new(1))), Verdict::Durable(Lsn::new(1)));
    assert_eq!(verdict(old.commit_id(lost)), Verdict::NotApplied);
    assert_eq!(verdict(new.commit_id(lost)), Verdict::Durable(lost));
    assert_eq!(verdict(new.commit_id(Lsn::new(1))), Verdict::NotApplied);
    let (newest, _) = world.open(&world.site()).unwrap();
    assert_eq!(world.run(newest.verdict(old.commit_id(lost))).unwrap(), Verdict::NotApplied);
    assert_eq!(world.run(newest.verdict(new.commit_id(lost))).unwrap(), Verdict::Durable(lost));
}

#[test]
fn a_token_tells_after_a_reopening_whether_its_commit_became_durable() {
    use twill_commitlog_cas::{Raise, Token};
    let world = World::with_timeline();
    let (log, _) = world.open(&world.site()).unwrap();
    world.commit(&log, &["a"]);
    let (there, gone) = (Token([1; 16]), Token([2; 16]));
    world.spoil(Kind::Put, "log/1/1", 1, Fault::AppliedStatus(500));
    world.spoil(Kind::Put, "log/1/1", 1, Fault::Status(403));
    let lsn = log.append(NewCommit::new("b").with_token(there)).unwrap();
    assert_eq!(named(&world.run(log.wait_durable(lsn))), "indeterminate");
    assert!(log.append(NewCommit::new("c").with_token(gone)).is_err());
    let (log, _) = world.open(&world.site()).unwrap();
    let find = |token, since| world.run(log.find(token, Lsn::new(since))).unwrap();
    assert_eq!(find(there, 1), Verdict::Durable(lsn));
    assert_eq!(find(there, 0), Verdict::Durable(lsn));
    assert_eq!(find(gone, 1), Verdict::NotApplied);
    world.commit(&log, &["d"]);
    let at = Some(log.durable_position());
    world.run(log.raise(Raise { floor: at, horizon: at })).unwrap();
    assert_eq!(find(gone, 1), Verdict::Forgotten);
    assert!(world.run(log.find(Token::default(), Lsn::ZERO)).is_err());
}
