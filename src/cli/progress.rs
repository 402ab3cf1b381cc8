//! How far files have come: bars on a terminal, plain lines everywhere else.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::remote::{complain, say};
use crate::client::{Event, Failure, Result, Told};
use crate::domain::file_name::visible;

/// From so many columns on there is room for a bar and a speed.
const WIDE_COLUMNS: u16 = 60;
/// Of a name, so many columns are shown in a wide terminal.
const NAME_COLUMNS: usize = 24;
/// How often bars are drawn anew, in a second.
const DRAWN: u8 = 10;

/// All files of a command.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    quiet: bool,
}

/// One file.
pub(super) struct Line {
    name: String,
    bar: Option<ProgressBar>,
    bars: Option<MultiProgress>,
    quiet: bool,
}

impl Progress {
    /// Bars, if standard error is a terminal; `quiet` is for programs.
    pub(super) fn new(quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bars = (is_terminal && !quiet)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWN)));
        Self { bars, quiet }
    }

    /// A file begins.
    pub(super) fn begin(&self, name: &str) -> Line {
        let name = visible(name);
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
    pub(super) fn say(&self, text: &str) -> Result<()> {
        match &self.bars {
            Some(bars) => bars.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// Says above the bars how something failed.
    pub(super) fn complain(&self, failure: &Failure) {
        match &self.bars {
            Some(bars) => bars.suspend(|| complain(failure, false)),
            None => complain(failure, false),
        }
    }
}

/// One line in every width: a terminal that is too narrow for it would break it, and the next drawing
/// would leave pieces behind.
fn style_of(columns: u16) -> ProgressStyle {
    let template = if columns >= WIDE_COLUMNS {
        format!(
            "{{msg:{NAME_COLUMNS}!}} {{wide_bar}} {{binary_bytes}}/{{binary_total_bytes}} \
             {{binary_bytes_per_sec}} {{eta}}"
        )
    } else {
        // Percent, a time left such as 59m, blanks, and the last column stays empty.
        let name = usize::from(columns).saturating_sub(12).max(1);
        format!("{{msg:{name}!}} {{percent:>3}}% {{eta}}")
    };
    // The templates are ours; a plain bar is better than none.
    let style = ProgressStyle::with_template(&template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Line {
    /// Takes what is told.
    pub(super) fn told(&self) -> Box<Told> {
        let (bar, name, quiet) = (self.bar.clone(), self.name.clone(), self.quiet);
        Box::new(move |event| match (&bar, event) {
            (Some(bar), Event::Size(size)) => bar.set_length(size),
            (Some(bar), Event::At(bytes)) => {
                let jump = bar.position() == 0 || bytes < bar.position();
                bar.set_position(bytes);
                bar.set_message(name.clone());
                if jump {
                    // What was there before says nothing about the speed.
                    bar.reset_eta();
                }
            }
            (Some(bar), Event::Waiting { wait, why }) => {
                bar.set_message(format!("again in {} s: {why}", wait.as_secs().max(1)));
            }
            (None, Event::Waiting { wait, why }) if !quiet => {
                let seconds = wait.as_secs().max(1);
                // Nothing can be done when standard error is closed.
                let _ = writeln!(std::io::stderr(), "{name}: again in {seconds} s: {why}");
            }
            (None, _) => {}
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let (Some(bar), Some(bars)) = (&self.bar, &self.bars) {
            bar.finish_and_clear();
            // Of ten thousand files those that are done would be drawn, too.
            bars.remove(bar);
        }
    }
}
