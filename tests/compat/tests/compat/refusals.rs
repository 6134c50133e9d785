//! What is refused, with which words, and that nothing is touched by it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use twill_engine::Database;

use crate::common::{FILL, Place, SUMMARY, has_stock, opens, opens_program, ours, summary};

const READONLY: i32 = 8;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

#[test]
fn a_file_that_is_no_database_is_refused_and_stays_byte_for_byte() {
    let contents: [(&str, Vec<u8>); 5] = [
        ("text", b"To whom it may concern: ".repeat(400)),
        ("short", b"hello".to_vec()),
        ("zeros", vec![0; 8192]),
        ("almost", [b"SQLite format 3\x01".as_slice(), &[7; 4080]].concat()),
        ("impossible page size", [b"SQLite format 3\0\x03\x03".as_slice(), &[1; 4078]].concat()),
    ];
    for (what, bytes) in contents {
        for mode in ["rwc", "rw", "ro"] {
            let place = Place::new();
            std::fs::write(&place.path, &bytes).unwrap();
            let error = Database::open(&format!("{}?mode={mode}", place.url())).unwrap_err();
            assert_eq!(error.code(), NOTADB, "{what}, mode={mode}: {error}");
            assert!(error.message().contains("not a database"), "{what}, mode={mode}: {error}");
            assert!(error.message().contains("app.db"), "{what}, mode={mode}: {error}");
            assert_eq!(std::fs::read(&place.path).unwrap(), bytes, "{what}, mode={mode}");
            assert_eq!(place.names(), ["app.db"], "{what}, mode={mode}");
        }
    }
}

#[test]
fn paths_that_lead_nowhere_are_refused_by_name() {
    let place = Place::new();
    let directory = place.directory.path().display().to_string();
    let cases = [
        (format!("file://{directory}"), "directory"),
        (format!("file://{directory}/missing/app.db"), "missing cannot be reached"),
        (format!("file://{directory}/missing/app.db?mode=ro"), "missing cannot be reached"),
        (format!("{}?mode=ro", place.url()), "does not exist"),
        (format!("{}?mode=rw", place.url()), "does not exist"),
    ];
    for (url, words) in cases {
        let error = Database::open(&url).unwrap_err();
        assert_eq!(error.code(), CANTOPEN, "{url}: {error}");
        assert!(error.message().contains(words), "{url}: {error}");
        assert!(error.message().contains(&directory), "{url}: {error}");
        assert_eq!(place.names(), [""; 0], "{url}");
    }
    std::fs::write(&place.path, b"").unwrap();
    let below = format!("{}/app.db", place.url());
    assert_eq!(Database::open(&below).unwrap_err().code(), CANTOPEN);
}

#[test]
fn a_read_only_database_refuses_writes_and_changes_nothing() {
    let place = Place::new();
    place.ours(FILL);
    let before = std::fs::read(&place.path).unwrap();
    let database = Database::open(&format!("{}?mode=ro", place.url())).unwrap();
    let connection = database.connect().unwrap();
    for sql in ["INSERT INTO t VALUES(NULL, 'x', NULL)", "CREATE TABLE u(x)", "DELETE FROM t", "DROP TABLE t"]
    {
        let error = connection.execute(sql, ()).unwrap_err();
        assert_eq!(error.code(), READONLY, "{sql}: {error}");
    }
    assert_eq!(ours(&connection, "SELECT count(*) FROM t"), "300");
    drop(connection);
    database.close().unwrap();
    assert!(std::fs::read(&place.path).unwrap() == before);
    assert_eq!(place.names(), ["app.db"]);
}

/// Somebody for whom permissions count, and a program he may run.
struct Somebody {
    directory: tempfile::TempDir,
    prefix: Vec<&'static str>,
    program: PathBuf,
}

impl Somebody {
    fn find() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        chmod(directory.path(), 0o755);
        let program = directory.path().join("opens");
        std::fs::copy(opens_program(), &program).unwrap();
        chmod(&program, 0o755);
        let unreadable = directory.path().join("unreadable");
        std::fs::write(&unreadable, b"").unwrap();
        chmod(&unreadable, 0o000);
        let prefix = if std::fs::File::open(&unreadable).is_err() {
            Vec::new()
        } else {
            vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        };
        let somebody = Self { directory, prefix, program };
        let works = somebody.prefix.is_empty()
            || Command::new(somebody.prefix[0])
                .args(&somebody.prefix[1..])
                .arg("true")
                .status()
                .is_ok_and(|status| status.success());
        if works {
            return Some(somebody);
        }
        println!("SKIPPED: root, for whom permissions do not count, cannot become another user (setpriv)");
        None
    }

    fn opens(&self, url: &str, sql: &str) -> String {
        let prefix: Vec<&str> = self.prefix.clone();
        opens(&prefix, &self.program, url, sql)
    }

    /// A directory that belongs to him.
    fn place(&self, name: &str) -> PathBuf {
        let directory = self.directory.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        if !self.prefix.is_empty() {
            std::os::unix::fs::chown(&directory, Some(65534), Some(65534)).unwrap();
        }
        directory
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn read_only_files_and_directories_are_refused_for_writing_and_read_with_mode_ro() {
    let Some(somebody) = Somebody::find() else { return };
    for (what, file_mode, directory_mode) in
        [("read-only file", 0o444, 0o755), ("read-only directory", 0o644, 0o555), ("both", 0o444, 0o555)]
    {
        let directory = somebody.place(what);
        let path = directory.join("app.db");
        let url = format!("file://{}", path.display().to_string().replace(' ', "%20"));
        let made = somebody.opens(&url, "CREATE TABLE t AS SELECT 7 AS x");
        assert_eq!(made, "ok Null", "{what}");
        let before = std::fs::read(&path).unwrap();
        chmod(&path, file_mode);
        chmod(&directory, directory_mode);
        let answer = somebody.opens(&url, "SELECT x FROM t");
        assert!(answer.starts_with("error 14 ") || answer.starts_with("error 8 "), "{what}: {answer}");
        assert!(answer.contains("permission denied") && answer.contains("mode=ro"), "{what}: {answer}");
        assert_eq!(somebody.opens(&format!("{url}?mode=ro"), "SELECT x FROM t"), "ok Integer(7)", "{what}");
        let answer = somebody.opens(&format!("{url}?mode=ro"), "INSERT INTO t VALUES(8)");
        assert!(answer.starts_with("error 8 "), "{what}: {answer}");
        assert!(std::fs::read(&path).unwrap() == before, "{what}");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "{what}");
        // With permissions back everything is there.
        chmod(&directory, 0o755);
        chmod(&path, 0o644);
        assert_eq!(somebody.opens(&url, "SELECT x FROM t"), "ok Integer(7)", "{what}");
    }
    let directory = somebody.place("secret");
    let path = directory.join("app.db");
    std::fs::write(&path, b"").unwrap();
    chmod(&path, 0o000);
    let answer = somebody.opens(&format!("file://{}?mode=ro", path.display()), "SELECT 1");
    assert!(answer.starts_with("error 14 ") && answer.contains("permission denied"), "{answer}");
}

/// A small file system, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            println!("SKIPPED: this system does not let a test mount a small tmpfs");
            return None;
        }
        Some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A failure leaves a mount in the temporary directory, and is no reason to panic in a drop.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let path = disk.0.path().join("app.db");
    let database = Database::open(&format!("file://{}", path.display())).unwrap();
    let connection = database.connect().unwrap();
    connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)").unwrap();
    let mut kept = 0;
    let error = loop {
        match connection.execute("INSERT INTO t VALUES(NULL, zeroblob(9000))", ()) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "a disk of 2 MiB took {kept} rows of 9,000 bytes");
    };
    assert_eq!(error.code(), FULL, "{error}");
    assert!(kept > 20, "{kept}");
    let count = "SELECT count(*) FROM t WHERE length(v) = 9000".to_owned();
    assert_eq!(ours(&connection, &count), kept.to_string(), "reading goes on");
    let again = connection.execute("INSERT INTO t VALUES(NULL, zeroblob(9000))", ()).unwrap_err();
    assert_eq!(again.code(), FULL, "{again}");
    // What a kill now would leave is whole, as stock SQLite sees it where there is room.
    if has_stock() {
        let copy = Place::new();
        std::fs::copy(&path, &copy.path).unwrap();
        let wal = crate::common::beside(&path, "-wal");
        if wal.exists() {
            std::fs::copy(wal, copy.beside("-wal")).unwrap();
        }
        assert_eq!(copy.stock(&format!("PRAGMA integrity_check; {count}")), format!("ok\n{kept}"));
    }
    drop(connection);
    // The last checkpoint may find no room either; the log then stays, and with it everything.
    let _ = database.close();
    let more_room = Command::new("mount").args(["-o", "remount,size=16m"]).arg(disk.0.path()).status();
    assert!(more_room.unwrap().success());
    let database = Database::open(&format!("file://{}", path.display())).unwrap();
    let connection = database.connect().unwrap();
    assert_eq!(ours(&connection, &count), kept.to_string());
    assert_eq!(ours(&connection, "PRAGMA integrity_check"), "ok");
    connection.execute("INSERT INTO t VALUES(NULL, zeroblob(9000))", ()).unwrap();
    drop(connection);
    database.close().unwrap();
}

#[test]
fn a_transaction_too_large_for_the_disk_is_rolled_back_and_smaller_ones_go_on() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let path = disk.0.path().join("app.db");
    let database = Database::open(&format!("file://{}", path.display())).unwrap();
    let connection = database.connect().unwrap();
    connection
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); INSERT INTO t VALUES(1, x'00')")
        .unwrap();
    let error = connection
        .execute_batch(
            "BEGIN; INSERT INTO t VALUES(2, x'01'); INSERT INTO t VALUES(3, zeroblob(5000000)); COMMIT",
        )
        .unwrap_err();
    assert_eq!(error.code(), FULL, "{error}");
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(ours(&connection, "SELECT count(*) FROM t"), "1");
    connection.execute("INSERT INTO t VALUES(4, x'02')", ()).unwrap();
    drop(connection);
    database.close().unwrap();
    if has_stock() {
        let place = Place::new();
        std::fs::copy(&path, &place.path).unwrap();
        assert_eq!(place.stock("PRAGMA integrity_check; SELECT group_concat(id) FROM t"), "ok\n1,4");
    }
}

#[test]
fn a_refused_open_leaves_a_file_that_opens_when_the_reason_is_gone() {
    if !has_stock() {
        return;
    }
    let place = Place::new();
    place.ours(FILL);
    let mut held = crate::common::Held::on(&place.path);
    held.run("BEGIN IMMEDIATE; INSERT INTO t VALUES(301, 'stock', NULL);");
    for _ in 0..3 {
        assert!(Database::open(&place.url()).is_err());
    }
    held.run("ROLLBACK;");
    held.close();
    assert_eq!(place.ours(SUMMARY), summary());
    assert_eq!(place.stock(SUMMARY), summary());
}
