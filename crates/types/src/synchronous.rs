//! How much a commit promises on a medium that can defer its writes.

/// When a commit of `file://` is acknowledged, in SQLite's words. Only [`Synchronous::Full`] survives a power loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Synchronous {
    /// Nothing is ever synced: a power loss may lose commits and may corrupt the file. A killed process loses nothing.
    Off,
    /// The log is synced before a checkpoint: a power loss may lose the newest commits, never the file.
    Normal,
    /// Every commit is synced before it is acknowledged.
    #[default]
    Full,
}

impl Synchronous {
    /// SQLite's number for `PRAGMA synchronous`.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Normal => 1,
            Self::Full => 2,
        }
    }
}
