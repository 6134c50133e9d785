//! The bytes of a record.
use twill_types::TimelineId;

/// The largest body, uncompressed, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The terminal record of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// In which timeline the branch goes on.
    pub redirect: Option<TimelineId>,
}
