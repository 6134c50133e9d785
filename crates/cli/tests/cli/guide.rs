//! What docs/guides/twill-command.md shows is run here, and gives what it shows.

use std::process::Command;

use crate::harness::{Bench, TWILL};

const GUIDE: &str = include_str!("../../../../docs/guides/twill-command.md");
const SHOWN_DIRECTORY: &str = "/srv/data";

/// The commands of the guide's console blocks with their output, in order; installing is left out.
fn shown() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let blocks = GUIDE.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    for line in blocks.filter(|block| !block.contains("cargo install")).flat_map(str::lines) {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("a block begins without a command: {line}"),
        }
    }
    found
}

#[test]
fn the_guide_shows_what_happens() {
    let bench = Bench::new();
    let shown = shown();
    assert!(shown.len() >= 15, "{}", shown.len());
    let directory = bench.path("").canonicalize().unwrap();
    let path = std::path::Path::new(TWILL).parent().unwrap().display().to_string();
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    for (command, expected) in shown {
        if let Some(name) = command.strip_prefix("cat ") {
            bench.write(name, &expected);
        }
        let run = Command::new("sh")
            .args(["-c", &format!("{{ {command}; }} 2>&1")])
            .current_dir(bench.path(""))
            .env("PATH", &path)
            .output()
            .unwrap();
        let output = String::from_utf8(run.stdout).unwrap();
        assert_eq!(output.replace(&directory.display().to_string(), SHOWN_DIRECTORY), expected, "{command}");
    }
}
