//! Which URLs are understood, what they canonicalise to, and what is refused by name.

use super::*;

fn target(url: &str) -> Target {
    Location::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).target
}

#[test]
fn every_form_leads_where_it_says() {
    let file = |path: &str| Target::File(PathBuf::from(path));
    let cases = [
        ("app.db", file("app.db")),
        ("./app.db", file("./app.db")),
        ("/abs/app.db", file("/abs/app.db")),
        ("dir with space/a%20b.db", file("dir with space/a%20b.db")),
        ("odd:name.db", file("odd:name.db")),
        ("file:app.db", file("app.db")),
        ("FILE:app.db", file("app.db")),
        ("file:./app.db", file("./app.db")),
        ("file:/abs/app.db", file("/abs/app.db")),
        ("file://./app.db", file("./app.db")),
        ("file://../app.db", file("../app.db")),
        ("file:///abs/app.db", file("/abs/app.db")),
        ("file://localhost/abs/app.db", file("/abs/app.db")),
        ("file:///a%20b/%E2%82%AC.db", file("/a b/€.db")),
        ("file:///a%3Fb%23c%25d.db", file("/a?b#c%d.db")),
        (":memory:", Target::PrivateMemory),
        ("file::memory:", Target::PrivateMemory),
        ("memory://x", Target::SharedMemory("x".to_owned())),
        ("memory://a/b%20c", Target::SharedMemory("a/b c".to_owned())),
    ];
    for (url, expected) in cases {
        assert_eq!(target(url), expected, "{url}");
    }
}

#[test]
fn parameters_are_read() {
    let options =
        Location::parse("file:a.db?mode=rw&synchronous=normal&busy_timeout=250&idle_transaction_timeout=90")
            .unwrap()
            .options;
    assert_eq!(options.mode, Some(Mode::ReadWrite));
    assert_eq!(options.synchronous, Some(Synchronous::Normal));
    assert_eq!(options.busy_timeout, Some(Duration::from_millis(250)));
    assert_eq!(options.idle_transaction_timeout, Some(Duration::from_millis(90)));
    let cases = [("ro", Mode::ReadOnly), ("rw", Mode::ReadWrite), ("rwc", Mode::ReadWriteCreate)];
    for (text, mode) in cases {
        assert_eq!(Location::parse(&format!("memory://x?mode={text}")).unwrap().options.mode, Some(mode));
    }
    for (text, level) in [("full", Synchronous::Full), ("OFF", Synchronous::Off)] {
        let url = format!("file:x?synchronous={text}");
        assert_eq!(Location::parse(&url).unwrap().options.synchronous, Some(level));
    }
    assert_eq!(Location::parse("file:a.db?").unwrap().options, Options::default());
}

#[test]
fn what_is_refused_is_named() {
    let cases = [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("file:a%00b", "NUL"),
        ("s3://bucket/x", "s3:// is not in this build yet"),
        ("s3+file:///dir", "s3+file:// is not in this build yet"),
        ("http://x", "unknown scheme \"http\""),
        ("file://host/x.db", "host \"host\""),
        ("file:", "names no file"),
        ("file:///a#b", "fragment"),
        ("file:a%2", "two hex digits"),
        ("file:a%zz", "two hex digits"),
        ("file:a%+1", "two hex digits"),
        ("file:%ff", "UTF-8"),
        ("app.db?mode=ro", "bare path takes no parameters"),
        ("file:a?mode=rx", "mode=rx"),
        ("file:a?cache=shared", "unknown parameter \"cache\""),
        ("file:a?vfs=unix", "unknown parameter \"vfs\""),
        ("file:a?mode=ro&mode=rw", "\"mode\" is given twice"),
        ("file:a?synchronous=extra", "synchronous=extra"),
        ("file:a?busy_timeout=soon", "busy_timeout=soon"),
        ("file:a?busy_timeout=-1", "busy_timeout=-1"),
        ("memory://", "no name"),
        ("memory://x?synchronous=off", "unknown parameter \"synchronous\""),
    ];
    for (url, part) in cases {
        let error = Location::parse(url).expect_err(url);
        assert!(error.message().contains(part), "{url}: {error}");
        assert_eq!(error.code(), rusqlite::ffi::SQLITE_CANTOPEN, "{url}");
    }
}

#[test]
fn spellings_of_one_file_have_one_canonical_path() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    let expected = root.join("app.db");
    let spellings = ["app.db", "./app.db", "sub/../app.db", "sub/.././app.db"];
    for exists in [false, true] {
        if exists {
            std::fs::write(&expected, b"").unwrap();
        }
        for spelling in spellings {
            assert_eq!(
                canonical_path(&root.join(spelling)).unwrap(),
                expected,
                "{spelling}, exists: {exists}"
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_followed_also_when_they_dangle() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    std::os::unix::fs::symlink("real/app.db", root.join("dangling.db")).unwrap();
    std::os::unix::fs::symlink("loop.db", root.join("loop.db")).unwrap();
    let expected = root.join("real/app.db");
    assert_eq!(canonical_path(&root.join("link/app.db")).unwrap(), expected);
    assert_eq!(canonical_path(&root.join("dangling.db")).unwrap(), expected);
    assert!(canonical_path(&root.join("loop.db")).is_err());
    assert!(canonical_path(&root.join("missing/app.db")).unwrap_err().message().contains("directory"));
}

#[test]
fn a_canonical_url_leads_back_to_its_path() {
    for path in ["/a/b.db", "/a b/c?d#e%f.db", "/€/ü.db", "/plus+at@.db"] {
        assert_eq!(target(&file_url(Path::new(path))), Target::File(PathBuf::from(path)));
    }
    assert_eq!(target(&memory_url("a b/c?d")), Target::SharedMemory("a b/c?d".to_owned()));
}
