//! Where bytes rest: in memory, or in a directory that outlives the server.
//!
//! ```text
//! <root>/.lock                              held while a server has the directory open
//! <root>/<bucket>/objects/<sha256 of key>   one object
//! <root>/<bucket>/uploads/<id>/upload       one multipart upload: its key, no body
//! <root>/<bucket>/uploads/<id>/<number>     one part
//!
//! each file:   header length, 8 bytes little-endian │ header, JSON │ body
//! ```
//!
//! Invariants:
//! 1. A file is written under another name, synced, renamed to its own, and its directory synced, before the write
//!    counts as done. So a file is whole or absent, and what was acknowledged survives `kill -9` and a power loss.
//! 2. Header and body are one file: there is no moment at which an object has the body of one write and the `ETag` of
//!    another.
//! 3. Nobody else writes in the directory: a second server is refused by its lock.
//!
//! Crash: a write that was cut off leaves a file whose name begins with `.tmp`; opening removes it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const UNFINISHED: &str = ".tmp";

/// What is kept of an object or a part besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The key.
    pub(crate) key: String,
    /// Without quotes.
    pub(crate) etag: String,
    /// Bytes of the body.
    pub(crate) size: u64,
    /// Milliseconds since 1970.
    pub(crate) modified_ms: u64,
    /// As the writer gave it.
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    /// `x-amz-meta-*`.
    #[serde(default)]
    pub(crate) metadata: Vec<(String, String)>,
}

/// A written body.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// In memory.
    Memory(Bytes),
    /// Behind the header of this file.
    File(PathBuf),
}

impl Body {
    /// The bytes of `range`, which lies inside the body of the write that `etag` names; `None` if another write has
    /// taken its place or it was removed.
    pub(crate) fn read(&self, etag: &str, range: Range<u64>) -> io::Result<Option<Bytes>> {
        let length = usize_of(range.end.saturating_sub(range.start))?;
        match self {
            Self::Memory(bytes) => {
                let start = usize_of(range.start)?;
                let end = start.checked_add(length).filter(|end| *end <= bytes.len());
                let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Some(bytes.slice(start..end)))
            }
            Self::File(path) => {
                let mut file = match File::open(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    opened => opened?,
                };
                let (header, body_at) = read_header::<Header>(&mut file)?;
                if header.etag != etag {
                    return Ok(None);
                }
                file.seek(SeekFrom::Start(body_at + range.start))?;
                let mut bytes = vec![0; length];
                file.read_exact(&mut bytes)?;
                Ok(Some(bytes.into()))
            }
        }
    }

    /// Removes the bytes, durably.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(path) => {
                fs::remove_file(path)?;
                sync_parent(path)
            }
        }
    }
}

fn usize_of(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The header of a file, and where its body begins.
fn read_header<H: DeserializeOwned>(file: &mut File) -> io::Result<(H, u64)> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    Ok((serde_json::from_slice(&header)?, 8 + length))
}

/// Memory or a directory.
#[derive(Debug)]
pub(crate) enum Medium {
    /// Gone with the server.
    Memory,
    /// Stays.
    Directory {
        /// The directory.
        root: PathBuf,
        /// Holds the lock while open.
        _lock: File,
    },
}

impl Medium {
    /// Opens, or makes, a directory.
    pub(crate) fn directory(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let lock = File::create(root.join(".lock"))?;
        lock.try_lock().map_err(|refused| {
            io::Error::other(format!("{} is held by another server: {refused}", root.display()))
        })?;
        Ok(Self::Directory { root: root.to_owned(), _lock: lock })
    }

    /// Makes a directory below the root; nothing in memory.
    pub(crate) fn make_room(&self, place: &Path) -> io::Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Directory { root, .. } => {
                fs::create_dir_all(root.join(place))?;
                sync_parent(&root.join(place))
            }
        }
    }

    /// Removes a directory and all in it.
    pub(crate) fn clear_room(&self, place: &Path) -> io::Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Directory { root, .. } => {
                fs::remove_dir_all(root.join(place))?;
                sync_parent(&root.join(place))
            }
        }
    }

    /// Writes `header` and `body` to `place`, durably, replacing what is there at once.
    pub(crate) fn write(&self, place: &Path, header: &impl Serialize, body: Bytes) -> io::Result<Body> {
        let root = match self {
            Self::Memory => return Ok(Body::Memory(body)),
            Self::Directory { root, .. } => root,
        };
        let path = root.join(place);
        let directory = path.parent().unwrap_or(root);
        let header = serde_json::to_vec(header)?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)?;
        file.write_all(&u64::try_from(header.len()).unwrap_or(u64::MAX).to_le_bytes())?;
        file.write_all(&header)?;
        file.write_all(&body)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|refused| refused.error)?;
        sync_parent(&path)?;
        Ok(Body::File(path))
    }

    /// The names of the directories in `place`, in order.
    pub(crate) fn rooms(&self, place: &Path) -> io::Result<Vec<String>> {
        self.names(place, |entry| entry.is_dir())
    }

    /// The names of the files in `place` that were written to their end, in order; others are removed.
    pub(crate) fn files(&self, place: &Path) -> io::Result<Vec<String>> {
        let mut names = self.names(place, |entry| entry.is_file())?;
        if let Self::Directory { root, .. } = self {
            for unfinished in names.extract_if(.., |name| name.starts_with(UNFINISHED)) {
                fs::remove_file(root.join(place).join(unfinished))?;
            }
        }
        Ok(names)
    }

    fn names(&self, place: &Path, wanted: impl Fn(&fs::FileType) -> bool) -> io::Result<Vec<String>> {
        let Self::Directory { root, .. } = self else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in fs::read_dir(root.join(place))? {
            let entry = entry?;
            if let (true, Ok(name)) = (wanted(&entry.file_type()?), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The header of the file at `place`, and its body.
    pub(crate) fn load<H: DeserializeOwned>(&self, place: &Path) -> io::Result<(H, Body)> {
        let Self::Directory { root, .. } = self else { return Err(io::ErrorKind::NotFound.into()) };
        let path = root.join(place);
        let (header, _) = read_header(&mut File::open(&path)?)?;
        Ok((header, Body::File(path)))
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
