//! C programs against `engine.h` and both libraries: run plainly, and under valgrind where it is installed.
//!
//! Each program of `tests/c` gets an empty directory and says what it found where it differs from what it expected.
//! Under valgrind an error or a definite leak fails it too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "test code")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How a program reaches the library.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Linked {
    Shared,
    Static,
    /// Not at all: it calls dlopen.
    Loaded,
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo put the libraries of this package: beside this test, because they are built for it.
fn libraries() -> PathBuf {
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(beside.join("libengine.a").exists(), "cargo did not build libengine.a into {}", beside.display());
    beside
}

fn shared_library() -> PathBuf {
    libraries().join(format!("libengine{}", std::env::consts::DLL_SUFFIX))
}

fn compile(program: &str, linked: Linked, into: &Path) -> PathBuf {
    let built = into.join(format!("{program}-{linked:?}"));
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-pthread", "-o"])
        .arg(&built)
        .arg(package().join("tests/c").join(program).with_extension("c"))
        .arg("-I")
        .arg(package().join("include"));
    match linked {
        Linked::Shared => {
            let mut rpath = std::ffi::OsString::from("-Wl,-rpath,");
            rpath.push(libraries());
            cc.arg(shared_library()).arg(rpath);
        }
        Linked::Loaded => {
            cc.arg("-ldl");
        }
        Linked::Static => {
            cc.arg(libraries().join("libengine.a")).args(["-lpthread", "-lm"]);
            cc.args(if cfg!(target_os = "macos") {
                &["-framework", "CoreFoundation", "-framework", "Security"][..]
            } else {
                &["-ldl"][..]
            });
        }
    }
    succeed(&mut cc);
    built
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("{tool} not found: skipped");
    }
    found
}

fn check(program: &str) {
    check_linked(program, &[Linked::Shared, Linked::Static]);
}

fn check_linked(program: &str, ways: &[Linked]) {
    let directory = tempfile::tempdir().unwrap();
    for &linked in ways {
        let built = compile(program, linked, directory.path());
        let fresh = tempfile::tempdir().unwrap();
        succeed(Command::new(&built).arg(fresh.path()).env("ENGINE_LIB", shared_library()));
        if linked != Linked::Static && installed("valgrind") {
            let fresh = tempfile::tempdir().unwrap();
            succeed(
                Command::new("valgrind")
                    .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
                    .args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"])
                    .args(["--fair-sched=yes", "--child-silent-after-fork=no"])
                    .arg(&built)
                    .arg(fresh.path())
                    .env("ENGINE_LIB", shared_library()),
            );
        }
    }
}

#[test]
fn values() {
    check("values");
}

#[test]
fn misuse() {
    check("misuse");
}

#[test]
fn transactions() {
    check("transactions");
}

#[test]
fn threads() {
    check("threads");
}

#[test]
fn large() {
    check("large");
}

#[test]
fn reopen() {
    check("reopen");
}

#[test]
fn leaving() {
    check("leaving");
}

#[test]
fn statements() {
    check("statements");
}

#[test]
fn asynchronous() {
    check("asynchronous");
}

#[test]
fn callbacks() {
    check("callbacks");
}

#[test]
fn unload() {
    check_linked("unload", &[Linked::Loaded]);
}

/// The library must not meet another SQLite in its process (Bun has one): only the ABI is visible.
#[test]
fn only_the_abi_is_exported() {
    if !installed("nm") {
        return;
    }
    let flags: &[&str] =
        if cfg!(target_os = "macos") { &["-gU"] } else { &["--dynamic", "--defined-only", "--extern-only"] };
    let output = succeed(Command::new("nm").args(flags).arg(shared_library()));
    let listing = String::from_utf8(output.stdout).unwrap();
    let symbols: BTreeSet<&str> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|symbol| symbol.trim_start_matches('_'))
        .collect();
    let header = std::fs::read_to_string(package().join("include/engine.h")).unwrap();
    let declared: BTreeSet<&str> = header
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '(')
        .filter_map(|word| word.split_once('('))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("engine_"))
        .collect();
    assert!(declared.len() > 60, "{declared:?}");
    assert_eq!(symbols, declared);
}

/// The header is C++ too, where a C++ compiler is installed.
#[test]
fn the_header_is_cxx() {
    if !installed("c++") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("header.cpp");
    std::fs::write(
        &source,
        "#include \"engine.h\"\nint main() { return engine_close(engine_open(\":memory:\")), 0; }\n",
    )
    .unwrap();
    succeed(
        Command::new("c++")
            .args(["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
            .arg(package().join("include"))
            .arg(&source),
    );
}
