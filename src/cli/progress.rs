//! Progress of transfers: bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::remote::{print_failure, print_stdout};
use crate::client::{Failure, OnProgress, ProgressEvent, Result};
use crate::domain::file_name::escape_hidden;

/// Columns from which on there is room for a bar and a speed.
const WIDE_COLUMNS: u16 = 60;
/// Columns for the file name on a wide terminal.
const NAME_COLUMNS: usize = 24;
/// Redraws per second.
const REDRAW_HZ: u8 = 10;

/// The progress of all files of a command.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    quiet: bool,
}

/// The progress of one file.
pub(super) struct Line {
    name: String,
    bar: Option<ProgressBar>,
    bars: Option<MultiProgress>,
    quiet: bool,
}

impl Progress {
    /// Shows bars if standard error is a terminal; `quiet` shows nothing.
    pub(super) fn new(quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bars = (is_terminal && !quiet).then(|| {
            MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAW_HZ))
        });
        Self { bars, quiet }
    }

    /// Starts the progress of a file.
    pub(super) fn begin(&self, name: &str) -> Line {
        let name = escape_hidden(name);
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(style_of(console::Term::stderr().size().1));
            bar.set_message(name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Line { name, bar, bars: self.bars.clone(), quiet: self.quiet }
    }

    /// Prints a line above the bars.
    pub(super) fn print(&self, text: &str) -> Result<()> {
        match &self.bars {
            Some(bars) => bars.suspend(|| print_stdout(text)),
            None => print_stdout(text),
        }
    }

    /// Prints a failure above the bars.
    pub(super) fn print_failure(&self, failure: &Failure) {
        match &self.bars {
            Some(bars) => bars.suspend(|| print_failure(failure, false)),
            None => print_failure(failure, false),
        }
    }
}

/// A bar that fits on one line at any width: a wrapped bar would leave remnants at each redraw.
fn style_of(columns: u16) -> ProgressStyle {
    let template = if columns >= WIDE_COLUMNS {
        format!(
            "{{msg:{NAME_COLUMNS}!}} {{wide_bar}} {{binary_bytes}}/{{binary_total_bytes}} \
             {{binary_bytes_per_sec}} {{eta}}"
        )
    } else {
        // 12 columns: percent, remaining time such as 59m, spaces, and an empty last column.
        let name = usize::from(columns).saturating_sub(12).max(1);
        format!("{{msg:{name}!}} {{percent:>3}}% {{eta}}")
    };
    // The templates are constant; fall back to a plain bar rather than panic.
    let style = ProgressStyle::with_template(&template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Line {
    /// Returns a callback that updates this line.
    pub(super) fn reporter(&self) -> Box<OnProgress> {
        let (bar, name, quiet) = (self.bar.clone(), self.name.clone(), self.quiet);
        Box::new(move |event| match (&bar, event) {
            (Some(bar), ProgressEvent::Size(size)) => bar.set_length(size),
            (Some(bar), ProgressEvent::Position(bytes)) => {
                let jump = bar.position() == 0 || bytes < bar.position();
                bar.set_position(bytes);
                bar.set_message(name.clone());
                if jump {
                    // Bytes of an earlier attempt must not count towards the speed.
                    bar.reset_eta();
                }
            }
            (Some(bar), ProgressEvent::Retrying { delay, reason }) => {
                bar.set_message(format!("retrying in {} s: {reason}", delay.as_secs().max(1)));
            }
            (None, ProgressEvent::Retrying { delay, reason }) if !quiet => {
                let seconds = delay.as_secs().max(1);
                // Nothing can be done if standard error is closed.
                let _ = writeln!(std::io::stderr(), "{name}: retrying in {seconds} s: {reason}");
            }
            (None, _) => {}
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let (Some(bar), Some(bars)) = (&self.bar, &self.bars) {
            bar.finish_and_clear();
            // Otherwise each finished bar would be redrawn: too slow with ten thousand files.
            bars.remove(bar);
        }
    }
}
