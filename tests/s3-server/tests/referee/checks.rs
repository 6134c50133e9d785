//! The checks: what the commit log and the layers above rely on, as `object_store` sees it.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
};

use twill_commitlog_cas::environment::TokioEnvironment;
use twill_commitlog_cas::{Proof, prove_conditional_writes};
use twill_types::Door;

use crate::stores::Store;

/// A check by name.
pub(crate) type Check = fn(Store) -> Pin<Box<dyn Future<Output = Result<()>>>>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), |store| Box::pin($name(store)))),*] };
}

/// Every check.
pub(crate) const CHECKS: &[(&str, Check)] = checks![
    a_create_of_what_exists_is_refused,
    of_racing_creates_one_wins,
    racing_updates_count_right,
    a_stale_update_is_refused,
    an_update_of_nothing_creates_nothing,
    ranges_are_honoured,
    head_tells_size_and_etag,
    odd_keys_and_empty_objects_are_kept,
    lists_have_prefixes_delimiters_and_offsets,
    a_list_shows_every_write_before_it,
    a_list_goes_over_its_pages,
    parts_become_one_object,
    an_aborted_upload_leaves_nothing,
    a_conditional_completion_is_refused,
    deletes_are_idempotent,
    many_deletes_in_one_request,
    copies_are_equal,
    errors_have_their_shapes,
    wrong_credentials_are_denied,
    the_bucket_proof_succeeds,
];

const RACERS: usize = 16;

fn key(name: &str) -> Path {
    Path::from(name)
}

async fn create(store: &Store, name: &str, body: String) -> object_store::Result<Option<String>> {
    let put = store.client.put_opts(&key(name), body.into(), PutMode::Create.into()).await?;
    Ok(put.e_tag)
}

async fn update(store: &Store, name: &str, body: String, etag: &str) -> object_store::Result<()> {
    let version = UpdateVersion { e_tag: Some(etag.to_owned()), version: None };
    store.client.put_opts(&key(name), body.into(), PutMode::Update(version).into()).await.map(drop)
}

async fn read(store: &Store, name: &str) -> Result<(String, String)> {
    let found = store.client.get(&key(name)).await?;
    let etag = found.meta.e_tag.clone().context("no ETag")?;
    Ok((String::from_utf8(found.bytes().await?.to_vec())?, etag))
}

async fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Result<Vec<String>> {
    let prefix = Path::from(prefix);
    let listed = match after {
        Some(after) => store.client.list_with_offset(Some(&prefix), &Path::from(after)),
        None => store.client.list(Some(&prefix)),
    };
    let mut keys: Vec<String> = listed.map_ok(|meta| meta.location.to_string()).try_collect().await?;
    keys.sort();
    Ok(keys)
}

async fn a_create_of_what_exists_is_refused(store: Store) -> Result<()> {
    create(&store, "create/one", "first".to_owned()).await?;
    let refused = create(&store, "create/one", "second".to_owned()).await;
    ensure!(matches!(refused, Err(Error::AlreadyExists { .. })), "answered {refused:?}");
    ensure!(read(&store, "create/one").await?.0 == "first");
    Ok(())
}

async fn of_racing_creates_one_wins(store: Store) -> Result<()> {
    for round in 0..6 {
        let name = format!("race/{round}");
        let racers = (0..RACERS).map(|racer| create(&store, &name, format!("racer {racer}")));
        let told = join_all(racers).await;
        let winners: Vec<usize> = (0..RACERS).filter(|racer| told[*racer].is_ok()).collect();
        ensure!(winners.len() == 1, "round {round}: {winners:?} were told that they had won");
        for refused in told.iter().filter_map(|told| told.as_ref().err()) {
            ensure!(matches!(refused, Error::AlreadyExists { .. }), "a loser was told {refused}");
        }
        let (body, _) = read(&store, &name).await?;
        ensure!(body == format!("racer {}", winners[0]), "round {round}: {winners:?} won, {body} is there");
    }
    Ok(())
}

async fn racing_updates_count_right(store: Store) -> Result<()> {
    const EACH: usize = 4;
    create(&store, "counter", "0".to_owned()).await?;
    let count = async |_| -> Result<()> {
        let mut done = 0;
        while done < EACH {
            let (body, etag) = read(&store, "counter").await?;
            let next = body.parse::<usize>()? + 1;
            match update(&store, "counter", next.to_string(), &etag).await {
                Ok(()) => done += 1,
                // 409, which S3 may answer under such a race, arrives as AlreadyExists.
                Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    };
    for counted in join_all((0..8).map(count)).await {
        counted?;
    }
    let (body, _) = read(&store, "counter").await?;
    ensure!(body == (8 * EACH).to_string(), "8 times {EACH} acknowledged increments are {body}");
    Ok(())
}

async fn a_stale_update_is_refused(store: Store) -> Result<()> {
    let stale = create(&store, "stale", "1".to_owned()).await?.context("no ETag")?;
    update(&store, "stale", "2".to_owned(), &stale).await?;
    let refused = update(&store, "stale", "3".to_owned(), &stale).await;
    ensure!(matches!(refused, Err(Error::Precondition { .. })), "answered {refused:?}");
    ensure!(read(&store, "stale").await?.0 == "2");
    Ok(())
}

async fn an_update_of_nothing_creates_nothing(store: Store) -> Result<()> {
    let etag = "\"900150983cd24fb0d6963f7d28e17f72\"";
    let refused = update(&store, "nothing", "1".to_owned(), etag).await;
    ensure!(matches!(refused, Err(Error::Precondition { .. })), "answered {refused:?}");
    let found = store.client.get(&key("nothing")).await;
    ensure!(matches!(found, Err(Error::NotFound { .. })), "answered {:?}", found.map(|found| found.meta));
    Ok(())
}

async fn ranges_are_honoured(store: Store) -> Result<()> {
    let body: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    store.client.put(&key("ranges"), body.clone().into()).await?;
    let cases = [
        (GetRange::Bounded(0..10), 0..10),
        (GetRange::Bounded(5_000..5_001), 5_000..5_001),
        (GetRange::Bounded(9_990..20_000), 9_990..10_000),
        (GetRange::Offset(9_000), 9_000..10_000),
        (GetRange::Suffix(7), 9_993..10_000),
        (GetRange::Suffix(20_000), 0..10_000),
    ];
    for (range, expected) in cases {
        let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
        let found =
            store.client.get_opts(&key("ranges"), options).await.with_context(|| format!("{range:?}"))?;
        ensure!(found.meta.size == 10_000, "{range:?}: a size of {}", found.meta.size);
        ensure!(found.bytes().await? == body[expected], "{range:?} gave other bytes");
    }
    let beyond = GetOptions { range: Some(GetRange::Bounded(10_000..10_001)), ..GetOptions::default() };
    ensure!(store.client.get_opts(&key("ranges"), beyond).await.is_err(), "a range behind the end was found");
    Ok(())
}

async fn head_tells_size_and_etag(store: Store) -> Result<()> {
    let put = store.client.put(&key("head"), PutPayload::from_static(b"seven..")).await?;
    let head = store.client.head(&key("head")).await?;
    ensure!(head.size == 7 && head.e_tag == put.e_tag && put.e_tag.is_some(), "{put:?}, {head:?}");
    Ok(())
}

async fn odd_keys_and_empty_objects_are_kept(store: Store) -> Result<()> {
    let names =
        ["odd/with space", "odd/plus+and=and&", "odd/ümlaut", "odd/100%", "odd/a:b;c,d", "odd/.proof"];
    for name in names {
        create(&store, name, String::new()).await.with_context(|| name.to_owned())?;
        ensure!(read(&store, name).await?.0.is_empty(), "{name} is not empty");
    }
    let mut expected: Vec<String> = names.iter().map(|name| Path::from(*name).to_string()).collect();
    expected.sort();
    let listed = keys(&store, "odd", None).await?;
    ensure!(listed == expected, "{listed:?}");
    Ok(())
}

async fn lists_have_prefixes_delimiters_and_offsets(store: Store) -> Result<()> {
    for name in ["log/0/00", "log/0/01", "log/1/00", "log/1/01", "log/1/02", "logs", "lo"] {
        create(&store, name, "x".to_owned()).await?;
    }
    let all = keys(&store, "log", None).await?;
    ensure!(all == ["log/0/00", "log/0/01", "log/1/00", "log/1/01", "log/1/02"], "{all:?}");
    let tail = keys(&store, "log", Some("log/1/00")).await?;
    ensure!(tail == ["log/1/01", "log/1/02"], "{tail:?}");
    // An offset need not exist.
    let between = keys(&store, "log", Some("log/0/5")).await?;
    ensure!(between == ["log/1/00", "log/1/01", "log/1/02"], "{between:?}");
    let folded = store.client.list_with_delimiter(Some(&Path::from("log"))).await?;
    let folders: Vec<String> = folded.common_prefixes.iter().map(ToString::to_string).collect();
    ensure!(folders == ["log/0", "log/1"] && folded.objects.is_empty(), "{folded:?}");
    Ok(())
}

async fn a_list_shows_every_write_before_it(store: Store) -> Result<()> {
    for number in 0..20 {
        let name = format!("fresh/{number:02}");
        create(&store, &name, "x".to_owned()).await?;
        let listed = keys(&store, "fresh", None).await?;
        ensure!(listed.len() == number + 1, "after {} writes: {listed:?}", number + 1);
    }
    for number in 0..20 {
        store.client.delete(&key(&format!("fresh/{number:02}"))).await?;
        let listed = keys(&store, "fresh", None).await?;
        ensure!(listed.len() == 19 - number, "after {} deletes: {listed:?}", number + 1);
    }
    Ok(())
}

async fn a_list_goes_over_its_pages(store: Store) -> Result<()> {
    const MANY: usize = 1_100;
    let creates = (0..MANY).map(|number| {
        let store = store.clone();
        async move { create(&store, &format!("many/{number:04}"), "x".to_owned()).await }
    });
    let made: Vec<_> = stream::iter(creates).buffer_unordered(RACERS).try_collect().await?;
    ensure!(made.len() == MANY);
    let listed = keys(&store, "many", None).await?;
    ensure!(listed.len() == MANY, "{} of {MANY}", listed.len());
    let tail = keys(&store, "many", Some("many/0049")).await?;
    ensure!(tail.len() == MANY - 50 && tail[0] == "many/0050", "{} from {}", tail.len(), tail[0]);
    Ok(())
}

fn parts() -> [Vec<u8>; 2] {
    [vec![1; 5 << 20], vec![2; 1_000]]
}

async fn parts_become_one_object(store: Store) -> Result<()> {
    let name = key("multipart");
    let upload = store.client.create_multipart(&name).await?;
    let mut uploaded = Vec::new();
    for (place, part) in parts().into_iter().enumerate() {
        uploaded.push(store.client.put_part(&name, &upload, place, part.into()).await?);
    }
    ensure!(matches!(store.client.head(&name).await, Err(Error::NotFound { .. })), "visible before its end");
    let put = store.client.complete_multipart(&name, &upload, uploaded).await?;
    let found = store.client.get(&name).await?;
    ensure!(found.meta.e_tag == put.e_tag && put.e_tag.is_some(), "{put:?}, {:?}", found.meta);
    ensure!(found.bytes().await? == parts().concat(), "other bytes");
    Ok(())
}

async fn an_aborted_upload_leaves_nothing(store: Store) -> Result<()> {
    let name = key("aborted");
    let upload = store.client.create_multipart(&name).await?;
    let part = store.client.put_part(&name, &upload, 0, Bytes::from_static(b"x").into()).await?;
    store.client.abort_multipart(&name, &upload).await?;
    ensure!(store.client.complete_multipart(&name, &upload, vec![part]).await.is_err(), "completed");
    ensure!(keys(&store, "aborted", None).await?.is_empty());
    Ok(())
}

/// `object_store` completes conditionally where it copies without overwriting.
async fn a_conditional_completion_is_refused(store: Store) -> Result<()> {
    create(&store, "source", "the source".to_owned()).await?;
    store.client.copy_if_not_exists(&key("source"), &key("completed")).await?;
    ensure!(read(&store, "completed").await?.0 == "the source");
    create(&store, "taken", "taken".to_owned()).await?;
    let refused = store.client.copy_if_not_exists(&key("source"), &key("taken")).await;
    ensure!(matches!(refused, Err(Error::AlreadyExists { .. })), "answered {refused:?}");
    ensure!(read(&store, "taken").await?.0 == "taken");
    Ok(())
}

async fn deletes_are_idempotent(store: Store) -> Result<()> {
    create(&store, "deleted", "x".to_owned()).await?;
    store.client.delete(&key("deleted")).await?;
    store.client.delete(&key("deleted")).await?;
    ensure!(matches!(store.client.head(&key("deleted")).await, Err(Error::NotFound { .. })));
    create(&store, "deleted", "again".to_owned()).await?;
    Ok(())
}

async fn many_deletes_in_one_request(store: Store) -> Result<()> {
    let names: Vec<String> = (0..10).map(|number| format!("doomed/{number}")).collect();
    for name in &names {
        create(&store, name, "x".to_owned()).await?;
    }
    let doomed: Vec<_> =
        names.iter().map(String::as_str).chain(["doomed/none"]).map(|name| Ok(Path::from(name))).collect();
    let deleted: Vec<Path> = store.client.delete_stream(stream::iter(doomed).boxed()).try_collect().await?;
    ensure!(deleted.len() == 11, "{deleted:?}");
    ensure!(keys(&store, "doomed", None).await?.is_empty());
    Ok(())
}

async fn copies_are_equal(store: Store) -> Result<()> {
    create(&store, "copied/from", "copied".to_owned()).await?;
    store.client.copy(&key("copied/from"), &key("copied/to")).await?;
    ensure!(read(&store, "copied/to").await?.0 == "copied");
    Ok(())
}

async fn errors_have_their_shapes(store: Store) -> Result<()> {
    let found = store.client.get(&key("no/such/key")).await;
    ensure!(matches!(found, Err(Error::NotFound { .. })), "{:?}", found.map(|found| found.meta));
    let nowhere = store.elsewhere("no-such-bucket-at-all")?;
    let refused = create(&nowhere, "k", "x".to_owned()).await;
    let Err(error @ Error::NotFound { .. }) = &refused else {
        anyhow::bail!("a bucket that is not there answered {refused:?}");
    };
    ensure!(error.to_string().contains("NoSuchBucket"), "{error}");
    Ok(())
}

async fn wrong_credentials_are_denied(store: Store) -> Result<()> {
    for stranger in store.strangers()? {
        let refused = create(&stranger, "stranger", "x".to_owned()).await;
        let denied = matches!(refused, Err(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }));
        ensure!(denied, "answered {refused:?}");
    }
    Ok(())
}

async fn the_bucket_proof_succeeds(store: Store) -> Result<()> {
    let client: Arc<dyn ObjectStore> = Arc::new(store.client);
    let environment = TokioEnvironment::new(<dyn Door>::system());
    let proof = prove_conditional_writes(&client, &Path::from("proved"), &environment).await?;
    ensure!(proof.creates == Proof::ROUNDS && proof.racers == Proof::RACERS, "{proof:?}");
    Ok(())
}
