//! The npm packages of `bindings/bun`: `cargo xtask pack`, and their tests.
//!
//! Everything that npm or a test writes goes to `target/bun-package`, where the sources are copied to first; the tarballs
//! go to `target/npm`.
//!
//! Invariants:
//! 1. The source tree is not written to.
//! 2. The Bun that runs is the one that `bindings/bun/package-lock.json` pins; so is what the examples use.
//! 3. The files of `tests/sqlite` run against `bun:sqlite` too: what they expect is true of it.
//!
//! Refuses: to pack without npm, which fetches Bun and the compiler of the types.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::bun;
use crate::program::{self, Program};
use crate::workspace::Workspace;

/// What the package's tests read, beside the package.
const SOURCES: &[&str] = &[
    "bindings/bun",
    "docs/guides",
    "examples/bun-better-auth",
    "examples/bun-drizzle",
    "examples/bun-kysely",
];
const EXAMPLES: &[&str] = &["bun-better-auth", "bun-drizzle", "bun-kysely"];

/// The package, ready to be packed and tested.
struct Package {
    /// A copy of the sources, with npm's packages.
    directory: PathBuf,
    bun: PathBuf,
    library: PathBuf,
    tarballs: PathBuf,
}

impl Package {
    fn prepare(workspace: &Workspace) -> Result<Self> {
        ensure!(program::is_installed("npm"), "npm is not installed; it is needed to fetch Bun");
        let library = bun::build_library(workspace)?;
        let root = workspace.target_dir().join("bun-package");
        for source in SOURCES {
            copy_tree(&workspace.root().join(source), &root.join(source))?;
        }
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            fs::copy(workspace.root().join(file), root.join(file))
                .with_context(|| format!("copying {file}"))?;
        }
        let directory = root.join("bindings/bun");
        install(&directory)?;
        let bun = directory.join("node_modules/.bin/bun");
        if Program::new(&bun).args(["--version"]).output().is_err() {
            // Where npm blocks install scripts, the program itself is not there yet.
            Program::new("node").args(["node_modules/bun/install.js"]).directory(&directory).output()?;
        }
        Ok(Self { directory, bun, library, tarballs: workspace.target_dir().join("npm") })
    }

    fn bun(&self, directory: &Path, arguments: &[&str]) -> Program {
        Program::new(&self.bun).args(arguments).directory(directory).env("TWILLDB_LIBRARY", &self.library)
    }

    /// Writes the tarballs, and gives their paths.
    fn pack(&self) -> Result<Vec<PathBuf>> {
        let (library, out) = (path(&self.library)?, path(&self.tarballs)?);
        let platform = platform()?;
        let arguments = ["scripts/pack.ts", "--library", library, "--out", out, "--platform", platform];
        let said = self.bun(&self.directory, &arguments).output()?;
        Ok(said.lines().map(PathBuf::from).collect())
    }

    fn test_example(&self, name: &str, tarballs: &[PathBuf]) -> Result<()> {
        let directory = self.directory.join("../../examples").join(name);
        install(&directory)?;
        for tarball in tarballs {
            let target = directory.join("node_modules/@twilldb").join(package_of(path(tarball)?)?);
            fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
            let arguments = ["-xzf", path(tarball)?, "-C", path(&target)?, "--strip-components=1"];
            Program::new("tar").args(arguments).output()?;
        }
        // As a user runs it: the library is the package's.
        Program::new(&self.bun).args(["test"]).directory(&directory).env("TWILLDB_LIBRARY", "").run()
    }
}

/// `cargo xtask pack`: the tarballs of this platform.
pub(crate) fn pack(workspace: &Workspace) -> Result<()> {
    for tarball in Package::prepare(workspace)?.pack()? {
        println!("{}", tarball.display());
    }
    Ok(())
}

/// Types, both runs of the member-by-member suite, everything else of the package, and the examples.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let package = Package::prepare(workspace)?;
    let directory = &package.directory;
    Program::new(directory.join("node_modules/.bin/tsc"))
        .args(["-p", "tsconfig.json"])
        .directory(directory)
        .run()?;
    let beside = package.bun(directory, &["test", "tests/sqlite"]);
    beside
        .env("TWILLDB_TEST_MODULE", "bun:sqlite")
        .run()
        .context("the suite does not hold for bun:sqlite itself")?;
    package.bun(directory, &["test", "tests"]).run()?;
    let tarballs = package.pack()?;
    for example in EXAMPLES {
        package.test_example(example, &tarballs)?;
    }
    Ok(())
}

/// The name of this platform's package.
fn platform() -> Result<&'static str> {
    Ok(match (std::env::consts::OS, std::env::consts::ARCH, cfg!(target_env = "musl")) {
        ("linux", "x86_64", false) => "linux-x64-gnu",
        ("linux", "x86_64", true) => "linux-x64-musl",
        ("linux", "aarch64", false) => "linux-arm64-gnu",
        ("linux", "aarch64", true) => "linux-arm64-musl",
        ("macos", "aarch64", _) => "darwin-arm64",
        ("macos", "x86_64", _) => "darwin-x64",
        (system, processor, _) => bail!("there is no package for {system} on {processor}"),
    })
}

/// The name within the scope of the package that npm packed as `…/twilldb-NAME-VERSION.tgz`.
fn package_of(tarball: &str) -> Result<&str> {
    let file = tarball.rsplit('/').next().unwrap_or(tarball);
    let name = file.strip_prefix("twilldb-").and_then(|rest| rest.rsplit_once('-'));
    Ok(name.with_context(|| format!("{tarball} is not named as npm names tarballs"))?.0)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Installs what the lock file pins, unless that was done.
fn install(directory: &Path) -> Result<()> {
    let lock =
        fs::read_to_string(directory.join("package-lock.json")).context("reading package-lock.json")?;
    let installed = directory.join("node_modules/.installed");
    if fs::read_to_string(&installed).is_ok_and(|last| last == lock) {
        return Ok(());
    }
    Program::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel", "error"])
        .directory(directory)
        .output()?;
    fs::write(&installed, lock).with_context(|| format!("writing {}", installed.display()))
}

/// Copies a directory over an older copy of it, without npm's packages.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name() == "node_modules" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("writing {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_copied_without_npms_packages() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("from/src")).unwrap();
        fs::create_dir_all(at("from/node_modules")).unwrap();
        fs::create_dir_all(at("to/node_modules")).unwrap();
        fs::write(at("from/src/index.ts"), "new").unwrap();
        fs::write(at("to/node_modules/kept"), "").unwrap();
        copy_tree(&at("from"), &at("to")).unwrap();
        assert_eq!(fs::read_to_string(at("to/src/index.ts")).unwrap(), "new");
        assert!(at("to/node_modules/kept").is_file());
    }

    #[test]
    fn packages_are_known_by_their_tarballs() {
        assert_eq!(package_of("/npm/twilldb-bun-0.1.0.tgz").unwrap(), "bun");
        assert_eq!(package_of("twilldb-linux-x64-gnu-1.2.3.tgz").unwrap(), "linux-x64-gnu");
        assert!(package_of("other.tgz").is_err());
    }

    #[test]
    fn this_platform_has_a_package() {
        assert!(platform().unwrap().starts_with(if cfg!(target_os = "macos") { "darwin" } else { "linux" }));
    }
}
