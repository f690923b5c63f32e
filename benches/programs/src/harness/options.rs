//! Command lines. What is wrong with one ends the program with code 2.

use clap::{Args, Command, FromArgMatches};

/// How much time is taken.
#[derive(Args, Clone, Copy, Debug)]
pub struct Length {
    /// Less of everything: to see that it runs, and roughly what comes out
    #[arg(long)]
    quick: bool,
}

impl Length {
    /// For a program that takes `--quick`, and nothing else.
    pub fn read(about: &'static str) -> Self {
        let command = Self::augment_args(Command::new("").about(about));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
