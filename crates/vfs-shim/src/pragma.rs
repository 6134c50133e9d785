//! Pragmas that the storage, not libSQL, must answer or decide.
//!
//! libSQL offers each pragma to the file first. Answering there would name the result's column after its value, so where
//! possible the *argument* is rewritten to what holds and libSQL goes on to answer in its own shape:
//!
//! | pragma | asked for | becomes |
//! |---|---|---|
//! | `journal_mode=X` | anything | `wal`, the only mode; the row says so, as SQLite's does when it cannot change |
//! | `locking_mode=X` | anything | `normal`; connections of a process share the storage |
//! | `synchronous=X` | at most what the storage gives | the storage's level: more is given than was asked |
//! | `synchronous=X` | more than the storage gives | an error: the URL decides |
//! | `busy_timeout=N` | | noted for the writer queue, then libSQL's own |
//! | `page_size=N` | a change on a database with pages | an error: SQLite would ignore it in WAL mode |
//! | `wal_autocheckpoint=N`, `journal_size_limit=N` | | an error: the storage bounds its log by itself |

#![expect(unsafe_code, reason = "reads and rewrites strings of C")]

use std::ffi::{CStr, c_char, c_int};
use std::time::Duration;

use twill_libsql::ffi;

use crate::file::Shared;

/// What to do with a pragma.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// libSQL's own business.
    Pass,
    /// libSQL's business, with this argument instead.
    Rewrite(&'static CStr),
    /// Refused with this message.
    Refuse(String),
}

/// Answers `SQLITE_FCNTL_PRAGMA`: `[out, name, argument]`.
///
/// # Safety
/// `strings` must be the array libSQL passes with that operation; the argument, if any, is a private, writable copy of a
/// token (`sqlite3NameFromToken`, `sqlite3MPrintf`).
pub(crate) unsafe fn intercept(file: &Shared, strings: *mut *mut c_char) -> c_int {
    // SAFETY: the array has at least three entries; the name is never null.
    let (name, argument) = unsafe { (*strings.add(1), *strings.add(2)) };
    if name.is_null() {
        return ffi::SQLITE_NOTFOUND;
    }
    // SAFETY: both are null-terminated strings that live during the call.
    let (name, value) = unsafe {
        (
            CStr::from_ptr(name),
            (!argument.is_null()).then(|| CStr::from_ptr(argument).to_string_lossy().into_owned()),
        )
    };
    match judge(file, &name.to_string_lossy().to_ascii_lowercase(), value.as_deref()) {
        Verdict::Pass => ffi::SQLITE_NOTFOUND,
        Verdict::Rewrite(to) => {
            let to = to.to_bytes_with_nul();
            if value.is_some_and(|value| value.len() + 1 >= to.len()) {
                // SAFETY: the argument is libSQL's own copy, at least as long as what replaces it.
                unsafe { argument.cast::<u8>().copy_from_nonoverlapping(to.as_ptr(), to.len()) };
            }
            ffi::SQLITE_NOTFOUND
        }
        Verdict::Refuse(message) => {
            // SAFETY: libSQL frees the first entry with sqlite3_free, so it must come from its allocator; `%.*s` copies
            // exactly the message's bytes.
            unsafe {
                let length = c_int::try_from(message.len()).unwrap_or(0);
                *strings = ffi::sqlite3_mprintf(c"%.*s".as_ptr(), length, message.as_ptr());
            }
            ffi::SQLITE_ERROR
        }
    }
}

fn judge(file: &Shared, name: &str, value: Option<&str>) -> Verdict {
    let Some(value) = value else { return Verdict::Pass };
    match name {
        "journal_mode" => Verdict::Rewrite(c"wal"),
        "locking_mode" => Verdict::Rewrite(c"normal"),
        "synchronous" => synchronous(value, file.opened().synchronous.level()),
        "busy_timeout" => {
            if let Ok(milliseconds) = value.parse::<i64>() {
                file.set_busy_timeout(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)));
            }
            Verdict::Pass
        }
        "page_size" => page_size(file, value),
        "wal_autocheckpoint" | "journal_size_limit" => Verdict::Refuse(format!(
            "PRAGMA {name} cannot be set: the storage bounds its log by itself; PRAGMA wal_checkpoint moves it now"
        )),
        _ => Verdict::Pass,
    }
}

/// libSQL reads a digit at the start of the argument as the level, so a digit fits wherever a word stood.
fn synchronous(asked: &str, given: u8) -> Verdict {
    let level = match asked.to_ascii_lowercase().as_str() {
        "0" | "off" | "no" | "false" => 0,
        "1" | "normal" | "on" | "yes" | "true" => 1,
        _ => 2,
    };
    if level > given {
        return Verdict::Refuse(format!(
            "this database was opened with a weaker synchronous level than {asked}; open it with ?synchronous=full"
        ));
    }
    Verdict::Rewrite(match given {
        0 => c"0",
        1 => c"1",
        _ => c"2",
    })
}

fn page_size(file: &Shared, value: &str) -> Verdict {
    let (Ok(snapshot), Ok(asked)) = (file.opened().storage.snapshot(), value.parse::<u32>()) else {
        return Verdict::Pass;
    };
    let size = snapshot.page_size();
    if snapshot.page_count() == 0
        || size.get() == asked
        || !(512..=65536).contains(&asked)
        || !asked.is_power_of_two()
    {
        return Verdict::Pass;
    }
    Verdict::Refuse(format!(
        "the page size of a database is fixed by its first write: this one has {size}-byte pages; \
         to change it, dump it into a new database"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synchronous_gives_at_least_what_is_asked_or_refuses() {
        assert_eq!(synchronous("OFF", 2), Verdict::Rewrite(c"2"));
        assert_eq!(synchronous("full", 2), Verdict::Rewrite(c"2"));
        assert_eq!(synchronous("extra", 2), Verdict::Rewrite(c"2"));
        assert_eq!(synchronous("0", 0), Verdict::Rewrite(c"0"));
        assert!(
            matches!(synchronous("FULL", 1), Verdict::Refuse(message) if message.contains("?synchronous=full"))
        );
    }
}
