//! `twill man`: one page for the command and all its subcommands.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

use super::Twill;
use crate::failure::{EXIT_CODES, Failure};
use crate::session::written;

/// Write the manual page
///
/// For example: twill man > ~/.local/share/man/man1/twill.1
#[derive(Debug, Args)]
pub(super) struct Man {}

impl Man {
    #[expect(clippy::unused_self, reason = "every subcommand is run so")]
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut text = Vec::new();
        render(&mut text).map_err(written)?;
        io::stdout().lock().write_all(&text).map_err(written)
    }
}

const ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "If it is set, no colours are used. They are used on terminals only."),
    ("XDG_STATE_HOME", "The shell keeps its history in twill/history below it, or below ~/.local/state."),
];

fn render(out: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Twill::command().after_help("").disable_help_subcommand(true);
    command.build();
    let page = Page::new(command.clone()).date("");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    let mut headings = Roff::new();
    headings.control("SH", ["COMMANDS"]);
    headings.to_writer(out)?;
    for subcommand in command.get_subcommands() {
        let mut heading = Roff::new();
        let name = format!("twill {}", subcommand.get_name());
        heading.control("SS", [name.as_str()]);
        heading.to_writer(out)?;
        let page = Page::new(subcommand.clone().bin_name(name));
        for render in
            [Page::render_synopsis_section, Page::render_description_section, Page::render_options_section]
        {
            let mut section = Vec::new();
            render(&page, &mut section)?;
            // The subcommand's sections lie below its own heading.
            let text = String::from_utf8_lossy(&section)
                .replace(".SH SYNOPSIS\n", "")
                .replace(".SH DESCRIPTION\n", ".PP\n");
            out.extend_from_slice(text.replace(".SH OPTIONS\n", ".PP\n").as_bytes());
        }
    }
    let mut places = Roff::new();
    places.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        places.control("TP", []);
        places.text([roman(*name)]);
        places.text([roman(*meaning)]);
    }
    places.to_writer(out)?;
    let mut codes = Roff::new();
    codes.control("SH", ["EXIT STATUS"]);
    for line in EXIT_CODES.lines().skip(1) {
        let (code, meaning) = line.trim().split_once(' ').unwrap_or((line, ""));
        codes.control("TP", []);
        codes.text([roman(code)]);
        codes.text([roman(meaning.trim())]);
    }
    codes.to_writer(out)
}
