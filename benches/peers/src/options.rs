//! Command lines: `--name value` and `--flag`, and nothing else. What is wrong ends the program
//! with code 2.

use std::collections::BTreeMap;
use std::process::exit;
use std::time::Duration;

pub struct Options {
    values: BTreeMap<String, String>,
    flags: Vec<String>,
}

impl Options {
    /// Reads the command line. `--help` prints `help` and ends the program.
    pub fn read(help: &str, names: &[&str], flags: &[&str]) -> Self {
        Self::of(std::env::args().skip(1), help, names, flags)
            .unwrap_or_else(|problem| complain(&problem))
    }

    fn of(
        mut words: impl Iterator<Item = String>,
        help: &str,
        names: &[&str],
        flags: &[&str],
    ) -> Result<Self, String> {
        let mut options = Self { values: BTreeMap::new(), flags: Vec::new() };
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                print!("{help}");
                exit(0);
            }
            let (name, given) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            if flags.contains(&name.as_str()) {
                match given {
                    Some(_) => return Err(format!("{name} takes no value")),
                    None => options.flags.push(name),
                }
            } else if names.contains(&name.as_str()) {
                let Some(value) = given.or_else(|| words.next()) else {
                    return Err(format!("{name} needs a value"));
                };
                if options.values.insert(name.clone(), value).is_some() {
                    return Err(format!("{name} is given twice"));
                }
            } else {
                return Err(format!("there is no option '{name}'"));
            }
        }
        Ok(options)
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A whole number from 1 to `most`.
    pub fn count(&self, name: &str, default: usize, most: usize) -> usize {
        let Some(value) = self.text(name) else { return default };
        match value.parse() {
            Ok(count) if (1..=most).contains(&count) => count,
            _ => complain(&format!("{name} is '{value}'; it must be a number from 1 to {most}")),
        }
    }

    /// A time from 1 ms to 10 minutes.
    pub fn time(&self, name: &str, default: Duration) -> Duration {
        let Some(value) = self.text(name) else { return default };
        parse_time(value).unwrap_or_else(|| {
            complain(&format!("{name} is '{value}'; it must be a time from 1ms to 600s"))
        })
    }
}

fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    (1e-3..=600.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// Says what is wrong with the command line and ends the program with code 2.
pub fn complain(problem: &str) -> ! {
    eprintln!("{problem}; see --help");
    exit(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_range() {
        assert_eq!(parse_time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_time("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "5", "s", "ms", "-1s", "0s", "601s", "NaNs", "infs", "1m", "1 s"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let of = |words: &[&str]| {
            let words = words.iter().map(|&word| word.to_owned());
            Options::of(words, "", &["--runs"], &["--lost"]).err()
        };
        assert_eq!(of(&["--runs", "3", "--lost"]), None);
        assert_eq!(of(&["--runs=3"]), None);
        assert_eq!(of(&["--runs"]).as_deref(), Some("--runs needs a value"));
        assert_eq!(of(&["--lost=1"]).as_deref(), Some("--lost takes no value"));
        assert_eq!(of(&["--run", "3"]).as_deref(), Some("there is no option '--run'"));
        assert_eq!(of(&["3"]).as_deref(), Some("there is no option '3'"));
        assert_eq!(of(&["--runs=1", "--runs=2"]).as_deref(), Some("--runs is given twice"));
    }
}
