//! The world and the store by themselves: what a process, a crash, a stop and a fault are.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};
use twill_tests_simulation::process::{Process, ProcessId, Status, Strike, WALL_ORIGIN};
use twill_tests_simulation::store::{Bucket, Faults, Latency, Outage, Planted};
use twill_tests_simulation::world::{Ended, World};

const LONG: Duration = Duration::from_secs(100_000);
const POLLS: u64 = 1_000_000;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A process that runs `body` in each of its lives, and is up.
fn process<F, B>(world: &World, name: &str, body: B) -> ProcessId
where
    F: Future<Output = ()> + Send + 'static,
    B: Fn(Process) -> F + Send + Sync + 'static,
{
    let boot = move |process: Process| {
        let first = body(process.clone());
        process.spawn(first);
    };
    let id = world.add_process(name, 1, Arc::new(boot));
    world.boot(id);
    id
}

/// Runs `body` as the only process of a world with a bucket, to its end.
fn with_bucket<F, B>(faults: Faults, body: B) -> (World, Bucket)
where
    F: Future<Output = ()> + Send + 'static,
    B: Fn(Process, Bucket) -> F + Send + Sync + 'static,
{
    let world = World::new(1, false);
    let bucket = Bucket::new(&world, 1, faults);
    let done = Arc::new(AtomicU64::new(0));
    let (used, finished) = (bucket.clone(), done.clone());
    process(&world, "client", move |process| {
        let work = body(process, used.clone());
        let finished = finished.clone();
        async move {
            work.await;
            finished.store(1, Ordering::Relaxed);
        }
    });
    let outside = world.clone();
    let root = async move {
        while done.load(Ordering::Relaxed) == 0 {
            outside.sleep(ms(100)).await;
        }
    };
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    (world, bucket)
}

#[test]
fn time_passes_only_when_nothing_can_run_and_exactly_to_the_next_timer() {
    let world = World::new(1, false);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for milliseconds in [30, 10, 20] {
        let seen = seen.clone();
        process(&world, "sleeper", move |process| {
            let seen = seen.clone();
            async move {
                process.sleep(ms(milliseconds)).await;
                seen.lock().unwrap().push(process.now());
            }
        });
    }
    let root = world.sleep(ms(40));
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    assert_eq!(*seen.lock().unwrap(), [ms(10), ms(20), ms(30)]);
    assert_eq!(world.now(), ms(40));
}

#[test]
fn a_crash_drops_every_task_at_once_and_a_past_life_can_do_nothing() {
    let world = World::new(1, false);
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = ticks.clone();
    let id = process(&world, "victim", move |process| {
        let ticks = counted.clone();
        async move {
            for _ in 0..3 {
                let (process, ticks) = (process.clone(), ticks.clone());
                process.clone().spawn(async move {
                    loop {
                        process.sleep(ms(10)).await;
                        ticks.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
    });
    let outside = world.clone();
    let root = async move {
        outside.sleep(ms(105)).await;
        outside.crash(id);
        outside.sleep(ms(1000)).await;
        assert_eq!(outside.watch(id).status, Status::Down);
        outside.boot(id);
        assert_eq!(outside.watch(id).life, 2);
        outside.sleep(ms(55)).await;
    };
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    assert_eq!(ticks.load(Ordering::Relaxed), 3 * 10 + 3 * 5);
    world.end();
}

#[test]
fn a_point_that_kills_never_returns() {
    let world = World::new(1, false);
    let passed = Arc::new(AtomicU64::new(0));
    let counted = passed.clone();
    let id = process(&world, "victim", move |process| {
        let passed = counted.clone();
        async move {
            process.sleep(ms(1)).await;
            process.point("here").await;
            passed.fetch_add(1, Ordering::Relaxed);
        }
    });
    world.set_fate(id, Some(Arc::new(|_, _| Strike::Crash { down: ms(10) })));
    let outside = world.clone();
    let root = async move {
        outside.sleep(ms(5)).await;
        assert_eq!(outside.watch(id).status, Status::Down);
        outside.set_fate(id, None);
        outside.sleep(ms(50)).await;
        assert_eq!(outside.watch(id).life, 2);
    };
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    assert_eq!(passed.load(Ordering::Relaxed), 1, "the second life alone got past");
    assert_eq!(world.points()["here"], 2);
    world.end();
}

/// When a sleeper of 50 ms wakes, by the world's time and by its own clock, if it is stopped from 10 to 1010 ms.
fn woken_after_a_stop(suspended: bool) -> (Duration, Duration) {
    let world = World::new(1, false);
    let woken = Arc::new(Mutex::new(None));
    let told = woken.clone();
    let id = process(&world, "sleeper", move |process| {
        let told = told.clone();
        async move {
            process.sleep(ms(50)).await;
            *told.lock().unwrap() = Some((process.world().now(), process.now()));
        }
    });
    let outside = world.clone();
    let root = async move {
        outside.sleep(ms(10)).await;
        outside.stop(id, suspended);
        outside.sleep(ms(1000)).await;
        outside.resume(id);
        outside.sleep(ms(1000)).await;
    };
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    let woken = *woken.lock().unwrap();
    woken.unwrap()
}

#[test]
fn a_stopped_process_runs_nothing_and_a_suspended_one_does_not_age() {
    assert_eq!(woken_after_a_stop(false), (ms(1010), ms(1010)));
    assert_eq!(woken_after_a_stop(true), (ms(1050), ms(50)));
}

#[test]
fn what_a_stopped_or_dead_process_has_sent_arrives() {
    let world = World::new(1, false);
    let bucket = Bucket::new(&world, 1, Faults::none());
    let mut ids = Vec::new();
    for key in ["stopped", "dead"] {
        let bucket = bucket.clone();
        ids.push(process(&world, key, move |process| {
            let client = bucket.client(&process);
            async move { drop(client.put(&Path::from(key), "sent".into()).await) }
        }));
    }
    let outside = world.clone();
    let root = async move {
        outside.sleep(ms(1)).await;
        outside.stop(ids[0], false);
        outside.crash(ids[1]);
        outside.sleep(ms(1000)).await;
    };
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    for key in ["stopped", "dead"] {
        assert_eq!(bucket.look(|shelf| shelf.get(key).map(|stored| stored.bytes.clone())).unwrap(), "sent");
    }
    assert_eq!(bucket.requests(None), 2);
    world.end();
}

#[test]
fn the_wall_clock_jumps_and_the_monotonic_one_does_not() {
    let world = World::new(1, false);
    let id = process(&world, "watcher", |process| async move {
        let wall = |process: &Process| process.wall_now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(wall(&process), WALL_ORIGIN);
        process.sleep(ms(10)).await;
        assert_eq!(wall(&process), WALL_ORIGIN - Duration::from_secs(60) + ms(10));
        assert_eq!(process.now(), ms(10));
    });
    world.set_skew(id, 0);
    let outside = world.clone();
    let root = async move {
        outside.sleep(ms(5)).await;
        outside.set_skew(id, -60_000_000_000);
        outside.sleep(ms(15)).await;
    };
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
}

#[test]
fn conditional_writes_are_decided_where_they_arrive() {
    with_bucket(Faults::none(), |process, bucket| async move {
        let client = bucket.client(&process);
        let key = Path::from("a/b");
        let first = client.put_opts(&key, "1".into(), PutMode::Create.into()).await.unwrap();
        let again = client.put_opts(&key, "2".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        let version = |etag| UpdateVersion { e_tag: etag, version: None };
        let update = |etag, text: &'static str| {
            let (client, key) = (client.clone(), key.clone());
            async move { client.put_opts(&key, text.into(), PutMode::Update(version(etag)).into()).await }
        };
        let second = update(first.e_tag.clone(), "2").await.unwrap();
        let stale = update(first.e_tag, "3").await;
        assert!(matches!(stale, Err(Error::Precondition { .. })), "{stale:?}");
        let read = client.get(&key).await.unwrap();
        assert_eq!(read.meta.e_tag, second.e_tag);
        assert_eq!(read.bytes().await.unwrap(), "2");
        client.delete(&key).await.unwrap();
        assert!(matches!(client.get(&key).await, Err(Error::NotFound { .. })));
        let gone = update(second.e_tag, "3").await;
        assert!(matches!(gone, Err(Error::Precondition { .. })), "{gone:?}");
    });
}

#[test]
fn equal_bytes_have_equal_etags_as_on_s3_unless_the_run_says_otherwise() {
    for etag_of_content in [true, false] {
        with_bucket(Faults { etag_of_content, ..Faults::none() }, move |process, bucket| async move {
            let client = bucket.client(&process);
            let first = client.put(&Path::from("a"), "same".into()).await.unwrap();
            let second = client.put(&Path::from("b"), "same".into()).await.unwrap();
            assert_eq!(first.e_tag == second.e_tag, etag_of_content);
        });
    }
}

#[test]
fn lists_come_in_pages_below_a_prefix_and_after_an_offset() {
    with_bucket(Faults { list_page: 3, ..Faults::none() }, |process, bucket| async move {
        let client = bucket.client(&process);
        for number in 0..10 {
            client.put(&Path::from(format!("a/{number}/x")), "1".into()).await.unwrap();
        }
        client.put(&Path::from("ab"), "1".into()).await.unwrap();
        let before = bucket.requests(None);
        let all: Vec<_> = client.list(Some(&Path::from("a"))).map(|meta| meta.unwrap()).collect().await;
        assert_eq!((all.len(), bucket.requests(None) - before), (10, 4));
        let rest = client.list_with_offset(Some(&Path::from("a")), &Path::from("a/6/x"));
        assert_eq!(rest.count().await, 3);
        let folders = client.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
        assert_eq!((folders.common_prefixes.len(), folders.objects.len()), (10, 0));
        let top = client.list_with_delimiter(None).await.unwrap();
        assert_eq!((top.common_prefixes.len(), top.objects.len()), (1, 1));
    });
}

#[test]
fn a_list_is_torn_only_by_what_happens_while_it_runs() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let world = World::new(seed, false);
        let latency = Latency { least: ms(1), spread: ms(1), tail: ms(1), slow: 0 };
        let faults = Faults { latency, list_takes: ms(100), ..Faults::none() };
        let bucket = Bucket::new(&world, seed, faults);
        let listed = Arc::new(Mutex::new(Vec::new()));
        let (used, told) = (bucket.clone(), listed.clone());
        process(&world, "lister", move |process| {
            let (client, told) = (used.client(&process), told.clone());
            async move {
                for key in ["old", "doomed"] {
                    client.put(&Path::from(key), "1".into()).await.unwrap();
                }
                let spawned = client.clone();
                process.spawn(async move {
                    for key in ["new1", "new2"] {
                        spawned.put(&Path::from(key), "1".into()).await.unwrap();
                    }
                    spawned.delete(&Path::from("doomed")).await.unwrap();
                });
                let keys = client.list(None).map(|meta| meta.unwrap().location.to_string());
                *told.lock().unwrap() = keys.collect().await;
            }
        });
        let root = world.sleep(ms(1000));
        assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
        let listed = listed.lock().unwrap().clone();
        assert!(listed.contains(&"old".to_owned()), "{listed:?}");
        seen.insert(listed);
    }
    assert!(seen.contains(&vec!["doomed".to_owned(), "new2".to_owned(), "old".to_owned()]), "{seen:?}");
    assert!(seen.len() >= 6, "{seen:?}");
}

#[test]
fn lost_requests_and_lost_answers_end_in_an_error_of_unknown_outcome() {
    for (request_lost, answer_lost, applied) in [(10_000, 0, false), (0, 10_000, true)] {
        let faults = Faults { request_lost, answer_lost, ..Faults::none() };
        let (_, bucket) = with_bucket(faults, |process, bucket| async move {
            let outcome = bucket.client(&process).put(&Path::from("a"), "1".into()).await;
            assert!(matches!(outcome, Err(Error::Generic { .. })), "{outcome:?}");
        });
        assert_eq!(bucket.look(|shelf| shelf.get("a").is_some()), applied);
    }
}

#[test]
fn a_late_request_arrives_after_its_sender_gave_up() {
    let faults =
        Faults { late: 10_000, late_by: Duration::from_secs(7200), timeout: ms(500), ..Faults::none() };
    let (world, bucket) = with_bucket(faults, |process, bucket| async move {
        let outcome = bucket.client(&process).put(&Path::from("a"), "1".into()).await;
        assert!(matches!(outcome, Err(Error::Generic { .. })), "{outcome:?}");
    });
    assert!(bucket.look(|shelf| shelf.get("a").is_none()));
    let root = world.sleep(Duration::from_secs(8000));
    assert_eq!(world.run(root, LONG, POLLS), Ended::Done);
    assert!(bucket.look(|shelf| shelf.get("a").is_some()));
    assert!(bucket.history()[0].arrived[0].0 > Duration::from_secs(1));
}

#[test]
fn a_create_that_arrives_twice_is_refused_the_second_time_and_either_answer_may_get_through() {
    let mut won = [0, 0];
    for seed in 0..40 {
        let world = World::new(seed, false);
        let bucket = Bucket::new(&world, seed, Faults { twice: 10_000, ..Faults::none() });
        let outcome = Arc::new(AtomicU64::new(9));
        let (used, told) = (bucket.clone(), outcome.clone());
        process(&world, "client", move |process| {
            let (client, told) = (used.client(&process), told.clone());
            async move {
                let outcome = client.put_opts(&Path::from("a"), "1".into(), PutMode::Create.into()).await;
                told.store(u64::from(outcome.is_ok()), Ordering::Relaxed);
            }
        });
        assert_eq!(world.run(world.sleep(LONG / 2), LONG, POLLS), Ended::Done);
        let arrived = bucket.history()[0].arrived.clone();
        assert_eq!((arrived[0].1.is_ok(), arrived[1].1.is_ok()), (true, false));
        won[usize::try_from(outcome.load(Ordering::Relaxed)).unwrap()] += 1;
    }
    assert!(won[0] > 5 && won[1] > 5, "{won:?}");
}

#[test]
fn refusals_are_those_of_the_s3_client() {
    type Is = fn(&Error) -> bool;
    let statuses: [(Faults, Is, &str); 3] = [
        (
            Faults { conflict: 10_000, ..Faults::none() },
            |error| matches!(error, Error::AlreadyExists { .. }),
            "409",
        ),
        (
            Faults { throttled: 10_000, ..Faults::none() },
            |error| matches!(error, Error::Generic { .. }),
            "Server",
        ),
        (Faults { broken: 10_000, ..Faults::none() }, |error| matches!(error, Error::Generic { .. }), "500"),
    ];
    for (faults, expected, text) in statuses {
        with_bucket(faults, move |process, bucket| async move {
            let mode = PutMode::Create.into();
            let error =
                bucket.client(&process).put_opts(&Path::from("a"), "1".into(), mode).await.unwrap_err();
            assert!(expected(&error) && error.to_string().contains(text), "{error}");
        });
    }
}

#[test]
fn outages_concern_one_process_and_end() {
    let outages = [
        (Outage::Forbidden, "403"),
        (Outage::Unauthorized, "401"),
        (Outage::Partition, "HTTP error"),
        (Outage::Deaf, "HTTP error"),
        (Outage::ReadOnly, "403"),
    ];
    for (outage, text) in outages {
        with_bucket(Faults::none(), move |process, bucket| async move {
            let client = bucket.client(&process);
            bucket.set_outage(process.id(), outage);
            let error = client.put(&Path::from("a"), "1".into()).await.unwrap_err();
            assert!(error.to_string().contains(text), "{outage:?}: {error}");
            bucket.set_outage(process.id(), Outage::None);
            client.put(&Path::from("a"), "1".into()).await.unwrap();
            bucket.set_outage(process.id(), Outage::ReadOnly);
            client.get(&Path::from("a")).await.unwrap();
        });
    }
}

#[test]
fn a_body_that_breaks_off_is_an_error_not_a_short_body() {
    with_bucket(Faults { cut: 10_000, ..Faults::none() }, |process, bucket| async move {
        let client = bucket.client(&process);
        client.put(&Path::from("a"), Bytes::from(vec![7; 1000]).into()).await.unwrap();
        let body = client.get_range(&Path::from("a"), 10..900).await;
        assert!(matches!(body, Err(Error::Generic { .. })), "{body:?}");
    });
}

#[test]
fn multipart_uploads_appear_whole() {
    with_bucket(Faults::none(), |process, bucket| async move {
        let client = bucket.client(&process);
        let mut upload = client.put_multipart(&Path::from("a")).await.unwrap();
        let (one, two) = (upload.put_part("12".into()), upload.put_part("34".into()));
        two.await.unwrap();
        one.await.unwrap();
        assert!(matches!(client.head(&Path::from("a")).await, Err(Error::NotFound { .. })));
        upload.complete().await.unwrap();
        let read = client.get(&Path::from("a")).await.unwrap().bytes().await.unwrap();
        assert_eq!(read, "1234");
    });
}

#[test]
fn planted_faults_break_the_promise_they_name() {
    with_bucket(Faults { planted: Planted::IgnoresCreate, ..Faults::none() }, |process, bucket| async move {
        let client = bucket.client(&process);
        for _ in 0..2 {
            client.put_opts(&Path::from("a"), "1".into(), PutMode::Create.into()).await.unwrap();
        }
    });
    with_bucket(Faults { planted: Planted::ForgetsWrites, ..Faults::none() }, |process, bucket| async move {
        let client = bucket.client(&process);
        for number in 0..40 {
            client.put(&Path::from(format!("{number}")), "1".into()).await.unwrap();
        }
        assert_eq!(bucket.look(|shelf| shelf.objects().count()), 38);
    });
    with_bucket(Faults { planted: Planted::ListsLate, ..Faults::none() }, |process, bucket| async move {
        let client = bucket.client(&process);
        client.put(&Path::from("a"), "1".into()).await.unwrap();
        assert_eq!(client.list(None).count().await, 0);
    });
}

#[test]
fn equal_seeds_make_equal_runs_and_others_do_not() {
    let run = |seed: u64| {
        let world = World::new(seed, true);
        let mut chance = twill_types::seeded::Chance::from_seed(seed);
        let bucket = Bucket::new(&world, seed, Faults::swarm(&mut chance));
        for name in ["one", "two", "three"] {
            let bucket = bucket.clone();
            let id = process(&world, name, move |process| {
                let client = bucket.client(&process);
                async move {
                    let mut chance = process.fork_chance("work");
                    loop {
                        let key = Path::from(format!("{}", chance.below(5_u64)));
                        match chance.below(4_u64) {
                            0 => drop(client.put_opts(&key, "1".into(), PutMode::Create.into()).await),
                            1 => drop(client.get(&key).await),
                            2 => drop(client.delete(&key).await),
                            _ => drop(client.list(None).collect::<Vec<_>>().await),
                        }
                        process.point("loop").await;
                    }
                }
            });
            world.set_fate(
                id,
                Some(Arc::new(|chance, _| match chance.below(20_u64) {
                    0 => Strike::Crash { down: ms(500) },
                    1 => Strike::Stop { stopped: ms(5000), suspended: chance.percent(50) },
                    2 => Strike::Delay(ms(100)),
                    _ => Strike::None,
                })),
            );
        }
        assert_eq!(world.run(world.sleep(Duration::from_secs(60)), LONG, POLLS), Ended::Done);
        let traced = (world.trace_hash(), world.trace_lines());
        world.end();
        traced
    };
    for seed in 0..20 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.0, run(seed + 1000).0);
    }
}
