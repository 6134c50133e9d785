//! Where the shell keeps what was typed: `$XDG_STATE_HOME/twill/history`, or `~/.local/state/twill/history`.
//!
//! Invariants:
//! 1. Only the user can read it: SQL holds passwords and names.

use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// The history file, made if it does not exist; `None` where there is no home.
pub(super) fn file() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    let directory = state.join("twill");
    let path = directory.join("history");
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .and_then(|()| make_private(&path));
    made.ok().map(|()| path)
}

fn make_private(path: &PathBuf) -> io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}
