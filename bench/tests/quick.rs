//! The smoke run produces every line, the page and the plots. It never looks at a time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::path::Path;
use std::process::{Command, Output};

const LINES: usize = 16;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twill-bench")).args(arguments).output().unwrap()
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_smoke_run_measures_every_line_on_both_sides() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().to_str().unwrap();
    let output = bench(&["file", "--quick", "--dir", path, "--out", path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let results: serde_json::Value = serde_json::from_str(&read(directory.path(), "file.json")).unwrap();
    let lines = results["lines"].as_array().unwrap();
    assert_eq!(lines.len(), LINES);
    let page = read(directory.path(), "file.md");
    let ratios = read(directory.path(), "file-ratios.svg");
    for line in lines {
        let name = line["name"].as_str().unwrap();
        assert!(page.contains(name) && ratios.contains(name), "{name} is in no table or plot");
        for side in ["twill", "libsql"] {
            let rounds = line[side].as_array().unwrap();
            assert_eq!(rounds.len() as u64, results["rounds"].as_u64().unwrap(), "{name}, {side}");
            for round in rounds {
                assert!(
                    round["operations"].as_u64().is_some() && round["rate"].is_number(),
                    "{name}: {round}"
                );
            }
        }
    }
    for plot in ["file-ratios.svg", "file-commits.svg", "file-reads.svg"] {
        assert!(read(directory.path(), plot).starts_with("<svg"), "{plot}");
    }
    for (file, text) in [("file.md", &page), ("file.json", &results.to_string())] {
        assert!(!text.contains(path), "{file} names a directory of this machine");
    }
    let left: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("file"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "databases were left behind");
}

#[test]
fn a_slow_build_is_refused_unless_it_is_a_smoke_run() {
    let output = bench(&["file", "--dir", env!("CARGO_TARGET_TMPDIR"), "--only", "no line is called so"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = if cfg!(debug_assertions) { "slow build" } else { "no line is called so" };
    assert!(message.contains(expected), "{message}");
}
