//! Looks at the linked library: what it says of itself, and what a few probes on a database in memory answer.
//!
//! Invariants:
//! 1. The library is asked once per process; what it answers cannot change afterwards.
//! 2. A probe that fails to prepare or to step is an unanswered probe, never an error: that the function is missing is
//!    the finding.

#![expect(unsafe_code, reason = "calls into libSQL; this crate is one of the places where unsafe is allowed")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::OnceLock;

use crate::ffi;
use crate::report::{BuildError, BuildReport, Need, Observed, REQUIREMENTS, judge};

/// Judges the libSQL linked into this program. Cheap after the first call.
///
/// # Errors
/// [`BuildError`] where another SQLite was linked, or a flag that answers or safety depend on is not as it must be.
pub fn check_build() -> Result<BuildReport, BuildError> {
    static JUDGED: OnceLock<Result<BuildReport, BuildError>> = OnceLock::new();
    JUDGED.get_or_init(|| judge(&observe()?)).clone()
}

fn observe() -> Result<Observed, BuildError> {
    // SAFETY: these four take nothing, may be called at any time from any thread, and the strings are static.
    let (version_number, threadsafe, source_id, libsql_version) = unsafe {
        (
            ffi::sqlite3_libversion_number(),
            ffi::sqlite3_threadsafe(),
            static_text(ffi::sqlite3_sourceid()),
            static_text(ffi::libsql_libversion()),
        )
    };
    let probe = Probe::open()?;
    let answered = REQUIREMENTS.iter().filter_map(|requirement| match requirement.need {
        Need::Answers(sql, expected) => (probe.integer(sql) == Some(expected)).then_some(requirement.flag),
        Need::Option(_) | Need::Absent(_) | Need::Serialized => None,
    });
    let answered = answered.collect();
    Ok(Observed { version_number, source_id, libsql_version, threadsafe, options: options(), answered })
}

fn options() -> BTreeSet<String> {
    (0..)
        .map_while(|index| {
            // SAFETY: any index may be asked for; NULL is the answer beyond the last, else a static string.
            let option = unsafe { ffi::sqlite3_compileoption_get(index) };
            // SAFETY: not NULL, so static and NUL-terminated.
            (!option.is_null()).then(|| unsafe { static_text(option) })
        })
        .collect()
}

/// # Safety
/// `text` is a NUL-terminated string that lives as long as the library.
unsafe fn static_text(text: *const c_char) -> String {
    // SAFETY: by this function's own contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A private database in memory, for asking the library what it can do.
struct Probe {
    db: *mut ffi::sqlite3,
}

impl Probe {
    fn open() -> Result<Self, BuildError> {
        let mut db = ptr::null_mut();
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_MEMORY;
        // SAFETY: the name is a NUL-terminated literal, `db` is a valid place for the handle, NULL asks for the
        // default VFS.
        let code = unsafe { ffi::sqlite3_open_v2(c":memory:".as_ptr(), &raw mut db, flags, ptr::null()) };
        // Even a failed open may give a handle, which must be closed: hence the guard before the check.
        let probe = Self { db };
        if code == ffi::SQLITE_OK {
            Ok(probe)
        } else {
            Err(BuildError::Probe { what: "sqlite3_open_v2", code })
        }
    }

    /// The first column of the first row, or nothing where the library cannot answer.
    fn integer(&self, sql: &str) -> Option<i32> {
        let sql = CString::new(sql).ok()?;
        let mut statement = ptr::null_mut();
        // SAFETY: `self.db` is open until drop, `sql` is NUL-terminated (-1: up to the NUL), `statement` is a valid
        // place, and no tail is asked for.
        let prepared = unsafe {
            ffi::sqlite3_prepare_v2(self.db, sql.as_ptr(), -1, &raw mut statement, ptr::null_mut())
        };
        if prepared != ffi::SQLITE_OK {
            return None;
        }
        // SAFETY: `statement` was just prepared on an open handle.
        let stepped = unsafe { ffi::sqlite3_step(statement) };
        // SAFETY: a row is there when the step said so; column 0 exists in each of the probes.
        let answer = (stepped == ffi::SQLITE_ROW).then(|| unsafe { ffi::sqlite3_column_int(statement, 0) });
        // SAFETY: `statement` is live and not used again.
        unsafe { ffi::sqlite3_finalize(statement) };
        answer
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: opened above (NULL is a no-op), every statement finalized, not used again.
        unsafe { ffi::sqlite3_close(self.db) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linked_build_is_clean() {
        let report = check_build().unwrap();
        assert_eq!(report.performance_warnings(), []);
        assert_eq!(report.version(), "libSQL 0.2.3 (SQLite 3.47.0)");
    }

    #[test]
    fn a_function_that_does_not_exist_is_an_unanswered_probe() {
        let probe = Probe::open().unwrap();
        assert_eq!(probe.integer("SELECT no_such_function(1)"), None);
        assert_eq!(probe.integer("SELECT 41 + 1"), Some(42));
        assert_eq!(probe.integer("SELECT 1 WHERE 0"), None);
        assert_eq!(probe.integer("bad\0sql"), None);
    }

    #[test]
    fn every_option_that_a_requirement_names_positively_is_listed_by_the_library() {
        let options = options();
        assert!(options.contains("ENABLE_FTS5") && options.contains("THREADSAFE=1"), "{options:?}");
        assert!(options.len() > 20, "{options:?}");
    }
}
