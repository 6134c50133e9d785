//! Compatibility tests: our files in stock SQLite, its files in ours, and what each answers while the other has the file.
//!
//! The tests are in `tests/compat`; stock SQLite is its shell, `sqlite3`. Where that is not installed, or the system does
//! not let a test make its circumstances (a full disk, another user), the test prints `SKIPPED` and why.
//!
//! The program `opens` of this package opens a database in a process of its own, for tests that need a second one.
