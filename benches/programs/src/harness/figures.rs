//! From many figures to few.

use std::thread;
use std::time::{Duration, Instant};

/// Many figures, in order.
#[derive(Clone, Debug)]
pub struct Spread(Vec<f64>);

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }
}

impl FromIterator<Duration> for Spread {
    /// In milliseconds.
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        times.into_iter().map(millis).collect()
    }
}

impl Spread {
    /// The one below which this share of them lies.
    pub fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub fn most(&self) -> f64 {
        self.at(1.0)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The median, and between brackets the least and the most, if they differ.
    pub fn show_all(&self, figure: impl Fn(f64) -> String) -> String {
        let [least, middle, most] = [0.0, 0.5, 1.0].map(|share| figure(self.at(share)));
        if least == most { middle } else { format!("{middle} ({least} to {most})") }
    }
}

/// Jain's index of fairness: 1 if all had the same number of turns, 1/n if one had them all.
pub fn jain(turns: &[u64]) -> f64 {
    let sum: f64 = turns.iter().map(|&turns| turns as f64).sum();
    let squares: f64 = turns.iter().map(|&turns| (turns as f64).powi(2)).sum();
    sum * sum / (turns.len() as f64 * squares)
}

/// About three digits.
pub fn figure(number: f64) -> String {
    let digits = match number.abs() {
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$}")
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

/// Keeps a core busy for so long.
pub fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// How many threads can run at once.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Under what conditions this was measured: cores, and the system's own word for how busy it was in
/// the last minute.
pub fn conditions() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    format!("{} cores, load of the machine {load}", cores())
}

/// Cores, and versions of those packages, which are those of this package's lock file.
pub fn versions(names: &[&str]) -> String {
    let mut line = format!("{} cores", cores());
    for name in names {
        let version = include_str!("../../Cargo.lock")
            .split("[[package]]")
            .find_map(|package| package.split_once(&format!("name = \"{name}\"\nversion = \"")))
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or("?");
        line += &format!(", {name} {version}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_everything_makes_the_index_small() {
        assert_eq!(jain(&[10; 4]), 1.0);
        assert_eq!(jain(&[10, 0, 0, 0]), 0.25);
    }

    #[test]
    fn the_lock_file_tells_versions() {
        let line = versions(&["caliburn", "r2d2", "bb8", "deadpool", "tokio"]);
        assert!(!line.contains('?'), "{line}");
    }
}
