//! Writers stopped, resumed and killed at named points, racing, and outliving the retention.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use twill_commitlog_cas::Point;
use twill_s3_server::{Action, Kind, Latency, Replied, Rule};
use twill_tests_fencing::appender::Task;
use twill_tests_fencing::scene::{Said, Scene};

/// As slow as a near store, so that windows have something in them.
const LATENCY: Latency = Latency::constant(10.0);

fn scene() -> Scene {
    Scene::new(env!("CARGO_BIN_EXE_appender"), LATENCY).unwrap()
}

fn task(writer: &str) -> Task {
    Task { writer: writer.to_owned(), ..Task::default() }
}

/// A writer that stops at a point, after some commits if the point is on the commit path.
fn stopping(point: Point, time: u64) -> Task {
    Task { commits: 80, at_once: 8, stop_at: Some((point, time)), ..task("stopped") }
}

/// Points of opening, and of commits mid-window: several records are under way when the so-many-th is sent or answered.
const POINTS: &[(Point, u64)] = &[
    (Point::AfterRecordRead, 1),
    (Point::AfterList, 1),
    (Point::BeforeFencePut, 1),
    (Point::AfterFencePut, 1),
    (Point::BeforeRecordPut, 1),
    (Point::AfterRecordPut, 1),
    (Point::BeforeSlotPut, 1),
    (Point::BeforeSlotPut, 6),
    (Point::AfterSlotPut, 1),
    (Point::AfterSlotPut, 6),
    (Point::BeforeAcknowledge, 1),
    (Point::BeforeAcknowledge, 4),
];

fn all_acknowledged(said: &Said, commits: usize) {
    assert!(said.failed.is_empty() && said.unknown.is_empty() && said.not_applied.is_empty(), "{said:?}");
    assert_eq!(said.acknowledged.len(), commits, "{said:?}");
}

#[test]
fn a_lone_writer_is_acknowledged_everything() {
    let scene = scene();
    let said = scene.complete(&Task { commits: 100, at_once: 10, ..task("lone") }).unwrap();
    all_acknowledged(&said, 100);
    assert_eq!(scene.judge(&[], &[&said]).unwrap().len(), 100);
}

#[test]
fn a_second_writer_fences_the_first() {
    let scene = scene();
    let endless = Task { commits: 100_000, at_once: 4, ..task("first") };
    let mut first = scene.start(&endless).unwrap();
    first.hear_until(|_, said| said.acknowledged.len() >= 20).unwrap();
    let second = scene.complete(&task("second")).unwrap();
    all_acknowledged(&second, 20);
    let first = first.finish().unwrap();
    assert!(first.acknowledged.len() >= 20 && first.unknown.is_empty(), "{first:?}");
    assert!(first.not_applied.values().any(|why| why.contains("fenced")), "{:?}", first.not_applied);
    scene.judge(&[], &[&first, &second]).unwrap();
}

#[test]
fn a_writer_stopped_anywhere_and_resumed_after_another_has_written_loses_and_doubles_nothing() {
    for (point, time) in POINTS {
        let scene = scene();
        let before = scene.complete(&task("before")).unwrap();
        let mut stopped = scene.start(&stopping(*point, *time)).unwrap();
        stopped.wait_stopped().unwrap();
        let other = scene.complete(&task("other")).unwrap();
        all_acknowledged(&other, 20);
        stopped.resume().unwrap();
        let stopped = stopped.finish().unwrap();
        scene
            .judge(&[], &[&before, &stopped, &other])
            .unwrap_or_else(|wrong| panic!("stopped at {point} ({time}): {wrong:#}\n{stopped:?}"));
    }
}

#[test]
fn a_writer_stopped_anywhere_and_resumed_while_another_writes_loses_and_doubles_nothing() {
    for (point, time) in POINTS {
        let scene = scene();
        let mut stopped = scene.start(&stopping(*point, *time)).unwrap();
        stopped.wait_stopped().unwrap();
        let busy = Task { commits: 200, at_once: 4, reopens: 20, ..task("busy") };
        let mut busy = scene.start(&busy).unwrap();
        busy.hear_until(|_, said| said.acknowledged.len() >= 40).unwrap();
        stopped.resume().unwrap();
        let (stopped, busy) = (stopped.finish().unwrap(), busy.finish().unwrap());
        scene
            .judge(&[], &[&stopped, &busy])
            .unwrap_or_else(|wrong| panic!("stopped at {point} ({time}): {wrong:#}\n{stopped:?}"));
    }
}

#[test]
fn a_writer_killed_anywhere_loses_and_doubles_nothing() {
    for (point, time) in POINTS {
        let scene = scene();
        let before = scene.complete(&task("before")).unwrap();
        let mut killed = scene.start(&stopping(*point, *time)).unwrap();
        killed.wait_stopped().unwrap();
        let killed = killed.kill().unwrap();
        let after = scene.complete(&task("after")).unwrap();
        all_acknowledged(&after, 20);
        scene
            .judge(&[], &[&before, &killed, &after])
            .unwrap_or_else(|wrong| panic!("killed at {point} ({time}): {wrong:#}\n{killed:?}"));
    }
}

#[test]
fn a_writer_stopped_for_longer_than_the_retention_acknowledges_nothing_into_nothing() {
    for (point, time) in POINTS {
        let scene = scene();
        let before = scene.complete(&task("before")).unwrap();
        let mut stopped = scene.start(&stopping(*point, *time)).unwrap();
        stopped.wait_stopped().unwrap();
        let other = scene.complete(&task("other")).unwrap();
        let mut keeper = Said { writer: "keeper".to_owned(), ..Said::default() };
        let (given_up, deleted) = scene.outlive_retention(&mut keeper).unwrap();
        assert!(deleted > 0, "the retention deleted nothing");
        stopped.resume().unwrap();
        let stopped = stopped.finish().unwrap();
        let after = scene.complete(&task("after")).unwrap();
        all_acknowledged(&after, 20);
        scene
            .judge(&given_up, &[&before, &stopped, &other, &keeper, &after])
            .unwrap_or_else(|wrong| panic!("stopped at {point} ({time}): {wrong:#}\n{stopped:?}"));
    }
}

#[test]
fn writers_that_take_turns_by_force_lose_and_double_nothing() {
    let scene = scene();
    let contender = |writer| Task { commits: 150, at_once: 5, reopens: 200, ..task(writer) };
    let running: Vec<_> = ["x", "y", "z"].map(|writer| scene.start(&contender(writer)).unwrap()).into();
    let said: Vec<Said> = running.into_iter().map(|process| process.finish().unwrap()).collect();
    let epochs: usize = said.iter().map(|said| said.opened.len()).sum();
    assert!(epochs > 3, "nobody was fenced: {said:?}");
    let acknowledged: usize = said.iter().map(|said| said.acknowledged.len()).sum();
    assert!(acknowledged > 0, "{said:?}");
    scene.judge(&[], &said.iter().collect::<Vec<_>>()).unwrap();
}

#[test]
fn lost_late_and_repeated_requests_lose_and_double_nothing() {
    let scene = scene();
    let often = |percent, action| {
        scene.server.add_fault(Rule { percent, kinds: vec![Kind::Put], ..Rule::every(action) });
    };
    often(15, Action::DropReply);
    often(10, Action::DropRequest);
    often(10, Action::Answer { status: 500, code: None, applied: true });
    often(5, Action::Answer { status: 409, code: None, applied: false });
    often(10, Action::Duplicate { later_ms: 30, reply: Replied::First });
    often(5, Action::Duplicate { later_ms: 5, reply: Replied::Second });
    often(2, Action::Delay { before_ms: 1500, after_ms: 0 });
    let contender = |writer| Task { commits: 100, at_once: 10, reopens: 50, ..task(writer) };
    let running: Vec<_> = ["x", "y"].map(|writer| scene.start(&contender(writer)).unwrap()).into();
    let said: Vec<Said> = running.into_iter().map(|process| process.finish().unwrap()).collect();
    scene.server.clear_faults();
    let last = scene.complete(&task("last")).unwrap();
    all_acknowledged(&last, 20);
    assert!(said.iter().any(|said| !said.acknowledged.is_empty()), "{said:?}");
    scene.judge(&[], &[&said[0], &said[1], &last]).unwrap();
}
