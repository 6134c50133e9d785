//! What a simulated request can be answered with instead of success, in the words of the S3 client.
//!
//! Invariant: the mapping to [`object_store::Error`] is that of `object_store` 0.14's S3 client: 404 NotFound (Precondition on
//! a conditional update), 409 AlreadyExists, 412 AlreadyExists on a create and Precondition on an update, 403
//! PermissionDenied, 401 Unauthenticated, everything else Generic; unless the client tells the status, as the log asks of
//! its composition root, in which case [`HttpStatus`] is the source of what would be 409 or Generic.
//!
//! Crash: pure functions. Refuses: nothing.

use thiserror::Error;
use twill_commitlog_cas::reply::HttpStatus;

use super::Verb;

/// Why a request was refused, or went without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The server answered with this HTTP status.
    Status(u16),
    /// No answer came in time.
    TimedOut,
    /// The connection broke before an answer came.
    Reset,
}

/// The source of every error that a simulated store makes; its text is the S3 client's.
#[derive(Debug, Error)]
#[error("Error performing {method} https://simulated.s3/{key} in 42ms  - {what}")]
pub struct StoreFault {
    method: &'static str,
    key: String,
    what: What,
    #[source]
    status: Option<HttpStatus>,
}

#[derive(Debug, Error)]
enum What {
    #[error("Server returned non-2xx status code: {status} {reason}: <Error><Code>{code}</Code></Error>")]
    Status { status: u16, reason: &'static str, code: &'static str },
    #[error("HTTP error: error sending request: operation timed out")]
    TimedOut,
    #[error("HTTP error: error sending request: connection reset by peer")]
    Reset,
}

fn words(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("Unauthorized", "InvalidAccessKeyId"),
        403 => ("Forbidden", "AccessDenied"),
        404 => ("Not Found", "NoSuchKey"),
        409 => ("Conflict", "ConditionalRequestConflict"),
        412 => ("Precondition Failed", "PreconditionFailed"),
        416 => ("Range Not Satisfiable", "InvalidRange"),
        429 => ("Too Many Requests", "TooManyRequests"),
        500 => ("Internal Server Error", "InternalError"),
        503 => ("Service Unavailable", "SlowDown"),
        _ => ("Unknown", "Unknown"),
    }
}

impl Refusal {
    /// The error that the S3 client makes of this for a request of `verb` on `key`.
    #[must_use]
    pub fn into_error(self, verb: Verb, key: &str, tells_status: bool) -> object_store::Error {
        let what = match self {
            Self::Status(status) => {
                let (reason, code) = words(status);
                What::Status { status, reason, code }
            }
            Self::TimedOut => What::TimedOut,
            Self::Reset => What::Reset,
        };
        let path = key.to_owned();
        // What a client reports whose connector fails with the status, instead of letting `object_store` interpret it.
        let status = match self {
            Self::Status(status) if tells_status && ![401, 403, 404, 412, 416].contains(&status) => {
                Some(HttpStatus(status))
            }
            Self::Status(_) | Self::TimedOut | Self::Reset => None,
        };
        let source = Box::new(StoreFault { method: verb.method(), key: key.to_owned(), what, status });
        if status.is_some() {
            return object_store::Error::Generic { store: "S3", source };
        }
        match (self, verb) {
            (Self::Status(404), Verb::Update) | (Self::Status(412), Verb::Update) => {
                object_store::Error::Precondition { path, source }
            }
            (Self::Status(404), _) => object_store::Error::NotFound { path, source },
            (Self::Status(409), _) | (Self::Status(412), Verb::Create) => {
                object_store::Error::AlreadyExists { path, source }
            }
            (Self::Status(412), _) => object_store::Error::Precondition { path, source },
            (Self::Status(403), _) => object_store::Error::PermissionDenied { path, source },
            (Self::Status(401), _) => object_store::Error::Unauthenticated { path, source },
            _ => object_store::Error::Generic { store: "S3", source },
        }
    }

    /// A number for traces: the status, or 1 and 2 for what has none.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Status(status) => u64::from(status),
            Self::TimedOut => 1,
            Self::Reset => 2,
        }
    }
}
