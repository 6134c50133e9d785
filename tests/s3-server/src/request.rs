//! What a request asks for, told from its line and headers alone, before its body is read or its signature checked.
//!
//! Invariants:
//! 1. Every request has exactly one [`Kind`]; what this server does not know is [`Kind::Other`], never guessed.
//! 2. A key is what the path says after percent-decoding, as S3 itself takes it.
//!
//! Addresses are path-style alone (`/bucket/key`): a test server on a loopback port has no names for buckets.

use hyper::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};

/// One kind of request, as S3 bills and limits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An object's bytes, whole.
    Put,
    /// An object's bytes, or a range of them.
    Get,
    /// An object's size and `ETag`.
    Head,
    /// Removes one object.
    Delete,
    /// Removes up to a thousand objects.
    DeleteMany,
    /// A page of keys.
    List,
    /// Copies an object inside the store.
    Copy,
    /// Begins a multipart upload.
    CreateMultipart,
    /// One part of a multipart upload.
    UploadPart,
    /// Makes an object of uploaded parts.
    CompleteMultipart,
    /// Drops uploaded parts.
    AbortMultipart,
    /// Anything about buckets themselves.
    Bucket,
    /// Nothing that this server knows.
    Other,
}

impl Kind {
    /// Whether such a request changes what the store holds.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Put
            | Self::Delete
            | Self::DeleteMany
            | Self::Copy
            | Self::CreateMultipart
            | Self::UploadPart
            | Self::CompleteMultipart
            | Self::AbortMultipart => true,
            Self::Get | Self::Head | Self::List | Self::Bucket | Self::Other => false,
        }
    }
}

/// The precondition that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precondition {
    /// `If-None-Match`: for writes, create.
    IfNoneMatch,
    /// `If-Match`: for writes, replace what was read.
    IfMatch,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it asks for.
    pub kind: Kind,
    /// The bucket; empty for the service itself.
    pub bucket: String,
    /// The key, or for a list the prefix; empty where there is none.
    pub key: String,
    /// The precondition it carries.
    pub precondition: Option<Precondition>,
}

impl Target {
    /// Reads a request's line and headers.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = Query::of(uri);
        let kind = kind(method, key, &query, headers);
        let key = if kind == Kind::List { query.value("prefix").unwrap_or_default() } else { key };
        let precondition = if headers.contains_key("if-none-match") {
            Some(Precondition::IfNoneMatch)
        } else {
            headers.contains_key("if-match").then_some(Precondition::IfMatch)
        };
        Self { kind, bucket: decode(bucket), key: decode(key), precondition }
    }
}

fn kind(method: &Method, key: &str, query: &Query<'_>, headers: &HeaderMap) -> Kind {
    let about_object = !key.is_empty();
    match *method {
        Method::PUT if about_object && query.has("partNumber") => Kind::UploadPart,
        Method::PUT if about_object && headers.contains_key("x-amz-copy-source") => Kind::Copy,
        Method::PUT if about_object => Kind::Put,
        Method::GET if about_object => Kind::Get,
        Method::GET if query.has("list-type") || query.has("prefix") => Kind::List,
        Method::HEAD if about_object => Kind::Head,
        Method::DELETE if about_object && query.has("uploadId") => Kind::AbortMultipart,
        Method::DELETE if about_object => Kind::Delete,
        Method::POST if about_object && query.has("uploads") => Kind::CreateMultipart,
        Method::POST if about_object && query.has("uploadId") => Kind::CompleteMultipart,
        Method::POST if query.has("delete") => Kind::DeleteMany,
        Method::PUT | Method::GET | Method::HEAD | Method::DELETE => Kind::Bucket,
        _ => Kind::Other,
    }
}

struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(found, _)| found == name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.pairs().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// Percent-decoding. What is not a valid escape stays as it is: this is for logs and rules, not for storage.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match (escaped, tail) {
            (Some((high, low)), [_, _, after @ ..]) => {
                bytes.push(high * 16 + low);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, uri: &str, headers: &[(&'static str, &str)]) -> Target {
        let headers =
            headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Target::of(&method, &uri.parse().unwrap(), &headers)
    }

    #[test]
    fn every_kind_is_told_from_its_line() {
        let cases = [
            (Method::PUT, "/b/k", Kind::Put),
            (Method::PUT, "/b/k?partNumber=1&uploadId=x", Kind::UploadPart),
            (Method::GET, "/b/k", Kind::Get),
            (Method::HEAD, "/b/k", Kind::Head),
            (Method::DELETE, "/b/k", Kind::Delete),
            (Method::DELETE, "/b/k?uploadId=x", Kind::AbortMultipart),
            (Method::POST, "/b/k?uploads", Kind::CreateMultipart),
            (Method::POST, "/b/k?uploads=", Kind::CreateMultipart),
            (Method::POST, "/b/k?uploadId=x", Kind::CompleteMultipart),
            (Method::POST, "/b?delete", Kind::DeleteMany),
            (Method::POST, "/b/?delete=", Kind::DeleteMany),
            (Method::GET, "/b?list-type=2&prefix=a", Kind::List),
            (Method::PUT, "/b", Kind::Bucket),
            (Method::GET, "/", Kind::Bucket),
            (Method::PATCH, "/b/k", Kind::Other),
        ];
        for (method, uri, kind) in cases {
            assert_eq!(target(method.clone(), uri, &[]).kind, kind, "{method} {uri}");
        }
        assert_eq!(target(Method::PUT, "/b/k", &[("x-amz-copy-source", "b/other")]).kind, Kind::Copy);
    }

    #[test]
    fn names_are_decoded_and_a_list_is_named_by_its_prefix() {
        let list = target(Method::GET, "/b?list-type=2&prefix=log%2F0%2f&start-after=x", &[]);
        assert_eq!((list.bucket.as_str(), list.key.as_str()), ("b", "log/0/"));
        assert_eq!(target(Method::GET, "/b/a%20b/100%", &[]).key, "a b/100%");
    }

    #[test]
    fn preconditions_are_seen() {
        let create = target(Method::PUT, "/b/k", &[("if-none-match", "*")]);
        assert_eq!(create.precondition, Some(Precondition::IfNoneMatch));
        let update = target(Method::PUT, "/b/k", &[("if-match", "\"e\"")]);
        assert_eq!(update.precondition, Some(Precondition::IfMatch));
        assert_eq!(target(Method::PUT, "/b/k", &[]).precondition, None);
    }
}
