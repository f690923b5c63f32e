//! From many figures to few.

use std::thread;
use std::time::{Duration, Instant};

/// Many figures, in order.
pub(crate) struct Spread(Vec<f64>);

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }
}

impl Spread {
    /// The one below which this share of them lies.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The median, and between brackets the quartiles.
    pub(crate) fn show(&self, figure: impl Fn(f64) -> String) -> String {
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| figure(self.at(share)));
        format!("{middle} ({low} to {high})")
    }
}

/// Jain's index of fairness: 1 if all had the same number of turns, 1/n if one had them all.
pub(crate) fn jain(turns: &[u64]) -> f64 {
    let sum: f64 = turns.iter().map(|&turns| turns as f64).sum();
    let squares: f64 = turns.iter().map(|&turns| (turns as f64).powi(2)).sum();
    sum * sum / (turns.len() as f64 * squares)
}

/// Nanoseconds for each of `trips` calls: the best of three slices.
pub(crate) fn cost(trips: u32, mut trip: impl FnMut()) -> f64 {
    let slice = || {
        let begun = Instant::now();
        (0..trips).for_each(|_| trip());
        begun.elapsed().as_nanos() as f64 / f64::from(trips)
    };
    std::iter::repeat_with(slice).take(3).fold(f64::MAX, f64::min)
}

/// Keeps a core busy for so long.
pub(crate) fn work(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// How many threads can run at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Under what conditions this was measured: cores, and the system's own word for how busy it was in
/// the last minute.
pub(crate) fn conditions() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    format!("{} cores, load of the machine {load}", cores())
}
