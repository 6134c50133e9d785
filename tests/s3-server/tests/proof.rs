//! The bucket proof against stores that are sound, broken in one way each, and broken for real: `s3s-fs` looks first and
//! writes later, as many servers do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use object_store::ObjectStore;
use object_store::path::Path;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use twill_commitlog_cas::environment::{Environment, TokioEnvironment};
use twill_commitlog_cas::{Proof, Race, Refusal, prove_conditional_writes};
use twill_s3_server::{
    Action, BUCKET, BucketState, Command, Conditions, Kind, Latency, Login, Options, Rule, S3Server,
};
use twill_types::Door;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// How long the proof waits here before it tries again, instead of a second and a bit.
const PATIENCE: Duration = Duration::from_millis(55);

/// The real environment, in a hurry.
struct Hasty(TokioEnvironment);

impl Environment for Hasty {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wall_now(&self) -> SystemTime {
        self.0.wall_now()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.0.fill_random(bytes);
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(PATIENCE)
    }
}

/// A future that a caller may spawn.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

fn prove(store: Arc<dyn ObjectStore>) -> Result<Proof, Refusal> {
    let environment = Hasty(TokioEnvironment::new(<dyn Door>::system()));
    let prefix = Path::from("some/prefix");
    runtime().block_on(async {
        let proof = sendable(prove_conditional_writes(&store, &prefix, &environment));
        tokio::time::timeout(Duration::from_secs(100), proof).await.expect("the proof did not end")
    })
}

fn client(login: &Login) -> Arc<dyn ObjectStore> {
    Arc::new(login.client().unwrap())
}

/// The verdict about a server that was prepared so, and that nothing was left in it.
fn verdict(prepare: impl FnOnce(&S3Server)) -> Result<Proof, Refusal> {
    let server = S3Server::start(Options::default()).unwrap();
    prepare(&server);
    let store = client(&Login::to(&server, BUCKET));
    let verdict = prove(Arc::clone(&store));
    server.clear_faults();
    server.set_bucket(BUCKET, BucketState::Well).unwrap();
    let left: Vec<_> = runtime().block_on(store.list(None).try_collect()).unwrap();
    assert!(left.is_empty(), "left behind: {left:?}");
    verdict
}

#[test]
fn a_sound_store_is_proved_and_nothing_is_left_behind() {
    let proved = verdict(|_| {}).unwrap();
    assert_eq!(proved, Proof { creates: Proof::ROUNDS, updates: Proof::ROUNDS, racers: Proof::RACERS });
}

#[test]
fn a_sound_store_is_proved_over_a_distance() {
    verdict(|server| server.set_latency(Latency::S3_EXPRESS)).unwrap();
}

#[test]
fn a_store_that_ignores_preconditions_is_refused() {
    let refusal = verdict(|server| server.set_conditions(Conditions::Ignored)).unwrap_err();
    assert!(matches!(refusal, Refusal::Ignored(Race::Create)), "{refusal}");
}

#[test]
fn a_store_that_honours_creates_alone_is_refused() {
    let refusal = verdict(|server| server.set_conditions(Conditions::CreatesOnly)).unwrap_err();
    assert!(matches!(refusal, Refusal::Ignored(Race::Update)), "{refusal}");
}

#[test]
fn a_store_that_looks_first_and_writes_later_is_refused() {
    let refusal = verdict(|server| server.set_conditions(Conditions::CheckedThenPut)).unwrap_err();
    let Refusal::SeveralWinners { race: Race::Create, winners, .. } = refusal else {
        panic!("{refusal}");
    };
    assert!(winners > 1);
}

#[test]
fn lost_and_late_answers_do_not_condemn_a_sound_store() {
    verdict(|server| {
        let lossy = |percent, action| Rule { percent, kinds: vec![Kind::Put], ..Rule::every(action) };
        server.add_fault(lossy(5, Action::DropReply));
        server.add_fault(lossy(5, Action::Answer { status: 503, code: None, applied: false }));
        server.add_fault(lossy(5, Action::Answer { status: 500, code: None, applied: true }));
    })
    .unwrap();
}

#[test]
fn a_store_that_puts_every_writer_off_gives_no_verdict() {
    let refusal = verdict(|server| {
        let slow_down = Action::Answer { status: 503, code: None, applied: false };
        server.add_fault(Rule { kinds: vec![Kind::Put], ..Rule::every(slow_down) });
    })
    .unwrap_err();
    assert!(matches!(refusal, Refusal::Store(_)), "{refusal}");
}

#[test]
fn a_store_that_refuses_a_creator_of_something_new_is_refused() {
    let refusal = verdict(|server| {
        let refuse = Action::Answer { status: 412, code: None, applied: false };
        let creates = Rule { kinds: vec![Kind::Put], ..Rule::every(refuse) };
        server.add_fault(Rule { key_contains: "created-".to_owned(), ..creates });
    })
    .unwrap_err();
    assert!(matches!(refusal, Refusal::NobodyWon { race: Race::Create, .. }), "{refusal}");
}

#[test]
fn a_store_that_lets_a_refused_writer_through_is_refused() {
    let refusal = verdict(|server| {
        let lie = Action::Answer { status: 412, code: None, applied: true };
        server.add_fault(Rule {
            key_contains: "created-00".to_owned(),
            kinds: vec![Kind::Put],
            ..Rule::every(lie)
        });
    })
    .unwrap_err();
    assert!(matches!(refusal, Refusal::LoserOverwrote { race: Race::Create, round: 0 }), "{refusal}");
}

#[test]
fn a_bucket_that_is_read_only_or_gone_or_not_ours_is_no_verdict_about_races() {
    let denied = verdict(|server| server.set_bucket(BUCKET, BucketState::ReadOnly).unwrap()).unwrap_err();
    assert!(denied.to_string().contains("permission denied"), "{denied}");
    let gone = verdict(|server| server.set_bucket(BUCKET, BucketState::Gone).unwrap()).unwrap_err();
    assert!(gone.to_string().contains("bucket does not exist"), "{gone}");
    let server = S3Server::start(Options::default()).unwrap();
    let stranger = Login { secret_key: "wrong".to_owned(), ..Login::to(&server, BUCKET) };
    let refused = prove(client(&stranger)).unwrap_err();
    assert!(matches!(refused, Refusal::Store(_)), "{refused}");
}

#[test]
fn a_store_without_deletes_is_refused() {
    let server = S3Server::start(Options::default()).unwrap();
    let deny = Action::Answer { status: 403, code: None, applied: false };
    for kind in [Kind::Delete, Kind::DeleteMany] {
        server.add_fault(Rule { kinds: vec![kind], ..Rule::every(deny.clone()) });
    }
    let refused = prove(client(&Login::to(&server, BUCKET))).unwrap_err();
    assert!(matches!(refused, Refusal::Store(_)), "{refused}");
}

/// R2 takes one write per second and key, here shortened as the proof's patience is, and answers 429 to the others.
#[test]
fn a_sound_store_that_takes_few_writes_per_key_is_proved_with_fewer_racers() {
    let proved = verdict(|server| {
        let ms = PATIENCE.mul_f64(0.9).as_millis().try_into().ok();
        server.command(Command::SetSameKeyInterval { ms }).unwrap();
    })
    .unwrap();
    assert!(proved.racers < Proof::RACERS && proved.creates == Proof::ROUNDS, "{proved:?}");
}

/// `s3s-fs` over HTTP.
async fn serve(service: S3Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let service = service.clone();
                async move { service.call(request.map(s3s::Body::from)).await }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    address
}

#[test]
fn s3s_fs_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(BUCKET)).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory.path()).unwrap());
    service.set_auth(SimpleAuth::from_single("key", "secret"));
    let runtime = runtime();
    let address = runtime.block_on(serve(service.build()));
    let login = Login {
        endpoint: format!("http://{address}"),
        bucket: BUCKET.to_owned(),
        access_key: "key".to_owned(),
        secret_key: "secret".to_owned(),
        timeout: Duration::from_secs(30),
    };
    let refusal = prove(client(&login)).unwrap_err();
    assert!(
        matches!(refusal, Refusal::SeveralWinners { .. } | Refusal::LoserOverwrote { .. }),
        "not refused for its races: {refusal}"
    );
}
