//! The judgement: which build of libSQL will do, which will do slowly, and which will not.
//!
//! Pure: [`judge`] gets what was observed of the linked library and decides. It never touches the library.
//!
//! Invariants:
//! 1. Every row of [`REQUIREMENTS`] says what to put into `LIBSQLITE3_FLAGS` to satisfy it.
//! 2. A library with another source id is refused before its flags are looked at: they would mean nothing.

use std::collections::BTreeSet;
use std::fmt;

/// `SQLITE_SOURCE_ID` of the amalgamation in libsql-ffi 0.10.0.
pub(crate) const PINNED_SOURCE_ID: &str =
    "2024-10-21 16:30:22 03a9703e27c44437c39363d0baf82db4ebc94538a0f28411c85dda156f82alt1";
/// `SQLITE_VERSION_NUMBER` of that amalgamation: 3.47.0.
pub(crate) const PINNED_VERSION_NUMBER: i32 = 3_047_000;
/// `LIBSQL_VERSION` of that amalgamation.
pub(crate) const PINNED_LIBSQL_VERSION: &str = "0.2.3";

/// What the linked library says of itself, and how it behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// `sqlite3_libversion_number()`.
    pub version_number: i32,
    /// `sqlite3_sourceid()`.
    pub source_id: String,
    /// `libsql_libversion()`.
    pub libsql_version: String,
    /// `sqlite3_threadsafe()`.
    pub threadsafe: i32,
    /// Every `sqlite3_compileoption_get()`, without the `SQLITE_` prefix.
    pub options: BTreeSet<String>,
    /// The names of the [`Need::Answers`] rows whose query gave the expected integer.
    pub answered: BTreeSet<&'static str>,
}

/// What one requirement asks of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// This compile option is listed.
    Option(&'static str),
    /// No listed compile option is this one, or this one with a value.
    Absent(&'static str),
    /// `sqlite3_threadsafe()` is 1: serialized is available, connections may move between threads.
    Serialized,
    /// This query on a fresh database in memory answers with this integer.
    Answers(&'static str, i32),
}

/// What happens where a requirement is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Answers or safety would differ: refused.
    Correctness,
    /// Only time is lost: reported.
    Performance,
}

/// One thing the build must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requirement {
    /// The compile flag's name, as SQLite documents it.
    pub flag: &'static str,
    pub need: Need,
    pub weight: Weight,
    /// What goes wrong without it; ends the sentence "without it …".
    pub consequence: &'static str,
    /// What `LIBSQLITE3_FLAGS` must contain.
    pub fix: &'static str,
}

const fn correctness(
    flag: &'static str,
    need: Need,
    consequence: &'static str,
    fix: &'static str,
) -> Requirement {
    Requirement { flag, need, weight: Weight::Correctness, consequence, fix }
}

const fn performance(
    flag: &'static str,
    need: Need,
    consequence: &'static str,
    fix: &'static str,
) -> Requirement {
    Requirement { flag, need, weight: Weight::Performance, consequence, fix }
}

/// Everything asked of the build, in the order in which it is reported.
pub(crate) const REQUIREMENTS: &[Requirement] = &[
    correctness(
        "SQLITE_THREADSAFE=1",
        Need::Serialized,
        "connections must not move between threads",
        "-DSQLITE_THREADSAFE=1",
    ),
    correctness(
        "SQLITE_OMIT_WAL",
        Need::Absent("OMIT_WAL"),
        "the virtual WAL, through which every page passes, is compiled out",
        "-USQLITE_OMIT_WAL",
    ),
    correctness(
        "SQLITE_DEFAULT_FOREIGN_KEYS=1",
        Need::Answers("PRAGMA foreign_keys", 1),
        "foreign keys are not enforced",
        "-DSQLITE_DEFAULT_FOREIGN_KEYS=1",
    ),
    correctness(
        "SQLITE_ENABLE_COLUMN_METADATA",
        Need::Option("ENABLE_COLUMN_METADATA"),
        "results do not tell their declared types",
        "-DSQLITE_ENABLE_COLUMN_METADATA",
    ),
    correctness(
        "SQLITE_ENABLE_FTS5",
        Need::Option("ENABLE_FTS5"),
        "full-text tables cannot be read",
        "-DSQLITE_ENABLE_FTS5",
    ),
    correctness(
        "SQLITE_ENABLE_RTREE",
        Need::Option("ENABLE_RTREE"),
        "r-tree tables cannot be read",
        "-DSQLITE_ENABLE_RTREE",
    ),
    correctness(
        "SQLITE_ENABLE_GEOPOLY",
        Need::Option("ENABLE_GEOPOLY"),
        "geopoly tables cannot be read",
        "-DSQLITE_ENABLE_GEOPOLY",
    ),
    correctness(
        "SQLITE_OMIT_JSON",
        Need::Answers("SELECT json_extract('{\"a\":[1,7]}', '$.a[1]')", 7),
        "the JSON functions are missing",
        "-USQLITE_OMIT_JSON",
    ),
    correctness(
        "SQLITE_ENABLE_MATH_FUNCTIONS",
        Need::Answers("SELECT CAST(floor(pow(2, 10)) AS INTEGER)", 1024),
        "the mathematical functions are missing",
        "-DSQLITE_ENABLE_MATH_FUNCTIONS",
    ),
    correctness(
        "SQLITE_OMIT_VECTOR",
        Need::Answers("SELECT length(vector32('[1,2,3]'))", 12),
        "libSQL's vectors are missing",
        "-USQLITE_OMIT_VECTOR",
    ),
    performance(
        "SQLITE_ENABLE_MEMORY_MANAGEMENT",
        Need::Absent("ENABLE_MEMORY_MANAGEMENT"),
        "one mutex is shared by the page caches of all connections",
        "-USQLITE_ENABLE_MEMORY_MANAGEMENT",
    ),
    performance(
        "SQLITE_DEFAULT_MEMSTATUS=0",
        Need::Option("DEFAULT_MEMSTATUS=0"),
        "every allocation takes a process-wide mutex",
        "-DSQLITE_DEFAULT_MEMSTATUS=0",
    ),
    performance(
        "SQLITE_DEBUG",
        Need::Absent("DEBUG"),
        "SQLite's own assertions run in every call",
        "-USQLITE_DEBUG",
    ),
];

/// A compile flag that is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagFinding {
    flag: &'static str,
    present: bool,
    consequence: &'static str,
    fix: &'static str,
}

impl FlagFinding {
    fn of(requirement: &Requirement) -> Self {
        // A fix that undefines says that the flag is there and must not be.
        let present = requirement.fix.starts_with("-U");
        Self { flag: requirement.flag, present, consequence: requirement.consequence, fix: requirement.fix }
    }

    /// The flag by SQLite's name, `SQLITE_…`.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        self.flag
    }

    /// What `LIBSQLITE3_FLAGS` must contain to put it right: `-DSQLITE_…` or `-USQLITE_…`.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        self.fix
    }
}

impl fmt::Display for FlagFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.present { "is set" } else { "is missing" };
        write!(f, "{} {state}: {}; add {}", self.flag, self.consequence, self.fix)
    }
}

/// A build that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildReport {
    version: String,
    warnings: Vec<FlagFinding>,
}

impl BuildReport {
    /// The libSQL release and the SQLite release it is made of, for people: `libSQL 0.2.3 (SQLite 3.47.0)`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The flags that make this build slower than it must be; empty in a build of this workspace.
    /// The engine logs them once; benchmarks refuse to run while there is one.
    #[must_use]
    pub fn performance_warnings(&self) -> &[FlagFinding] {
        &self.warnings
    }
}

/// A build on which the engine refuses to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Another library answers to SQLite's names in this process.
    #[error(
        "the SQLite library linked into this program is {found}, not the pinned {expected}: \
         another crate or library brings its own sqlite3; link only one"
    )]
    AnotherLibrary {
        /// Version and source id of the pinned build.
        expected: String,
        /// Version and source id of the linked one.
        found: String,
    },
    /// libSQL was compiled with flags that change answers or safety.
    #[error(
        "libSQL was compiled with the wrong flags: {}. Set them in LIBSQLITE3_FLAGS when you build: in this workspace \
         .cargo/config.toml does; in another workspace add to its .cargo/config.toml\n[env]\nLIBSQLITE3_FLAGS = \"{}\"",
        sentences(.flags),
        all_fixes()
    )]
    WrongFlags {
        /// Each flag that is not as it must be.
        flags: Vec<FlagFinding>,
    },
    /// The library could not even open a database in memory.
    #[error("libSQL could not be probed: {what} failed with code {code}")]
    Probe {
        /// The call that failed.
        what: &'static str,
        /// The `SQLITE_*` code.
        code: i32,
    },
}

fn sentences(flags: &[FlagFinding]) -> String {
    flags.iter().map(ToString::to_string).collect::<Vec<_>>().join(". ")
}

/// The value of `LIBSQLITE3_FLAGS` that satisfies everything: what libsql-ffi's build script does not set by itself.
fn all_fixes() -> String {
    const SET_BY_LIBSQL_FFI: &[&str] = &[
        "SQLITE_THREADSAFE=1",
        "SQLITE_DEFAULT_FOREIGN_KEYS=1",
        "SQLITE_ENABLE_COLUMN_METADATA",
        "SQLITE_ENABLE_FTS5",
        "SQLITE_ENABLE_RTREE",
    ];
    let unset_by_default = |flag: &str| {
        flag.starts_with("SQLITE_OMIT_") || flag == "SQLITE_DEBUG" || SET_BY_LIBSQL_FFI.contains(&flag)
    };
    REQUIREMENTS
        .iter()
        .filter(|requirement| !unset_by_default(requirement.flag))
        .map(|requirement| requirement.fix)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Decides on a library by what was observed of it.
pub(crate) fn judge(observed: &Observed) -> Result<BuildReport, BuildError> {
    let same = observed.version_number == PINNED_VERSION_NUMBER
        && observed.source_id == PINNED_SOURCE_ID
        && observed.libsql_version == PINNED_LIBSQL_VERSION;
    if !same {
        return Err(BuildError::AnotherLibrary {
            expected: identity(PINNED_VERSION_NUMBER, PINNED_LIBSQL_VERSION, PINNED_SOURCE_ID),
            found: identity(observed.version_number, &observed.libsql_version, &observed.source_id),
        });
    }
    let unmet = |weight: Weight| -> Vec<FlagFinding> {
        REQUIREMENTS
            .iter()
            .filter(|requirement| requirement.weight == weight && !is_met(requirement, observed))
            .map(FlagFinding::of)
            .collect()
    };
    let flags = unmet(Weight::Correctness);
    if !flags.is_empty() {
        return Err(BuildError::WrongFlags { flags });
    }
    let version = version_text(observed.version_number, &observed.libsql_version);
    Ok(BuildReport { version, warnings: unmet(Weight::Performance) })
}

fn is_met(requirement: &Requirement, observed: &Observed) -> bool {
    match requirement.need {
        Need::Option(option) => observed.options.contains(option),
        Need::Absent(option) => !observed
            .options
            .iter()
            .any(|listed| listed.split_once('=').map_or(listed.as_str(), |(name, _)| name) == option),
        Need::Serialized => observed.threadsafe == 1,
        Need::Answers(..) => observed.answered.contains(requirement.flag),
    }
}

fn version_text(number: i32, libsql: &str) -> String {
    format!("libSQL {libsql} (SQLite {}.{}.{})", number / 1_000_000, number / 1000 % 1000, number % 1000)
}

fn identity(number: i32, libsql: &str, source_id: &str) -> String {
    format!("{}, source {source_id}", version_text(number, libsql))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library as this workspace builds it.
    fn good() -> Observed {
        let options = REQUIREMENTS.iter().filter_map(|requirement| match requirement.need {
            Need::Option(option) => Some(option.to_owned()),
            Need::Absent(_) | Need::Serialized | Need::Answers(..) => None,
        });
        let answered = REQUIREMENTS.iter().filter_map(|requirement| match requirement.need {
            Need::Answers(..) => Some(requirement.flag),
            Need::Option(_) | Need::Absent(_) | Need::Serialized => None,
        });
        Observed {
            version_number: PINNED_VERSION_NUMBER,
            source_id: PINNED_SOURCE_ID.to_owned(),
            libsql_version: PINNED_LIBSQL_VERSION.to_owned(),
            threadsafe: 1,
            options: options.collect(),
            answered: answered.collect(),
        }
    }

    /// The same library with one requirement broken.
    fn without(requirement: &Requirement) -> Observed {
        let mut observed = good();
        match requirement.need {
            Need::Option(option) => drop(observed.options.remove(option)),
            Need::Absent(option) => drop(observed.options.insert(option.to_owned())),
            Need::Serialized => observed.threadsafe = 0,
            Need::Answers(..) => drop(observed.answered.remove(requirement.flag)),
        }
        observed
    }

    #[test]
    fn a_build_with_every_flag_is_clean() {
        let report = judge(&good()).unwrap();
        assert_eq!(report.version(), "libSQL 0.2.3 (SQLite 3.47.0)");
        assert_eq!(report.performance_warnings(), []);
    }

    #[test]
    fn each_missing_flag_is_named_with_its_remedy_and_weighed() {
        for requirement in REQUIREMENTS {
            let (findings, text) = match judge(&without(requirement)) {
                Ok(report) => {
                    assert_eq!(requirement.weight, Weight::Performance, "{}", requirement.flag);
                    (report.performance_warnings().to_vec(), sentences(report.performance_warnings()))
                }
                Err(error) => {
                    assert_eq!(requirement.weight, Weight::Correctness, "{}", requirement.flag);
                    let text = error.to_string();
                    let BuildError::WrongFlags { flags } = error else { panic!("{error}") };
                    assert!(text.contains("LIBSQLITE3_FLAGS"), "{text}");
                    (flags, text)
                }
            };
            assert_eq!(findings.iter().map(FlagFinding::flag).collect::<Vec<_>>(), [requirement.flag]);
            assert!(text.contains(requirement.flag) && text.contains(requirement.fix), "{text}");
        }
    }

    #[test]
    fn every_broken_correctness_flag_is_told_at_once() {
        let observed = Observed { options: BTreeSet::new(), answered: BTreeSet::new(), ..good() };
        let Err(BuildError::WrongFlags { flags }) = judge(&observed) else { panic!("accepted") };
        assert_eq!(flags.len(), 8, "{flags:?}");
    }

    #[test]
    fn an_option_with_a_value_counts_as_present_and_a_longer_name_does_not() {
        let mut observed = good();
        observed.options.insert("OMIT_WAL_EXTRA".to_owned());
        assert!(judge(&observed).is_ok());
        observed.options.insert("OMIT_WAL=1".to_owned());
        assert!(judge(&observed).is_err());
    }

    #[test]
    fn another_library_is_refused_by_its_identity() {
        let cases = [
            Observed { version_number: 3_046_001, ..good() },
            Observed { source_id: "2024-10-21 16:30:22 stock".to_owned(), ..good() },
            Observed { libsql_version: "0.2.4".to_owned(), ..good() },
        ];
        for observed in cases {
            let error = judge(&observed).unwrap_err();
            assert!(matches!(error, BuildError::AnotherLibrary { .. }), "{error}");
            assert!(error.to_string().contains("link only one"), "{error}");
        }
    }

    #[test]
    fn the_value_told_to_other_workspaces_is_the_one_this_workspace_uses() {
        let config = include_str!("../../../.cargo/config.toml");
        let line = config.lines().find(|line| line.starts_with("LIBSQLITE3_FLAGS")).unwrap();
        let mut ours: Vec<_> = line.split('"').nth(1).unwrap().split_whitespace().collect();
        let told = all_fixes();
        let mut told: Vec<_> = told.split_whitespace().collect();
        ours.sort_unstable();
        told.sort_unstable();
        assert_eq!(ours, told);
    }
}
