//! What is in the bucket: keys, bytes, ETags.
//!
//! Invariants:
//! 1. Each method is one instant; a conditional write looks and writes in it.
//! 2. ETags are of the content (equal bytes, equal ETag, as on S3) or unique, by the run's choice; a planted fault changes
//!    only the promise that it names.
//!
//! Crash: it has none. Refuses: what HTTP refuses, with its status.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;

use super::error::Refusal;
use super::faults::Planted;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its ETag, with quotes.
    pub etag: String,
    /// When it was written, in true time.
    pub written: Duration,
}

/// An object as a LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, with quotes.
    pub etag: String,
    /// When it was written, in true time.
    pub written: Duration,
}

/// The condition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// None.
    Always,
    /// Nothing may be there.
    Absent,
    /// The object must have this ETag.
    Matches(String),
}

/// The bucket's objects by key.
#[derive(Debug)]
pub struct Shelf {
    objects: BTreeMap<String, Stored>,
    writes: u64,
    etag_of_content: bool,
    planted: Planted,
    /// Keys that a planted fault will lose, with the instant.
    doomed: Vec<(Duration, String)>,
    uploads: BTreeMap<String, BTreeMap<usize, Bytes>>,
}

const TOO_YOUNG: Duration = Duration::from_secs(2);

impl Shelf {
    pub(crate) fn new(etag_of_content: bool, planted: Planted) -> Self {
        Self {
            objects: BTreeMap::new(),
            writes: 0,
            etag_of_content,
            planted,
            doomed: Vec::new(),
            uploads: BTreeMap::new(),
        }
    }

    pub(crate) fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Every object, in the order of the keys.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.objects.iter().map(|(key, stored)| (key.as_str(), stored))
    }

    /// The object at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Stored> {
        self.objects.get(key)
    }

    /// Replaces the bytes at `key` without a request.
    pub fn damage(&mut self, key: &str, bytes: Bytes) {
        if let Some(stored) = self.objects.get_mut(key) {
            stored.bytes = bytes;
        }
    }

    /// Removes the object at `key` without a request.
    pub fn remove(&mut self, key: &str) {
        self.objects.remove(key);
    }

    pub(crate) fn write(
        &mut self,
        now: Duration,
        key: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<String, Refusal> {
        self.lose_doomed(now);
        let there = self.objects.get(key).map(|stored| stored.etag.as_str());
        match (condition, there) {
            (Condition::Absent, Some(_)) if self.planted != Planted::IgnoresCreate => {
                return Err(Refusal::Status(412));
            }
            (Condition::Matches(_), None) => return Err(Refusal::Status(404)),
            (Condition::Matches(expected), Some(there))
                if expected != there && self.planted != Planted::IgnoresMatch =>
            {
                return Err(Refusal::Status(412));
            }
            (Condition::Always | Condition::Absent | Condition::Matches(_), _) => {}
        }
        self.writes += 1;
        let etag = if self.etag_of_content {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            format!("\"{:016x}\"", hasher.finish())
        } else {
            format!("\"{}\"", self.writes)
        };
        if self.planted == Planted::ForgetsWrites && self.writes.is_multiple_of(20) {
            return Ok(etag);
        }
        if self.planted == Planted::LosesObjects && self.writes.is_multiple_of(20) {
            self.doomed.push((now + Duration::from_secs(1), key.to_owned()));
        }
        self.objects.insert(key.to_owned(), Stored { bytes, etag: etag.clone(), written: now });
        Ok(etag)
    }

    pub(crate) fn read(&mut self, now: Duration, key: &str) -> Result<Stored, Refusal> {
        self.lose_doomed(now);
        let stored = self.objects.get(key).ok_or(Refusal::Status(404))?;
        if self.planted == Planted::ReadsLate && now < stored.written + TOO_YOUNG {
            self.writes += 1;
            if self.writes.is_multiple_of(10) {
                return Err(Refusal::Status(404));
            }
        }
        Ok(stored.clone())
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.objects.remove(key);
    }

    /// The first `most` keys that begin with `prefix` and come after `after`.
    pub(crate) fn list(
        &mut self,
        now: Duration,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> BTreeMap<String, Listed> {
        self.lose_doomed(now);
        let from = std::ops::Bound::Excluded(after.max(prefix).to_owned());
        self.objects
            .range((from, std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, stored)| self.planted != Planted::ListsLate || now >= stored.written + TOO_YOUNG)
            .take(most)
            .map(|(key, stored)| {
                let listed = Listed {
                    size: u64::try_from(stored.bytes.len()).unwrap_or(u64::MAX),
                    etag: stored.etag.clone(),
                    written: stored.written,
                };
                (key.clone(), listed)
            })
            .collect()
    }

    pub(crate) fn begin_upload(&mut self) -> String {
        self.writes += 1;
        let upload = self.writes.to_string();
        self.uploads.insert(upload.clone(), BTreeMap::new());
        upload
    }

    pub(crate) fn upload_part(&mut self, upload: &str, part: usize, bytes: Bytes) -> Result<(), Refusal> {
        let parts = self.uploads.get_mut(upload).ok_or(Refusal::Status(404))?;
        parts.insert(part, bytes);
        Ok(())
    }

    pub(crate) fn complete_upload(
        &mut self,
        now: Duration,
        key: &str,
        upload: &str,
        parts: usize,
    ) -> Result<String, Refusal> {
        let whole = self.uploads.get(upload).is_some_and(|there| there.keys().copied().eq(0..parts));
        if !whole {
            return Err(Refusal::Status(404));
        }
        let joined: Vec<u8> =
            self.uploads.remove(upload).into_iter().flatten().flat_map(|(_, bytes)| bytes).collect();
        self.write(now, key, joined.into(), &Condition::Always)
    }

    pub(crate) fn abort_upload(&mut self, upload: &str) {
        self.uploads.remove(upload);
    }

    fn lose_doomed(&mut self, now: Duration) {
        while let Some(index) = self.doomed.iter().position(|(at, _)| *at <= now) {
            let (_, key) = self.doomed.swap_remove(index);
            self.objects.remove(&key);
        }
    }
}
