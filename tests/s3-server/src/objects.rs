//! Buckets, objects and multipart uploads, with conditional writes that hold under any race.
//!
//! Invariants:
//! 1. Writes to one key happen one after another: checking a condition, making the bytes durable and showing them to
//!    readers is one step under the key's lock. Of any number of racing creates exactly one wins.
//! 2. A reader sees an object whole: its attributes and bytes are of one write.
//! 3. A list is the store at one moment, in byte order of the keys, and holds every write acknowledged before it.
//! 4. A write is shown only when it is durable in its medium.
//!
//! [`Conditions`] can be told to break 1, so that tests see how a bad store is found out.
//!
//! Absent: versions, access lists, encryption, storage classes, tags.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use s3s::crypto::{Checksum, Md5, Sha256};
use serde::{Deserialize, Serialize};
use twill_types::Door;

use crate::medium::{Body, Header, Medium};

/// S3's smallest size of a part that is not the last.
pub(crate) const PART_BYTES_MIN: u64 = 5 << 20;

/// Keys that share a lock are rare enough with so many.
const STRIPES: usize = 256;

/// How a store treats preconditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditions {
    /// Atomically, as S3 does.
    #[default]
    Honoured,
    /// Not at all: every write succeeds.
    Ignored,
    /// Looks first and writes later: right one request at a time, wrong under a race.
    CheckedThenPut,
    /// Creates are honoured, and `If-Match` is not looked at.
    CreatesOnly,
}

/// What befell a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketState {
    /// Nothing.
    #[default]
    Well,
    /// Writes are denied.
    ReadOnly,
    /// It answers as if it had been deleted.
    Gone,
}

/// A write's precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Absent,
    Matches(String),
    Exists,
}

/// Why an operation was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("the bucket exists")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("no such key")]
    NoSuchKey,
    #[error("no such upload")]
    NoSuchUpload,
    #[error("a part is unknown, or its ETag is another")]
    InvalidPart,
    #[error("a part that is not the last has less than {PART_BYTES_MIN} bytes")]
    PartTooSmall,
    #[error("the precondition does not hold")]
    Precondition,
    #[error("the bucket is read-only")]
    ReadOnly,
    #[error("the medium failed: {0}")]
    Medium(#[from] io::Error),
}

/// One object: attributes and where its bytes are.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) header: Arc<Header>,
    body: Body,
}

/// What a writer gives besides the bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    pub(crate) content_type: Option<String>,
    pub(crate) metadata: Vec<(String, String)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct UploadHeader {
    key: String,
    content_type: Option<String>,
    metadata: Vec<(String, String)>,
}

#[derive(Debug)]
struct Upload {
    header: UploadHeader,
    parts: BTreeMap<i32, Object>,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    objects: RwLock<BTreeMap<String, Object>>,
    uploads: Mutex<BTreeMap<String, Upload>>,
    stripes: Vec<Mutex<()>>,
    state: Mutex<BucketState>,
}

/// A page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Header>>,
    pub(crate) common_prefixes: Vec<String>,
    /// The last key or prefix of this page, if there is more.
    pub(crate) next: Option<String>,
}

/// All buckets.
pub(crate) struct Objects {
    medium: Medium,
    door: Arc<dyn Door>,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    conditions: Mutex<Conditions>,
}

impl Objects {
    /// What the medium holds.
    pub(crate) fn open(medium: Medium, door: Arc<dyn Door>) -> io::Result<Self> {
        let mut buckets = BTreeMap::new();
        for name in medium.rooms(Path::new(""))? {
            let bucket = Bucket::new(&name);
            bucket.load(&medium)?;
            buckets.insert(name, Arc::new(bucket));
        }
        Ok(Self { medium, door, buckets: RwLock::new(buckets), conditions: Mutex::default() })
    }

    /// Whether operations wait for a disk.
    pub(crate) fn blocks(&self) -> bool {
        matches!(self.medium, Medium::Directory { .. })
    }

    pub(crate) fn conditions(&self) -> Conditions {
        *locked(&self.conditions)
    }

    pub(crate) fn set_conditions(&self, conditions: Conditions) {
        *locked(&self.conditions) = conditions;
    }

    pub(crate) fn set_state(&self, bucket: &str, state: BucketState) -> Result<(), Refused> {
        let found = reading(&self.buckets).get(bucket).cloned().ok_or(Refused::NoSuchBucket)?;
        *locked(&found.state) = state;
        Ok(())
    }

    pub(crate) fn bucket_names(&self) -> Vec<String> {
        reading(&self.buckets).keys().cloned().collect()
    }

    pub(crate) fn create_bucket(&self, name: &str) -> Result<(), Refused> {
        let mut buckets = writing(&self.buckets);
        if buckets.contains_key(name) {
            return Err(Refused::BucketExists);
        }
        let bucket = Bucket::new(name);
        self.medium.make_room(&bucket.place("objects"))?;
        self.medium.make_room(&bucket.place("uploads"))?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(())
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), Refused> {
        let bucket = self.bucket(name, true)?;
        let mut buckets = writing(&self.buckets);
        if !reading(&bucket.objects).is_empty() {
            return Err(Refused::BucketNotEmpty);
        }
        self.medium.clear_room(Path::new(name))?;
        buckets.remove(name);
        Ok(())
    }

    /// The bucket, unless it is gone, or read-only and `writes`.
    pub(crate) fn bucket(&self, name: &str, writes: bool) -> Result<Arc<Bucket>, Refused> {
        let bucket = reading(&self.buckets).get(name).cloned().ok_or(Refused::NoSuchBucket)?;
        let state = *locked(&bucket.state);
        match state {
            BucketState::Gone => Err(Refused::NoSuchBucket),
            BucketState::ReadOnly if writes => Err(Refused::ReadOnly),
            BucketState::Well | BucketState::ReadOnly => Ok(bucket),
        }
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Result<Object, Refused> {
        let bucket = self.bucket(bucket, false)?;
        reading(&bucket.objects).get(key).cloned().ok_or(Refused::NoSuchKey)
    }

    /// The attributes of an object and the part of its bytes that `range` asks for, both of one write.
    pub(crate) fn read<E: From<Refused>>(
        &self,
        bucket: &str,
        key: &str,
        range: impl Fn(&Header) -> Result<Range<u64>, E>,
    ) -> Result<(Arc<Header>, Range<u64>, Bytes), E> {
        loop {
            let object = self.get(bucket, key)?;
            let wanted = range(&object.header)?;
            let read = object.body.read(&object.header.etag, wanted.clone()).map_err(Refused::Medium)?;
            // Replaced between the look and the read: look again.
            if let Some(bytes) = read {
                return Ok((object.header, wanted, bytes));
            }
        }
    }

    /// Whether `condition` holds now. Says nothing of a moment later.
    pub(crate) fn check(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), Refused> {
        let bucket = self.bucket(bucket, true)?;
        let objects = reading(&bucket.objects);
        let found = objects.get(key).map(|object| object.header.etag.as_str());
        match (condition, found) {
            (Condition::Always, _) | (Condition::Absent, None) | (Condition::Exists, Some(_)) => Ok(()),
            (Condition::Matches(wanted), Some(found)) if wanted == found => Ok(()),
            (Condition::Matches(_) | Condition::Exists, None) => Err(Refused::NoSuchKey),
            (Condition::Absent | Condition::Matches(_), Some(_)) => Err(Refused::Precondition),
        }
    }

    /// Writes an object.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        described: Described,
        condition: &Condition,
    ) -> Result<Arc<Header>, Refused> {
        let etag = hex(&Md5::checksum(&body));
        self.put_as(bucket, key, body, described, condition, etag)
    }

    fn put_as(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        described: Described,
        condition: &Condition,
        etag: String,
    ) -> Result<Arc<Header>, Refused> {
        let found = self.bucket(bucket, true)?;
        let _turn = locked(found.stripe(key));
        self.check(bucket, key, condition)?;
        let header = Arc::new(self.header(key, etag, &body, described));
        let body = self.medium.write(&found.object_place(key), &*header, body)?;
        let object = Object { header: Arc::clone(&header), body };
        writing(&found.objects).insert(key.to_owned(), object);
        Ok(header)
    }

    fn header(&self, key: &str, etag: String, body: &Bytes, described: Described) -> Header {
        let since_1970 = self.door.wall_now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Header {
            key: key.to_owned(),
            etag,
            size: u64::try_from(body.len()).unwrap_or(u64::MAX),
            modified_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            content_type: described.content_type,
            metadata: described.metadata,
        }
    }

    /// Removes an object; that there is none is no refusal, unless the condition asks for one.
    pub(crate) fn delete(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), Refused> {
        let found = self.bucket(bucket, true)?;
        let _turn = locked(found.stripe(key));
        self.check(bucket, key, condition)?;
        let object = reading(&found.objects).get(key).cloned();
        if let Some(object) = object {
            object.body.remove()?;
            writing(&found.objects).remove(key);
        }
        Ok(())
    }

    /// At most `max` keys and common prefixes after `after`.
    pub(crate) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: Option<&str>,
        after: &str,
        max: usize,
    ) -> Result<Page, Refused> {
        let bucket = self.bucket(bucket, false)?;
        let objects = reading(&bucket.objects);
        let mut page = Page::default();
        let mut last: Option<String> = None;
        let mut from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        if delimiter.is_none_or(str::is_empty) {
            let found = objects.range::<str, _>((from, Bound::Unbounded));
            for (key, object) in found.take_while(|(key, _)| key.starts_with(prefix)) {
                if page.objects.len() == max {
                    page.next = last;
                    break;
                }
                last = Some(key.clone());
                page.objects.push(Arc::clone(&object.header));
            }
            return Ok(page);
        }
        let delimiter = delimiter.unwrap_or_default();
        let mut skipped: String;
        while let Some((key, object)) = objects.range::<str, _>((from, Bound::Unbounded)).next() {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            let folded = rest.find(delimiter).and_then(|at| key.get(..prefix.len() + at + delimiter.len()));
            // A page that ended with this prefix has already named everything below it.
            let known = folded.is_some_and(|folded| folded <= after);
            if !known && page.objects.len() + page.common_prefixes.len() == max {
                page.next = last;
                break;
            }
            if let Some(folded) = folded {
                if !known {
                    last = Some(folded.to_owned());
                    page.common_prefixes.push(folded.to_owned());
                }
                let Some(beyond) = after_all_below(folded) else { break };
                skipped = beyond;
                from = Bound::Included(&skipped);
            } else {
                from = Bound::Excluded(key);
                last = Some(key.clone());
                page.objects.push(Arc::clone(&object.header));
            }
        }
        Ok(page)
    }

    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        described: Described,
    ) -> Result<String, Refused> {
        let found = self.bucket(bucket, true)?;
        let mut random = [0; 16];
        self.door.fill_random(&mut random);
        let id = hex(&random);
        let Described { content_type, metadata } = described;
        let header = UploadHeader { key: key.to_owned(), content_type, metadata };
        self.medium.make_room(&found.upload_place(&id))?;
        self.medium.write(&found.upload_place(&id).join("upload"), &header, Bytes::new())?;
        locked(&found.uploads).insert(id.clone(), Upload { header, parts: BTreeMap::new() });
        Ok(id)
    }

    pub(crate) fn upload_part(
        &self,
        bucket: &str,
        id: &str,
        number: i32,
        body: Bytes,
    ) -> Result<String, Refused> {
        let found = self.bucket(bucket, true)?;
        if !locked(&found.uploads).contains_key(id) {
            return Err(Refused::NoSuchUpload);
        }
        let header = self.header("", hex(&Md5::checksum(&body)), &body, Described::default());
        let body = self.medium.write(&found.upload_place(id).join(number.to_string()), &header, body)?;
        let etag = header.etag.clone();
        let part = Object { header: Arc::new(header), body };
        let mut uploads = locked(&found.uploads);
        uploads.get_mut(id).ok_or(Refused::NoSuchUpload)?.parts.insert(number, part);
        Ok(etag)
    }

    /// Makes an object of the parts named by number and `ETag`.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        id: &str,
        named: &[(i32, Option<String>)],
        condition: &Condition,
    ) -> Result<Arc<Header>, Refused> {
        let found = self.bucket(bucket, true)?;
        let (header, parts) = found.parts(id, named)?;
        let mut whole = Vec::new();
        let mut digests = Vec::new();
        for part in &parts {
            let bytes =
                part.body.read(&part.header.etag, 0..part.header.size)?.ok_or(Refused::InvalidPart)?;
            digests.extend_from_slice(&Md5::checksum(&bytes));
            whole.extend_from_slice(&bytes);
        }
        let etag = format!("{}-{}", hex(&Md5::checksum(&digests)), parts.len());
        let described = Described { content_type: header.content_type, metadata: header.metadata };
        let written = self.put_as(bucket, &header.key, whole.into(), described, condition, etag)?;
        self.abort_upload(bucket, id)?;
        Ok(written)
    }

    pub(crate) fn abort_upload(&self, bucket: &str, id: &str) -> Result<(), Refused> {
        let found = self.bucket(bucket, true)?;
        locked(&found.uploads).remove(id).ok_or(Refused::NoSuchUpload)?;
        Ok(self.medium.clear_room(&found.upload_place(id))?)
    }
}

impl Bucket {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            objects: RwLock::default(),
            uploads: Mutex::default(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            state: Mutex::default(),
        }
    }

    fn load(&self, medium: &Medium) -> io::Result<()> {
        for file in medium.files(&self.place("objects"))? {
            let (header, body) = medium.load::<Header>(&self.place("objects").join(file))?;
            let object = Object { header: Arc::new(header), body };
            writing(&self.objects).insert(object.header.key.clone(), object);
        }
        for id in medium.rooms(&self.place("uploads"))? {
            let place = self.upload_place(&id);
            let mut parts = BTreeMap::new();
            let mut upload = None;
            for file in medium.files(&place)? {
                match file.parse() {
                    Ok(number) => {
                        let (header, body) = medium.load::<Header>(&place.join(file))?;
                        parts.insert(number, Object { header: Arc::new(header), body });
                    }
                    Err(_) => upload = Some(medium.load::<UploadHeader>(&place.join(file))?.0),
                }
            }
            if let Some(header) = upload {
                locked(&self.uploads).insert(id, Upload { header, parts });
            }
        }
        Ok(())
    }

    fn parts(
        &self,
        id: &str,
        named: &[(i32, Option<String>)],
    ) -> Result<(UploadHeader, Vec<Object>), Refused> {
        let uploads = locked(&self.uploads);
        let upload = uploads.get(id).ok_or(Refused::NoSuchUpload)?;
        let mut parts = Vec::new();
        for (place, (number, etag)) in named.iter().enumerate() {
            let part = upload.parts.get(number).ok_or(Refused::InvalidPart)?;
            if etag.as_ref().is_some_and(|etag| *etag != part.header.etag) {
                return Err(Refused::InvalidPart);
            }
            if place + 1 < named.len() && part.header.size < PART_BYTES_MIN {
                return Err(Refused::PartTooSmall);
            }
            parts.push(part.clone());
        }
        if parts.is_empty() {
            return Err(Refused::InvalidPart);
        }
        Ok((upload.header.clone(), parts))
    }

    fn stripe(&self, key: &str) -> &Mutex<()> {
        let hash = key.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31) ^ usize::from(byte));
        #[expect(clippy::indexing_slicing, reason = "there are STRIPES of them")]
        &self.stripes[hash % STRIPES]
    }

    fn place(&self, room: &str) -> PathBuf {
        Path::new(&self.name).join(room)
    }

    fn object_place(&self, key: &str) -> PathBuf {
        self.place("objects").join(hex(&Sha256::checksum(key.as_bytes())))
    }

    fn upload_place(&self, id: &str) -> PathBuf {
        self.place("uploads").join(id)
    }
}

/// The first string that sorts after every one that begins with `prefix`; `None` if there is none.
fn after_all_below(prefix: &str) -> Option<String> {
    let mut shorter = prefix.to_owned();
    while let Some(last) = shorter.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            shorter.push(next);
            return Some(shorter);
        }
    }
    None
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reading<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn writing<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: &[&str]) -> Objects {
        let objects = Objects::open(Medium::Memory, <dyn Door>::system()).unwrap();
        objects.create_bucket("bucket").unwrap();
        for key in keys {
            objects.put("bucket", key, Bytes::new(), Described::default(), &Condition::Always).unwrap();
        }
        objects
    }

    /// Walks all pages of a list: keys, and prefixes with a `*`.
    fn walk(
        objects: &Objects,
        prefix: &str,
        delimiter: Option<&str>,
        after: &str,
        max: usize,
    ) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), after.to_owned());
        loop {
            let page = objects.list("bucket", prefix, delimiter, &after, max).unwrap();
            assert!(page.objects.len() + page.common_prefixes.len() <= max);
            found.extend(page.objects.iter().map(|header| header.key.clone()));
            found.extend(page.common_prefixes.iter().map(|prefix| format!("{prefix}*")));
            match page.next {
                Some(next) => after = next,
                None => return found,
            }
        }
    }

    #[test]
    fn lists_are_the_same_however_long_their_pages_are() {
        let keys = ["a", "a/1", "a/2", "a/\u{10ffff}", "a0", "b/1/x", "b/2", "c"];
        let objects = filled(&keys);
        for max in 1..=keys.len() + 1 {
            assert_eq!(walk(&objects, "", None, "", max), keys);
            assert_eq!(walk(&objects, "a/", None, "a/1", max), ["a/2", "a/\u{10ffff}"]);
            let mut folded = walk(&objects, "", Some("/"), "", max);
            folded.sort();
            assert_eq!(folded, ["a", "a/*", "a0", "b/*", "c"], "{max} on a page");
            let mut below = walk(&objects, "b/", Some("/"), "", max);
            below.sort();
            assert_eq!(below, ["b/1/*", "b/2"]);
        }
        assert!(walk(&objects, "z", None, "", 3).is_empty());
    }

    #[test]
    fn the_first_string_after_a_prefix() {
        assert_eq!(after_all_below("a/").as_deref(), Some("a0"));
        assert_eq!(after_all_below("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(after_all_below("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_all_below("\u{10ffff}"), None);
    }

    #[test]
    fn of_racing_creates_one_wins_and_conditions_answer_as_s3_does() {
        let objects = filled(&[]);
        let won = std::thread::scope(|scope| {
            let create =
                || objects.put("bucket", "k", "1".into(), Described::default(), &Condition::Absent).is_ok();
            let racers: Vec<_> = (0..16).map(|_| scope.spawn(create)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, 1);
        let put = |key: &str, condition| {
            objects
                .put("bucket", key, "2".into(), Described::default(), &condition)
                .map(|header| header.etag.clone())
        };
        assert!(matches!(put("none", Condition::Exists), Err(Refused::NoSuchKey)));
        assert!(matches!(put("none", Condition::Matches("e".into())), Err(Refused::NoSuchKey)));
        assert!(matches!(put("k", Condition::Matches("e".into())), Err(Refused::Precondition)));
        let etag = objects.get("bucket", "k").unwrap().header.etag.clone();
        assert_ne!(put("k", Condition::Matches(etag.clone())).unwrap(), etag);
        assert!(matches!(put("k", Condition::Matches(etag)), Err(Refused::Precondition)));
    }
}
