//! Connection strings: what each form means, and one canonical name per storage.
//!
//! ```text
//! app.db  ./app.db  /abs/app.db              a bare path; takes no parameters
//! file:app.db  file://./app.db               relative to the working directory
//! file:///abs/app.db  file://localhost/abs   absolute
//! :memory:  file::memory:                    private to each open
//! memory://name                              shared in the process, gone with its last handle
//!
//! ?mode=ro|rw|rwc                 default rwc
//! &synchronous=full|normal|off    file only; default full
//! &busy_timeout=MS                default of every connection; 5000 unless given
//! &idle_transaction_timeout=MS    default of every connection; off unless given
//! ```
//!
//! Invariants:
//! 1. Two spellings of one existing file have one canonical path: symbolic links are followed, also a last one that
//!    dangles. A file that does not exist yet is named by its directory's real path. (Hard links are the lock's
//!    business: the second open of the same inode is refused as locked.)
//! 2. Paths are percent-decoded exactly once, in `file:` URLs only.
//!
//! It refuses, by name: unknown schemes and parameters, a parameter given twice, a host, a fragment, a NUL byte, a bare
//! path with `?` in it (it would silently become part of the file's name), and a path that is not UTF-8.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use twill_types::Synchronous;

use crate::Error;

/// What a handle may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads only; the database must exist.
    ReadOnly,
    /// Reads and writes; the database must exist.
    ReadWrite,
    /// Reads and writes; the database is created if absent.
    ReadWriteCreate,
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    PrivateMemory,
    SharedMemory(String),
    File(PathBuf),
}

/// A parsed URL. `None`: not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) target: Target,
    pub(crate) options: Options,
}

/// The parameters of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mode: Option<Mode>,
    pub(crate) synchronous: Option<Synchronous>,
    pub(crate) busy_timeout: Option<Duration>,
    pub(crate) idle_transaction_timeout: Option<Duration>,
}

impl Location {
    /// Takes a URL apart. Touches no disk.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        if url.is_empty() {
            return Err(Error::cannot_open(
                "the URL is empty; name a file, such as file:app.db, or :memory:",
            ));
        }
        if url.contains('\0') {
            return Err(Error::cannot_open("the URL contains a NUL byte"));
        }
        if url == ":memory:" {
            return Ok(Self { target: Target::PrivateMemory, options: Options::default() });
        }
        if let Some(rest) = strip_scheme(url, "file:") {
            return Self::parse_file(url, rest);
        }
        if let Some(rest) = strip_scheme(url, "memory://") {
            return Self::parse_memory(url, rest);
        }
        match url.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => Err(unknown_scheme(scheme)),
            _ if url.contains('?') => Err(Error::cannot_open(format!(
                "a bare path takes no parameters: {url}; write file:{url}, or file: with %3F where the file's name has \
                 a question mark"
            ))),
            _ => Ok(Self { target: Target::File(PathBuf::from(url)), options: Options::default() }),
        }
    }

    fn parse_file(url: &str, rest: &str) -> Result<Self, Error> {
        let (path, query) = split_query(url, rest)?;
        let path = match path.strip_prefix("//") {
            None => path,
            Some(absolute) if absolute.starts_with('/') => absolute,
            Some(relative) if relative.starts_with("./") || relative.starts_with("../") => relative,
            Some(hosted) if hosted.starts_with("localhost/") => hosted.trim_start_matches("localhost"),
            Some(hosted) => {
                let host = hosted.split('/').next().unwrap_or(hosted);
                return Err(Error::cannot_open(format!(
                    "{url} names the host {host:?}; write file:{hosted} for a relative path or file:///… for an \
                     absolute one"
                )));
            }
        };
        let path = percent_decode(url, path)?;
        if path.is_empty() {
            return Err(Error::cannot_open(format!("{url} names no file")));
        }
        if path == ":memory:" {
            let options = Options::parse(query, ":memory:", false)?;
            return Ok(Self { target: Target::PrivateMemory, options });
        }
        Ok(Self { target: Target::File(PathBuf::from(path)), options: Options::parse(query, "file", true)? })
    }

    fn parse_memory(url: &str, rest: &str) -> Result<Self, Error> {
        let (name, query) = split_query(url, rest)?;
        let name = percent_decode(url, name)?;
        if name.is_empty() {
            return Err(Error::cannot_open(format!(
                "{url} has no name; write memory://name, or :memory: for a private database"
            )));
        }
        Ok(Self { target: Target::SharedMemory(name), options: Options::parse(query, "memory", false)? })
    }
}

impl Options {
    fn parse(query: Option<&str>, scheme: &str, is_file: bool) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((percent_decode(pair, name)?, percent_decode(pair, value)?));
        }
        Self::from_pairs(&pairs, scheme, is_file)
    }

    /// Reads parameters that are already decoded, as SQLite hands them over for ATTACH.
    pub(crate) fn from_pairs(pairs: &[(String, String)], scheme: &str, is_file: bool) -> Result<Self, Error> {
        let mut options = Self::default();
        for (name, value) in pairs {
            let given_twice = match name.as_str() {
                "mode" => options.mode.replace(parse_mode(value)?).is_some(),
                "synchronous" if is_file => options.synchronous.replace(parse_synchronous(value)?).is_some(),
                "busy_timeout" => options.busy_timeout.replace(parse_milliseconds(name, value)?).is_some(),
                "idle_transaction_timeout" => {
                    options.idle_transaction_timeout.replace(parse_milliseconds(name, value)?).is_some()
                }
                _ => {
                    let known = if is_file {
                        "mode, synchronous, busy_timeout and idle_transaction_timeout"
                    } else {
                        "mode, busy_timeout and idle_transaction_timeout"
                    };
                    return Err(Error::cannot_open(format!(
                        "unknown parameter {name:?} for {scheme}: it takes {known}"
                    )));
                }
            };
            if given_twice {
                return Err(Error::cannot_open(format!("the parameter {name:?} is given twice")));
            }
        }
        Ok(options)
    }
}

/// The real path of a file that may not exist yet.
pub(crate) fn canonical_path(path: &Path) -> Result<PathBuf, Error> {
    // As many links as Linux follows before it answers ELOOP.
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match path.canonicalize() {
            Ok(real) => return checked_utf8(real),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(
                    Error::cannot_open(format!("cannot open {}: {error}", path.display())).with_source(error)
                );
            }
        }
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(Error::cannot_open(format!("{} names no file", path.display())));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let real_parent = parent.canonicalize().map_err(|error| {
            Error::cannot_open(format!(
                "cannot open {}: the directory {} cannot be reached: {error}",
                path.display(),
                parent.display()
            ))
            .with_source(error)
        })?;
        let unresolved = real_parent.join(name);
        match unresolved.read_link() {
            // A dangling link: the file will be created where it points.
            Ok(link) => path = real_parent.join(link),
            Err(_) => return checked_utf8(unresolved),
        }
    }
    Err(Error::cannot_open(format!("cannot open {}: too many symbolic links", path.display())))
}

fn checked_utf8(path: PathBuf) -> Result<PathBuf, Error> {
    if path.to_str().is_none() {
        return Err(Error::cannot_open(format!("the path {} is not UTF-8", path.display())));
    }
    Ok(path)
}

/// The URL of an absolute path that is UTF-8; of a canonical path, the canonical URL. Encodes what would end the path or
/// not survive decoding, so parameters can be put behind it.
///
/// ```
/// assert_eq!(twill_engine::file_url("/srv/what?.db".as_ref()), "file:///srv/what%3F.db");
/// ```
#[must_use]
pub fn file_url(path: &Path) -> String {
    let mut url = String::from("file://");
    for byte in path.to_string_lossy().bytes() {
        push_encoded(&mut url, byte);
    }
    url
}

/// The canonical URL of a shared memory database.
pub(crate) fn memory_url(name: &str) -> String {
    let mut url = String::from("memory://");
    for byte in name.bytes() {
        push_encoded(&mut url, byte);
    }
    url
}

fn push_encoded(url: &mut String, byte: u8) {
    match byte {
        b'A'..=b'Z'
        | b'a'..=b'z'
        | b'0'..=b'9'
        | b'/'
        | b'-'
        | b'.'
        | b'_'
        | b'~'
        | b'+'
        | b'@'
        | b','
        | b'=' => {
            url.push(char::from(byte));
        }
        _ => {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = url.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn unknown_scheme(scheme: &str) -> Error {
    let scheme = scheme.to_ascii_lowercase();
    if matches!(scheme.as_str(), "s3" | "s3+file" | "s3+memory") {
        return Error::cannot_open(format!("{scheme}:// is not in this build yet; use file: or memory://"));
    }
    Error::cannot_open(format!("unknown scheme {scheme:?}; this build opens file:, memory:// and :memory:"))
}

fn split_query<'a>(url: &str, rest: &'a str) -> Result<(&'a str, Option<&'a str>), Error> {
    if rest.contains('#') {
        return Err(Error::cannot_open(format!("{url} has a fragment; write %23 where the name has a #")));
    }
    Ok(match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    })
}

fn percent_decode(url: &str, text: &str) -> Result<String, Error> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    decoded.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let byte = part
            .split_at_checked(2)
            .filter(|(digits, _)| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest)));
        let Some((byte, rest)) = byte else {
            return Err(Error::cannot_open(format!("{url} has a % that two hex digits do not follow")));
        };
        if byte == 0 {
            return Err(Error::cannot_open(format!("{url} contains a NUL byte")));
        }
        decoded.push(byte);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).map_err(|_| Error::cannot_open(format!("{url} does not decode to UTF-8")))
}

fn parse_mode(value: &str) -> Result<Mode, Error> {
    match value {
        "ro" => Ok(Mode::ReadOnly),
        "rw" => Ok(Mode::ReadWrite),
        "rwc" => Ok(Mode::ReadWriteCreate),
        _ => Err(Error::cannot_open(format!("mode={value} is not one of ro, rw and rwc"))),
    }
}

fn parse_synchronous(value: &str) -> Result<Synchronous, Error> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Ok(Synchronous::Full),
        "normal" => Ok(Synchronous::Normal),
        "off" => Ok(Synchronous::Off),
        _ => Err(Error::cannot_open(format!("synchronous={value} is not one of full, normal and off"))),
    }
}

fn parse_milliseconds(name: &str, value: &str) -> Result<Duration, Error> {
    value
        .parse::<u32>()
        .map(|milliseconds| Duration::from_millis(milliseconds.into()))
        .map_err(|_| Error::cannot_open(format!("{name}={value} is not a number of milliseconds")))
}

#[cfg(test)]
mod tests;
