//! The command line: what to measure, where to make the databases, where to put the results.
//!
//! It refuses what it does not know, so that a misspelt option never runs the whole benchmark.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub(crate) const USAGE: &str = "\
cargo run --release -p twill-bench -- file|log [options]

file compares TwillDB on file:// with plain libSQL and writes file.json, file.md and the plots.
log compares the commit log with raw conditional PUTs over HTTP and writes log.json, log.md and the plots.

  --quick          a smoke run: every line, tiny sizes, numbers without meaning; writes only with --out
  --dir <dir>      where the databases are made and removed again; must be on a disk (default: beside this program);
                   file alone
  --out <dir>      where the results go (default: bench/results of the source)
  --rounds <n>     measurements of each side on each line, at least 1 (default: 5); file alone
  --only <text>    only the lines (log: the stores) whose name contains the text; writes only with --out";

/// What to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Experiment {
    /// TwillDB on `file://` beside plain libSQL.
    #[default]
    File,
    /// The commit log beside raw conditional PUTs.
    Log,
}

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) experiment: Experiment,
    pub(crate) quick: bool,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) rounds: Option<usize>,
    pub(crate) only: Option<String>,
}

impl Arguments {
    /// `None` when the usage is asked for.
    pub(crate) fn parse(words: &[String]) -> Result<Option<Self>> {
        let mut words = words.iter().map(String::as_str);
        let experiment = match words.next() {
            Some("file") => Experiment::File,
            Some("log") => Experiment::Log,
            Some("--help" | "-h") => return Ok(None),
            Some(other) => bail!("unknown experiment {other}; there are: file, log\n\n{USAGE}"),
            None => bail!("which experiment?\n\n{USAGE}"),
        };
        let mut arguments = Self { experiment, ..Self::default() };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value\n\n{USAGE}"));
            match word {
                "--quick" => arguments.quick = true,
                "--dir" => arguments.directory = Some(value()?.into()),
                "--out" => arguments.out = Some(value()?.into()),
                "--only" => arguments.only = Some(value()?.to_owned()),
                "--rounds" => {
                    let rounds: usize = value()?.parse().context("--rounds")?;
                    if rounds == 0 {
                        bail!("--rounds must be at least 1");
                    }
                    arguments.rounds = Some(rounds);
                }
                "--help" | "-h" => return Ok(None),
                other => bail!("unknown option {other}\n\n{USAGE}"),
            }
        }
        if experiment == Experiment::Log && (arguments.rounds.is_some() || arguments.directory.is_some()) {
            bail!("--rounds and --dir are for file alone\n\n{USAGE}");
        }
        Ok(Some(arguments))
    }

    /// Where results are written, if anywhere: partial and meaningless ones only where it was said.
    pub(crate) fn results_directory(&self) -> Option<PathBuf> {
        let partial = self.quick || self.only.is_some();
        let committed = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"));
        self.out.clone().or_else(|| (!partial).then(committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>> {
        Arguments::parse(&line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused_by_name() {
        let arguments = parse("file --quick --rounds 3 --only scan --out there").unwrap().unwrap();
        assert_eq!((arguments.quick, arguments.rounds), (true, Some(3)));
        assert_eq!(arguments.only.as_deref(), Some("scan"));
        assert_eq!(parse("file --help").unwrap(), None);
        assert_eq!(parse("log").unwrap().unwrap().experiment, Experiment::Log);
        for (line, named) in [
            ("file --fast", "--fast"),
            ("s3", "s3"),
            ("file --rounds 0", "at least 1"),
            ("log --rounds 2", "file alone"),
        ] {
            assert!(parse(line).unwrap_err().to_string().contains(named), "{line}");
        }
    }

    #[test]
    fn partial_results_never_replace_the_committed_ones() {
        for (line, written) in [
            ("file", true),
            ("file --quick", false),
            ("file --only scan", false),
            ("file --quick --out there", true),
        ] {
            assert_eq!(parse(line).unwrap().unwrap().results_directory().is_some(), written, "{line}");
        }
    }
}
