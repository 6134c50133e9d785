//! How far a long work has come: a bar on a terminal's stderr, nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or nothing.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes of a known or unknown number.
    pub(crate) fn of_bytes(what: &str, total: Option<u64>, is_quiet: bool) -> Self {
        let unit = "{bytes}/{total_bytes}";
        Self::new(what, total, is_quiet, unit, "{bytes}")
    }

    /// Counts rows, pages or tables.
    pub(crate) fn of_items(what: &str, total: Option<u64>, is_quiet: bool) -> Self {
        Self::new(what, total, is_quiet, "{human_pos}/{human_len}", "{human_pos}")
    }

    fn new(what: &str, total: Option<u64>, is_quiet: bool, of_total: &str, alone: &str) -> Self {
        // indicatif draws nothing where stderr is not a terminal.
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => format!("{{msg}} {{bar:30}} {of_total} {{eta}}"),
            None => format!("{{msg}} {{spinner}} {alone}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self(bar)
    }

    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
