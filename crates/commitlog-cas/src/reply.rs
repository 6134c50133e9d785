//! What a store's answer to one request means for the rules.

/// An HTTP status, as the source of an `object_store` error. The client of a composition root cannot otherwise be
/// asked for it: put a connector before it that fails with this for answers outside 2xx, 404 and 412.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTP status {0}")]
pub struct HttpStatus(pub u16);
