//! `twill completions SHELL`: a script that lets the user's shell complete subcommands, options and their values.
//!
//! It refuses shells that clap_complete does not know, by name.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Twill;
use crate::failure::Failure;
use crate::session::written;

/// Write completions for a shell
///
/// For example: twill completions bash > ~/.local/share/bash-completion/completions/twill
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Twill::command(), "twill", &mut text);
        io::Write::write_all(&mut io::stdout().lock(), &text).map_err(written)
    }
}
