//! What a store's answer to one request means for the rules: taken, refused for good, not applied but worth repeating,
//! or of unknown fate.
//!
//! | answer | as `object_store` gives it | meaning for a conditional create |
//! |---|---|---|
//! | 412, and 409 | `AlreadyExists`, `Precondition` | [`Reply::Exists`]: read the slot back; it may be one's own |
//! | 401, 403 | `Unauthenticated`, `PermissionDenied` | refused: this attempt wrote nothing |
//! | 404 | `NotFound` | the bucket is gone: this attempt wrote nothing |
//! | 400, 405, … | `Generic` over [`HttpStatus`] | refused: this attempt wrote nothing |
//! | 429, connection refused | `Generic` over [`HttpStatus`] or `io::Error` | [`Reply::NotApplied`]: repeat later |
//! | 408, 5xx, time-out, reset, all else | `Generic` | [`Reply::Ambiguous`]: it may have been written, or still be |
//!
//! The AWS client of `object_store` 0.14 does not show the status of a `Generic` error. A composition root that wants
//! 429 and 400 told from 500 gives the client an HTTP connector that fails with [`HttpStatus`] (as the source of its
//! `HttpError`) for answers other than 2xx, 3xx, 401, 403, 404 and 412, 409 included: then a 409 is repeated without
//! being read back first. Without it everything unknown is ambiguous, which is always safe, only slower to tell.
//!
//! Invariant: what is not known to have written nothing is [`Reply::Ambiguous`].

use std::error::Error as _;
use std::io;

use object_store::Error;

use crate::error::{Cause, LogError};

/// An HTTP status, as a source of an `object_store` error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTP status {0}")]
pub struct HttpStatus(pub u16);

/// What an answer other than success means. The text says which request it was.
#[derive(Clone, Debug)]
pub enum Reply {
    /// There is an object already; or, for a swap, another version of it.
    Exists(LogError),
    /// There is no such object; for a PUT: no such bucket.
    NotFound(LogError),
    /// Refused for good. Nothing was written by this attempt.
    Refused(LogError),
    /// Nothing was written by this attempt; worth repeating.
    NotApplied(LogError),
    /// It may have been written, and may be written later still.
    Ambiguous(LogError),
}

impl Reply {
    /// What `error` means as the answer to `what`.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not known is ambiguous")]
    pub fn of(what: &str, error: Error) -> Self {
        let status = status(&error);
        let refused_connection = refused_connection(&error);
        let what = what.to_owned();
        let kind = match &error {
            Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => 412,
            Error::NotFound { .. } => 404,
            Error::PermissionDenied { .. } => 403,
            Error::Unauthenticated { .. } => 401,
            Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => 400,
            _ => status.unwrap_or(0),
        };
        let source: Cause = std::sync::Arc::new(error);
        match kind {
            // Told only when it goes on without an object to be seen, as a 409 may: then nothing was refused for good.
            412 => Self::Exists(LogError::Unsettled { what, waited_ms: 0, source }),
            404 => Self::NotFound(LogError::BucketGone { what, source }),
            403 => Self::Refused(LogError::Denied { what, source }),
            401 => Self::Refused(LogError::Unauthenticated { what, source }),
            429 => Self::NotApplied(LogError::Unsettled { what, waited_ms: 0, source }),
            408 | 409 => Self::Ambiguous(LogError::Unsettled { what, waited_ms: 0, source }),
            400..=499 => Self::Refused(LogError::Refused { what, source }),
            _ if refused_connection => Self::NotApplied(LogError::Unreachable { what, source }),
            _ => Self::Ambiguous(LogError::Unsettled { what, waited_ms: 0, source }),
        }
    }

    /// No answer came in time.
    #[must_use]
    pub fn timed_out(what: &str) -> Self {
        let source: Cause = std::sync::Arc::new(io::Error::from(io::ErrorKind::TimedOut));
        Self::Ambiguous(LogError::Unsettled { what: what.to_owned(), waited_ms: 0, source })
    }

    /// The error it carries.
    #[must_use]
    pub fn into_error(self) -> LogError {
        match self {
            Self::Exists(error)
            | Self::NotFound(error)
            | Self::Refused(error)
            | Self::NotApplied(error)
            | Self::Ambiguous(error) => error,
        }
    }
}

/// The error of a request that was repeated for `waited_ms` without being settled.
pub(crate) fn given_up(error: LogError, waited_ms: u64) -> LogError {
    if let LogError::Unsettled { what, source, .. } = error {
        return LogError::Unsettled { what, waited_ms, source };
    }
    error
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| next_cause(*cause))
}

fn next_cause<'a>(
    cause: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    match cause.downcast_ref::<io::Error>() {
        // An I/O error gives the source of what it wraps, and would leave that out.
        Some(wrapper) => wrapper.get_ref().map(|inner| inner as _),
        None => cause.source(),
    }
}

fn status(error: &Error) -> Option<u16> {
    causes(error).find_map(|cause| cause.downcast_ref::<HttpStatus>()).map(|status| status.0)
}

/// Only `connect` gives this error, so nothing was sent.
fn refused_connection(error: &Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Generic { store: "test", source: Box::new(source) }
    }

    fn named(reply: &Reply) -> &'static str {
        match reply {
            Reply::Exists(_) => "exists",
            Reply::NotFound(LogError::BucketGone { .. }) => "gone",
            Reply::Refused(LogError::Denied { .. }) => "denied",
            Reply::Refused(LogError::Unauthenticated { .. }) => "unauthenticated",
            Reply::Refused(LogError::Refused { .. }) => "refused",
            Reply::NotApplied(LogError::Unreachable { .. }) => "unreachable",
            Reply::NotApplied(LogError::Unsettled { .. }) => "throttled",
            Reply::Ambiguous(LogError::Unsettled { .. }) => "ambiguous",
            Reply::NotFound(_) | Reply::Refused(_) | Reply::NotApplied(_) | Reply::Ambiguous(_) => {
                "unexpected"
            }
        }
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let path = || "p".to_owned();
        let source = || Box::new(HttpStatus(0));
        let io_error = |kind: io::ErrorKind| generic(io::Error::from(kind));
        let cases = [
            (Error::AlreadyExists { path: path(), source: source() }, "exists"),
            (Error::Precondition { path: path(), source: source() }, "exists"),
            (Error::NotFound { path: path(), source: source() }, "gone"),
            (Error::PermissionDenied { path: path(), source: source() }, "denied"),
            (Error::Unauthenticated { path: path(), source: source() }, "unauthenticated"),
            (Error::NotSupported { source: source() }, "refused"),
            (generic(HttpStatus(400)), "refused"),
            (generic(HttpStatus(403)), "denied"),
            (generic(HttpStatus(408)), "ambiguous"),
            (generic(HttpStatus(409)), "ambiguous"),
            (generic(HttpStatus(412)), "exists"),
            (generic(HttpStatus(429)), "throttled"),
            (generic(HttpStatus(500)), "ambiguous"),
            (generic(HttpStatus(503)), "ambiguous"),
            (generic(HttpStatus(200)), "ambiguous"),
            (io_error(io::ErrorKind::ConnectionRefused), "unreachable"),
            (io_error(io::ErrorKind::ConnectionReset), "ambiguous"),
            (io_error(io::ErrorKind::HostUnreachable), "ambiguous"),
            (io_error(io::ErrorKind::TimedOut), "ambiguous"),
            // The source of a wrapped error counts as well.
            (generic(io::Error::other(HttpStatus(429))), "throttled"),
        ];
        for (error, expect) in cases {
            let text = format!("{error:?}");
            assert_eq!(named(&Reply::of("PUT x", error)), expect, "{text}");
        }
        assert_eq!(named(&Reply::timed_out("PUT x")), "ambiguous");
    }
}
