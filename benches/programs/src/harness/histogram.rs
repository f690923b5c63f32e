//! How long something took, many times. It never grows, so that noting a figure disturbs what is
//! measured as little as can be.

use hdrhistogram::Histogram as Counts;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Histogram(Counts<u32>);

impl Default for Histogram {
    /// Up to four minutes, by the nanosecond; figures are within a hundredth of the truth.
    fn default() -> Self {
        Self(Counts::new_with_bounds(1, 1 << 38, 2).expect("sound bounds"))
    }
}

impl Histogram {
    #[inline]
    pub fn note(&mut self, took: Duration) {
        self.0.saturating_record(took.as_nanos() as u64);
    }

    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same bounds");
    }

    /// The time below which this share of them lies, in nanoseconds. Interpolated, as some clocks
    /// go by steps of ten nanoseconds.
    pub fn nanos_at(&self, share: f64) -> f64 {
        let rank = share * self.0.len() as f64;
        let (mut passed, mut previous) = (0.0, None);
        for step in self.0.iter_recorded() {
            let (value, count) =
                (step.value_iterated_to() as f64, step.count_since_last_iteration() as f64);
            if share < 1.0 && passed + count >= rank {
                let from = previous.unwrap_or(value);
                return from + (value - from) * (rank - passed) / count;
            }
            passed += count;
            previous = Some(value);
        }
        self.0.max() as f64
    }

    /// The same in microseconds.
    pub fn micros_at(&self, share: f64) -> f64 {
        self.nanos_at(share) / 1e3
    }
}
