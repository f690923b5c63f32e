//! Command lines. What is wrong with one ends the program with code 2.

use pico_args::Arguments;
use std::fmt::Display;
use std::process::exit;
use std::str::FromStr;

/// How much time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// For figures that are to be believed.
    Full,
    /// To see that it runs, and roughly what comes out.
    Quick,
}

impl Length {
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

pub struct Options(Arguments);

impl Options {
    /// Reads the command line. `--help` prints `help` and ends the program.
    pub fn read(help: &str) -> Self {
        let mut words = Arguments::from_env();
        if words.contains(["-h", "--help"]) {
            print!("{help}");
            exit(0);
        }
        Self(words)
    }

    /// For a program that takes `--quick`, and nothing else.
    pub fn length_only(help: &str) -> Length {
        let mut options = Self::read(help);
        let length = options.length();
        options.finish();
        length
    }

    pub fn length(&mut self) -> Length {
        if self.has("--quick") { Length::Quick } else { Length::Full }
    }

    pub fn has(&mut self, flag: &'static str) -> bool {
        self.0.contains(flag)
    }

    pub fn value<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.0.opt_value_from_str(name).unwrap_or_else(|error| complain(&error))
    }

    /// To be called when everything has been read.
    pub fn finish(self) {
        if let Some(word) = self.0.finish().first() {
            complain(&format!("there is no option {word:?}"));
        }
    }
}

/// Says what is wrong with the command line and ends the program with code 2.
pub fn complain(problem: &dyn Display) -> ! {
    eprintln!("{problem}; see --help");
    exit(2)
}
