//! What goes wrong with the store or its bytes: each its own clear error, and nothing acknowledged lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use twill_commitlog_cas::{
    Log, LogError, NewCommit, Opened, Options, Outcome, Site, TokioEnvironment, recover,
};
use twill_s3_server::{BUCKET, BucketState, Latency, Login};
use twill_tests_fencing::appender::{ROOT, Task, site};
use twill_tests_fencing::scene::{Said, Scene};
use twill_types::Door;

/// A log with 20 acknowledged commits in records of their own.
fn scene() -> (Scene, Said) {
    let scene = Scene::new(env!("CARGO_BIN_EXE_appender"), Latency::NONE).unwrap();
    let said = scene.complete(&Task { writer: "first".to_owned(), ..Task::default() }).unwrap();
    assert_eq!(said.acknowledged.len(), 20);
    (scene, said)
}

/// The log as `login` reaches it, with little patience.
fn hasty(login: &Login) -> Site {
    let options = Options {
        commit_deadline: Duration::from_millis(1500),
        attempt_timeout: Duration::from_millis(500),
        backoff_max: Duration::from_millis(100),
        ..Options::default()
    };
    site(login, Arc::new(TokioEnvironment::new(<dyn Door>::system())), options).unwrap()
}

fn open_error(scene: &Scene, site: &Site) -> LogError {
    match scene.runtime.block_on(Log::open(site)) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn wrong_credentials_are_named() {
    let (scene, said) = scene();
    for wrong in [
        Login { secret_key: "wrong".to_owned(), ..scene.login.clone() },
        Login { access_key: "nobody".to_owned(), ..scene.login.clone() },
    ] {
        let error = open_error(&scene, &hasty(&wrong));
        assert!(matches!(error, LogError::Denied { .. } | LogError::Unauthenticated { .. }), "{error}");
    }
    scene.judge(&[], &[&said]).unwrap();
}

#[test]
fn no_network_is_named() {
    let (scene, said) = scene();
    // A port that nobody listens on any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = Login { endpoint: format!("http://{free}"), ..scene.login.clone() };
    let error = open_error(&scene, &hasty(&nowhere));
    assert!(matches!(error, LogError::Unreachable { .. }), "{error}");
    scene.judge(&[], &[&said]).unwrap();
}

#[test]
fn a_missing_bucket_is_named() {
    let (scene, said) = scene();
    let elsewhere = Login { bucket: "no-such-bucket".to_owned(), ..scene.login.clone() };
    let error = open_error(&scene, &hasty(&elsewhere));
    assert!(matches!(error, LogError::BucketGone { .. } | LogError::NoRecord { .. }), "{error}");
    scene.judge(&[], &[&said]).unwrap();
}

/// Appends a commit, spoils the bucket, appends two at once, and gives their outcomes and the error of another.
fn spoiled(scene: &Scene, state: BucketState) -> (Said, Vec<Outcome>, LogError) {
    let mut said = Said { writer: "spoiled".to_owned(), ..Said::default() };
    let site = hasty(&scene.login);
    let (outcomes, after) = scene.runtime.block_on(async {
        let Opened { log, driver, .. } = Log::open(&site).await.unwrap();
        let driver = tokio::spawn(driver);
        let lsn = log.append(NewCommit::new("spoiled-0")).unwrap();
        assert!(log.wait_durable(lsn).await.is_durable());
        said.acknowledged.insert("spoiled-0".to_owned(), (log.epoch().0, lsn.get()));
        scene.server.set_bucket(BUCKET, state).unwrap();
        // The second may come after the first has failed already, and is refused then.
        let append = |number| log.append(NewCommit::new(format!("spoiled-{number}")));
        let appended = [append(1), append(2)];
        assert!(appended[0].is_ok(), "{appended:?}");
        let mut outcomes = Vec::new();
        for lsn in appended.into_iter().flatten() {
            outcomes.push(log.wait_durable(lsn).await);
        }
        let after = log.append(NewCommit::new("spoiled-3")).unwrap_err();
        driver.await.unwrap();
        (outcomes, after)
    });
    for (number, outcome) in outcomes.iter().enumerate() {
        if outcome.is_not_applied() {
            said.not_applied.insert(format!("spoiled-{}", number + 1), format!("{outcome:?}"));
        }
    }
    (said, outcomes, after)
}

#[test]
fn a_bucket_that_turns_read_only_is_named_and_nothing_acknowledged_is_lost() {
    let (scene, before) = scene();
    let (said, outcomes, after) = spoiled(&scene, BucketState::ReadOnly);
    for outcome in &outcomes {
        let Outcome::NotApplied(why) = outcome else { panic!("{outcome:?}") };
        let told = why.to_string();
        assert!(told.contains("permission denied") && told.contains("read-only"), "{told}");
    }
    assert!(matches!(after, LogError::Poisoned { .. }), "{after}");
    // Reading goes on; so does writing, when the bucket is well and the log is opened again.
    scene.judge(&[], &[&before, &said]).unwrap();
    let denied = open_error(&scene, &hasty(&scene.login));
    assert!(matches!(denied, LogError::Denied { .. }), "{denied}");
    scene.server.set_bucket(BUCKET, BucketState::Well).unwrap();
    let later = scene.complete(&Task { writer: "later".to_owned(), ..Task::default() }).unwrap();
    assert_eq!(later.acknowledged.len(), 20);
    scene.judge(&[], &[&before, &said, &later]).unwrap();
}

#[test]
fn a_bucket_that_vanishes_is_named_and_nothing_acknowledged_is_lost() {
    let (scene, before) = scene();
    let (said, outcomes, after) = spoiled(&scene, BucketState::Gone);
    for outcome in &outcomes {
        let Outcome::NotApplied(why) = outcome else { panic!("{outcome:?}") };
        assert!(why.to_string().contains("bucket does not exist"), "{why}");
    }
    assert!(matches!(after, LogError::Poisoned { .. }), "{after}");
    scene.server.set_bucket(BUCKET, BucketState::Well).unwrap();
    scene.judge(&[], &[&before, &said]).unwrap();
}

/// The 10th record's object, as it is and as `spoil` leaves it.
fn spoil_record(scene: &Scene, spoil: impl FnOnce(&mut Vec<u8>)) -> (Path, bytes::Bytes) {
    let store: Arc<dyn ObjectStore> = Arc::new(scene.login.client().unwrap());
    scene.runtime.block_on(async {
        use futures_util::TryStreamExt;
        let folder = Path::from(format!("{ROOT}/log"));
        let mut keys: Vec<Path> =
            store.list(Some(&folder)).map_ok(|object| object.location).try_collect().await.unwrap();
        keys.sort();
        let key = keys[10].clone();
        let sound = store.get(&key).await.unwrap().bytes().await.unwrap();
        let mut spoilt = sound.to_vec();
        spoil(&mut spoilt);
        store.put(&key, spoilt.into()).await.unwrap();
        (key, sound)
    })
}

/// The error of reading and that of opening with a record spoilt so, after which the sound one is put back.
fn with_spoilt(spoil: impl FnOnce(&mut Vec<u8>)) -> (Path, [LogError; 2]) {
    let (scene, said) = scene();
    let (key, sound) = spoil_record(&scene, spoil);
    let reading = scene.runtime.block_on(recover(&hasty(&scene.login))).map(drop).unwrap_err();
    let opening = open_error(&scene, &hasty(&scene.login));
    let store = scene.login.client().unwrap();
    scene.runtime.block_on(store.put(&key, sound.into())).unwrap();
    scene.judge(&[], &[&said]).unwrap();
    (key, [reading, opening])
}

fn is_corrupt(error: &LogError, key: &Path) {
    let LogError::Corrupt { object, .. } = error else { panic!("{error}") };
    assert_eq!(object, key.as_ref());
}

#[test]
fn a_flipped_bit_is_told_as_corruption_of_that_object() {
    for place in [20, 100, 127, 130, 150] {
        let (key, errors) = with_spoilt(|bytes| bytes[place] ^= 1);
        errors.iter().for_each(|error| is_corrupt(error, &key));
    }
}

#[test]
fn a_truncated_record_is_told_as_corruption_of_that_object() {
    for length in [0, 60, 128, 140] {
        let (key, errors) = with_spoilt(|bytes| bytes.truncate(length));
        errors.iter().for_each(|error| is_corrupt(error, &key));
    }
}

#[test]
fn a_record_of_a_newer_format_is_told_as_such() {
    // The version is at byte 8; the header's checksum, at 120, covers it.
    let (key, errors) = with_spoilt(|bytes| {
        bytes[8] = 200;
        let checksum = twill_commitlog_cas::record::checksum(&bytes[..120]).0;
        bytes[120..128].copy_from_slice(&checksum.to_le_bytes());
    });
    for error in errors {
        let LogError::NewerFormat { object, found: 200, .. } = &error else { panic!("{error}") };
        assert_eq!(object, key.as_ref());
        assert!(error.to_string().contains("version 200"), "{error}");
    }
}
