//! How far a program has come, and how long the rest will take: on stderr, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;

pub struct Progress(ProgressBar);

impl Progress {
    /// `steps` of about the same length.
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{bar:20} {elapsed}, {eta} left: {msg}");
        bar.set_style(style.expect("a sound template"));
        Self(bar)
    }

    /// `what` begins.
    pub fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
        self.0.tick();
    }

    /// So many steps are done.
    pub fn advance(&self, steps: usize) {
        self.0.inc(steps as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
