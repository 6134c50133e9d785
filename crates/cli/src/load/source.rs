//! A file to import, which is read twice: once to look through, once to load. Standard input is kept in an unnamed
//! temporary file for that.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::Path;

use crate::failure::Failure;
use crate::place;

/// A file, or standard input.
pub(crate) struct Source {
    file: File,
    name: String,
}

impl Source {
    /// Opens a file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            let failed = |error| Failure::io("keeping standard input in a temporary file", error);
            let mut file = tempfile::tempfile().map_err(failed)?;
            io::copy(&mut io::stdin().lock(), &mut file).map_err(failed)?;
            return Ok(Self { file, name: "standard input".to_owned() });
        }
        Ok(Self { file: place::read(path)?, name: path.display().to_string() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes, where it has one.
    pub(crate) fn len(&self) -> Option<u64> {
        self.file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Reads from the start.
    pub(crate) fn reader(&self) -> Result<BufReader<File>, Failure> {
        let failed = |error| Failure::io(format!("reading {}", self.name), error);
        let mut file = self.file.try_clone().map_err(failed)?;
        if self.len().is_some() {
            file.rewind().map_err(failed)?;
        }
        Ok(BufReader::with_capacity(256 * 1024, file))
    }

    /// Whether it begins as an SQLite database does.
    pub(crate) fn is_sqlite(&self) -> Result<bool, Failure> {
        const MAGIC: &[u8] = b"SQLite format 3\0";
        let mut start = Vec::new();
        if self.len().is_some() {
            let read = self.reader()?.take(16).read_to_end(&mut start);
            read.map_err(|error| Failure::io(format!("reading {}", self.name), error))?;
        }
        Ok(start == MAGIC)
    }
}
