//! The Bun example, made ready to run: the library built as it is released, the app and its packages in one place.
//!
//! The app is copied from `examples/bun-demo` into `target/bun-demo`, and npm installs there what its `package.json`
//! pins: Bun itself, and vega-datasets.
//!
//! Invariants:
//! 1. The source tree is not written to: npm's `node_modules` stays in the target directory.
//! 2. The Bun that runs is the one that `package.json` names, whatever else is installed.
//! 3. Packages are fetched once; a changed `package.json` fetches them anew.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::program::{self, Program};
use crate::workspace::Workspace;

const SOURCE: &str = "examples/bun-demo";

/// The example, ready to run.
pub(crate) struct Example {
    /// Where the app and its packages are.
    pub directory: PathBuf,
    /// The program that runs it.
    pub bun: PathBuf,
    /// The engine's shared library.
    pub library: PathBuf,
}

impl Example {
    /// Builds and fetches what the example needs.
    pub(crate) fn prepare(workspace: &Workspace) -> Result<Self> {
        let library =
            during("building libengine (the first time takes minutes)", || build_library(workspace))?;
        let directory = workspace.target_dir().join("bun-demo");
        copy_directory(&workspace.root().join(SOURCE), &directory)?;
        let bun = during("fetching Bun and the data set from npm", || fetch_packages(&directory))?;
        Ok(Self { directory, bun, library })
    }

    /// Bun with these arguments, in the example's directory, with the library's path in `ENGINE_LIB`.
    pub(crate) fn program(&self, arguments: &[&OsStr]) -> Program {
        Program::new(&self.bun).args(arguments).directory(&self.directory).env("ENGINE_LIB", &self.library)
    }

    /// Where the JSON and CSV files of vega-datasets are.
    pub(crate) fn datasets(&self) -> PathBuf {
        self.directory.join("node_modules/vega-datasets")
    }
}

/// Builds the shared library as it is released.
pub(crate) fn build_library(workspace: &Workspace) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--quiet", "--package", "twill-c"];
    Program::new("cargo").args(arguments).directory(workspace.root()).run()?;
    let library = workspace.target_dir().join("release").join(format!("{DLL_PREFIX}engine{DLL_SUFFIX}"));
    ensure!(library.is_file(), "cargo built no {}", library.display());
    Ok(library)
}

/// Copies the files of `from` (it has no directories of its own) and removes nothing.
fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let target = to.join(entry.file_name());
            fs::copy(entry.path(), &target).with_context(|| format!("writing {}", target.display()))?;
        }
    }
    Ok(())
}

/// Installs what `package.json` pins, and gives the path of Bun.
fn fetch_packages(directory: &Path) -> Result<PathBuf> {
    let manifest =
        fs::read_to_string(directory.join("package.json")).context("reading the example's package.json")?;
    let installed = directory.join("node_modules/.installed");
    let bun = directory.join("node_modules/.bin/bun");
    if fs::read_to_string(&installed).is_ok_and(|last| last == manifest) && answers(&bun) {
        return Ok(bun);
    }
    ensure!(program::is_installed("npm"), "npm is not installed; it is needed to fetch Bun and the data set");
    let arguments =
        ["install", "--omit=dev", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel", "error"];
    Program::new("npm").args(arguments).directory(directory).output()?;
    if !answers(&bun) {
        // Where npm blocks install scripts, the program itself is not there yet.
        Program::new("node").args(["node_modules/bun/install.js"]).directory(directory).output()?;
    }
    ensure!(answers(&bun), "{} does not run", bun.display());
    fs::write(&installed, manifest).with_context(|| format!("writing {}", installed.display()))?;
    Ok(bun)
}

fn answers(bun: &Path) -> bool {
    Program::new(bun).args(["--version"]).output().is_ok()
}

/// Runs `work` under a spinner on a terminal, in silence otherwise.
fn during<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !std::io::stderr().is_terminal() {
        return work().with_context(|| what.to_owned());
    }
    let style = ProgressStyle::default_spinner();
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let result = work().with_context(|| what.to_owned());
    spinner.finish_and_clear();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_copied_over_an_older_copy_and_packages_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        for (path, text) in [("from/app.ts", "new"), ("to/app.ts", "old"), ("to/node_modules/bun", "kept")] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        copy_directory(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("app.ts")).unwrap(), "new");
        assert_eq!(fs::read_to_string(to.join("node_modules/bun")).unwrap(), "kept");
        assert!(copy_directory(&directory.path().join("absent"), &to).is_err());
    }

    #[test]
    fn the_program_runs_in_its_directory_with_the_library_in_its_environment() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("app.sh"), "echo $ENGINE_LIB $*").unwrap();
        let example = Example {
            directory: directory.path().to_owned(),
            bun: "sh".into(),
            library: "/lib/libengine.so".into(),
        };
        let output = example.program(&["app.sh".as_ref(), "load".as_ref()]).output().unwrap();
        assert_eq!(output, "/lib/libengine.so load\n");
    }

    #[test]
    fn packages_that_are_there_are_not_fetched_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("node_modules/.bin")).unwrap();
        fs::write(path("package.json"), "{}").unwrap();
        fs::write(path("node_modules/.installed"), "{}").unwrap();
        let true_program = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|directory| directory.join("true"))
            .find(|program| program.is_file())
            .unwrap();
        std::os::unix::fs::symlink(true_program, path("node_modules/.bin/bun")).unwrap();
        assert_eq!(fetch_packages(directory.path()).unwrap(), path("node_modules/.bin/bun"));
    }
}
