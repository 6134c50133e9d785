//! The test server by itself: faults do what they say, counters count, a directory survives `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use tokio::runtime::Runtime;
use twill_s3_server::{
    Action, BUCKET, BucketState, Command, Conditions, Kind, Latency, Login, Options, Precondition, Replied,
    Rule, S3Server,
};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn serve(options: Options) -> (S3Server, AmazonS3) {
    let server = S3Server::start(options).unwrap();
    let store = Login::to(&server, BUCKET).client().unwrap();
    (server, store)
}

async fn create(store: &AmazonS3, key: &str, body: &'static str) -> object_store::Result<()> {
    store.put_opts(&Path::from(key), body.into(), PutMode::Create.into()).await.map(drop)
}

async fn read(store: &AmazonS3, key: &str) -> object_store::Result<String> {
    let bytes = store.get(&Path::from(key)).await?.bytes().await?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the delay that a fault asks for is a lower bound to see")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_dropped_request_changes_nothing_and_a_dropped_reply_has_taken_effect() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        server.add_fault(Rule::next(Kind::Put, Action::DropRequest));
        create(&store, "before", "1").await.unwrap_err();
        assert!(matches!(read(&store, "before").await, Err(Error::NotFound { .. })));
        server.add_fault(Rule::next(Kind::Put, Action::DropReply));
        create(&store, "after", "1").await.unwrap_err();
        assert_eq!(read(&store, "after").await.unwrap(), "1");
    });
    let counted = server.counter(Kind::Put);
    assert_eq!((counted.requests, counted.dropped, counted.succeeded), (2, 2, 0));
    assert!(server.faults().iter().all(|rule| rule.fired == 1));
}

#[test]
fn a_duplicate_answers_as_the_first_or_as_the_second() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        let first = Action::Duplicate { later_ms: 0, reply: Replied::First };
        server.add_fault(Rule::next(Kind::Put, first));
        create(&store, "a", "1").await.unwrap();
        let second = Action::Duplicate { later_ms: 1, reply: Replied::Second };
        server.add_fault(Rule::next(Kind::Put, second));
        let refused = create(&store, "b", "1").await.unwrap_err();
        assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
        assert_eq!(read(&store, "b").await.unwrap(), "1");
    });
}

#[test]
fn a_late_duplicate_arrives_after_what_was_written_since() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        let late = Action::Duplicate { later_ms: 50, reply: Replied::First };
        server.add_fault(Rule::next(Kind::Put, late));
        store.put(&Path::from("k"), "old".into()).await.unwrap();
        store.put(&Path::from("k"), "new".into()).await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), "new");
        while read(&store, "k").await.unwrap() != "old" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_request_that_its_client_gave_up_on_takes_effect_later() {
    let (server, _) = serve(Options::default());
    let login = Login { timeout: Duration::from_millis(100), ..Login::to(&server, BUCKET) };
    let store = login.client().unwrap();
    runtime().block_on(async {
        server.add_fault(Rule::next(Kind::Put, Action::Delay { before_ms: 300, after_ms: 0 }));
        create(&store, "late", "1").await.unwrap_err();
        assert!(matches!(read(&store, "late").await, Err(Error::NotFound { .. })));
        while read(&store, "late").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn injected_statuses_arrive_and_may_hide_an_effect() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        for status in [403, 409, 412, 429, 500, 503] {
            for applied in [false, true] {
                let key = format!("{status}-{applied}");
                server.add_fault(Rule::next(Kind::Put, Action::Answer { status, code: None, applied }));
                create(&store, &key, "1").await.unwrap_err();
                assert_eq!(read(&store, &key).await.is_ok(), applied, "{key}");
                let entry = server.log().into_iter().rev().find(|entry| entry.kind == Kind::Put).unwrap();
                assert_eq!((entry.status, entry.struck), (Some(status), true));
                assert_eq!(entry.precondition, Some(Precondition::IfNoneMatch));
            }
        }
    });
}

#[test]
fn bodies_are_cut_and_slowed() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        let body = vec![7_u8; 100_000];
        store.put(&Path::from("k"), body.clone().into()).await.unwrap();
        server.add_fault(Rule::next(Kind::Get, Action::CutBody { after_bytes: 50_000 }));
        let cut = store.get(&Path::from("k")).await.unwrap().bytes().await;
        assert!(cut.is_err(), "half a body passed for a whole one");
        server.add_fault(Rule::next(Kind::Get, Action::SlowBody { bytes_per_second: 1_000_000 }));
        let begun = now();
        let slow = store.get(&Path::from("k")).await.unwrap().bytes().await.unwrap();
        assert_eq!(slow, body);
        assert!(now() - begun >= Duration::from_millis(90), "{:?}", now() - begun);
    });
}

#[test]
fn a_bucket_can_turn_read_only_and_vanish_and_come_back() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        create(&store, "k", "1").await.unwrap();
        server.set_bucket(BUCKET, BucketState::ReadOnly).unwrap();
        let denied = create(&store, "l", "1").await.unwrap_err();
        assert!(matches!(denied, Error::PermissionDenied { .. }), "{denied}");
        assert_eq!(read(&store, "k").await.unwrap(), "1");
        server.set_bucket(BUCKET, BucketState::Gone).unwrap();
        let gone = create(&store, "l", "1").await.unwrap_err();
        assert!(gone.to_string().contains("NoSuchBucket"), "{gone}");
        assert!(read(&store, "k").await.is_err());
        server.set_bucket(BUCKET, BucketState::Well).unwrap();
        create(&store, "l", "1").await.unwrap();
    });
    assert!(server.set_bucket("no-such-bucket", BucketState::Well).is_err());
}

#[test]
fn wrong_credentials_are_denied() {
    let (server, _) = serve(Options::default());
    for login in [
        Login { secret_key: "wrong".to_owned(), ..Login::to(&server, BUCKET) },
        Login { access_key: "nobody".to_owned(), ..Login::to(&server, BUCKET) },
    ] {
        let store = login.client().unwrap();
        let denied = runtime().block_on(create(&store, "k", "1")).unwrap_err();
        assert!(
            matches!(denied, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }),
            "{denied:?}"
        );
    }
}

#[test]
fn writes_to_one_key_can_be_limited_as_r2_limits_them() {
    let (server, store) = serve(Options::default());
    server.command(Command::SetSameKeyInterval { ms: Some(60_000) }).unwrap();
    runtime().block_on(async {
        create(&store, "a", "1").await.unwrap();
        create(&store, "b", "1").await.unwrap();
        let limited = store.put(&Path::from("a"), "2".into()).await.unwrap_err();
        assert!(limited.to_string().contains("429"), "{limited}");
        server.command(Command::SetSameKeyInterval { ms: None }).unwrap();
        store.put(&Path::from("a"), "2".into()).await.unwrap();
    });
}

#[test]
fn pages_of_a_list_are_as_long_as_they_were_set_to_be() {
    let (server, store) = serve(Options { page_keys: Some(2), ..Options::default() });
    runtime().block_on(async {
        for key in ["a/1", "a/2", "b/1", "c", "d"] {
            create(&store, key, "1").await.unwrap();
        }
        let all: Vec<_> =
            store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
        assert_eq!(all, ["a/1", "a/2", "b/1", "c", "d"]);
        assert_eq!(server.counter(Kind::List).requests, 3);
        let folded = store.list_with_delimiter(None).await.unwrap();
        let prefixes: Vec<_> = folded.common_prefixes.iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["a", "b"]);
        assert_eq!(folded.objects.len(), 2);
        assert_eq!(server.counter(Kind::List).requests, 5);
    });
}

#[test]
fn latency_is_a_lower_bound_and_switched_at_run_time() {
    let (server, store) = serve(Options { latency: Latency::constant(40.0), ..Options::default() });
    runtime().block_on(async {
        let begun = now();
        create(&store, "a", "1").await.unwrap();
        assert!(now() - begun >= Duration::from_millis(40));
        server.set_latency(Latency::NONE);
        create(&store, "b", "1").await.unwrap();
    });
    let took: Vec<f64> = server.log().iter().map(|entry| entry.took_ms.unwrap()).collect();
    assert!(took[0] >= 40.0 && took[1] < took[0], "{took:?}");
}

#[test]
fn a_dishonest_store_is_dishonest() {
    let (server, store) = serve(Options::default());
    runtime().block_on(async {
        server.set_conditions(Conditions::Ignored);
        create(&store, "k", "1").await.unwrap();
        create(&store, "k", "2").await.unwrap();
        server.set_conditions(Conditions::CreatesOnly);
        create(&store, "k", "3").await.unwrap_err();
        let stale = UpdateVersion { e_tag: Some("\"0\"".to_owned()), version: None };
        store.put_opts(&Path::from("k"), PutPayload::from("4"), PutMode::Update(stale).into()).await.unwrap();
        server.set_conditions(Conditions::CheckedThenPut);
        create(&store, "k", "5").await.unwrap_err();
        let racers = (0..8).map(|_| create(&store, "raced", "1"));
        let won = futures_util::future::join_all(racers).await.into_iter().filter(Result::is_ok).count();
        assert!(won > 1, "looking first and writing later let one of 8 racers win alone");
    });
}

/// The server as a process of its own.
struct Running {
    child: Child,
    login: Login,
}

impl Running {
    fn start(directory: &std::path::Path) -> Self {
        let mut child = Process::new(env!("CARGO_BIN_EXE_twill-s3-server"))
            .args(["--bucket", BUCKET, "--directory"])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let word = |name: &str| ready[name].as_str().unwrap().to_owned();
        let login = Login {
            endpoint: word("endpoint"),
            bucket: BUCKET.to_owned(),
            access_key: word("access_key"),
            secret_key: word("secret_key"),
            timeout: Duration::from_secs(10),
        };
        Self { child, login }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn what_a_directory_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..3 {
        let mut running = Running::start(directory.path());
        let store = running.login.client().unwrap();
        runtime().block_on(async {
            for key in &acknowledged {
                assert_eq!(&read(&store, key).await.unwrap(), key, "lost");
            }
            let writers = (0..8).map(|writer| {
                let store = store.clone();
                async move {
                    let mut done = Vec::new();
                    for number in 0..1_000 {
                        let key = format!("{round}-{writer}-{number}");
                        let mode = PutMode::Create.into();
                        match store.put_opts(&Path::from(key.as_str()), key.clone().into(), mode).await {
                            Ok(_) => done.push(key),
                            Err(_) => break,
                        }
                    }
                    done
                }
            });
            let kill = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                running.child.kill().unwrap();
            };
            let (done, ()) = tokio::join!(futures_util::future::join_all(writers), kill);
            let done: Vec<String> = done.into_iter().flatten().collect();
            assert!(!done.is_empty(), "no write was acknowledged before the kill");
            acknowledged.extend(done);
        });
    }
    let unfinished = std::fs::read_dir(directory.path().join(BUCKET).join("objects"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp"))
        .count();
    let running = Running::start(directory.path());
    let store = running.login.client().unwrap();
    let listed = runtime().block_on(store.list(None).try_collect::<Vec<_>>()).unwrap();
    assert!(listed.len() >= acknowledged.len(), "{unfinished} files were cut off");
    let left = std::fs::read_dir(directory.path().join(BUCKET).join("objects")).unwrap().count();
    assert_eq!(left, listed.len(), "files that were cut off are removed by the next start");
}

#[test]
fn a_directory_has_one_server() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { directory: Some(directory.path().to_owned()), ..Options::default() };
    let first = S3Server::start(options()).unwrap();
    let refused = S3Server::start(options()).unwrap_err();
    assert!(refused.to_string().contains("another server"), "{refused}");
    drop(first);
}

#[test]
fn the_control_endpoint_speaks_json() {
    let (server, store) = serve(Options::default());
    let runtime = runtime();
    let http = reqwest::Client::new();
    let at = |path: &str| format!("{}/-/{path}", server.endpoint());
    runtime.block_on(async {
        let command =
            r#"[{"add_fault":{"kinds":["put"],"times":1,"action":"drop_request"}},"forget_requests"]"#;
        let reply = http.post(at("command")).body(command).send().await.unwrap();
        assert_eq!(reply.status(), 204);
        create(&store, "k", "1").await.unwrap_err();
        let text = http.get(at("counters")).send().await.unwrap().text().await.unwrap();
        let counters: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(counters["put"]["dropped"], 1);
        let text = http.get(at("log")).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("\"key\":\"k\""), "{text}");
        let text = http.get(at("faults")).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("\"fired\":1"), "{text}");
        for wrong in ["{", r#"{"explode":1}"#, r#"{"set_latency_named":"gcs"}"#] {
            assert_eq!(http.post(at("command")).body(wrong).send().await.unwrap().status(), 400, "{wrong}");
        }
        assert_eq!(http.get(at("nothing")).send().await.unwrap().status(), 404);
    });
}
