//! How long something took, many times: a log-linear histogram that never grows, so that noting a
//! figure disturbs what is measured as little as can be.

use std::time::Duration;

/// Steps to a doubling, as a power of two: a figure is within 1/64 of the truth.
const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Enough for 2^38 ns, about 4 minutes.
const BUCKETS: usize = (38 - STEP_BITS as usize + 1) * STEPS;

#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Box<[u32]>,
    longest: u64,
}

fn bucket(nanos: u64) -> usize {
    let magnitude = nanos.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    (magnitude as usize * STEPS + (nanos >> magnitude) as usize).min(BUCKETS - 1)
}

/// The least value that falls into a bucket.
fn lower(bucket: usize) -> u64 {
    let magnitude = (bucket / STEPS).saturating_sub(1);
    ((bucket - magnitude * STEPS) as u64) << magnitude
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into(), longest: 0 }
    }
}

impl Histogram {
    #[inline]
    pub(crate) fn note(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.longest = self.longest.max(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, &count)| (lower(bucket), u64::from(count)))
    }

    /// The time below which this share of them lies, in nanoseconds. Interpolated, as some clocks
    /// go by steps of ten nanoseconds.
    pub(crate) fn nanos_at(&self, share: f64) -> f64 {
        let rank = share * self.count() as f64;
        let (mut passed, mut previous) = (0.0, None);
        for (value, count) in self.filled() {
            let (value, count) = (value as f64, count as f64);
            if passed + count >= rank {
                let from = previous.unwrap_or(value);
                return from + (value - from) * (rank - passed) / count;
            }
            passed += count;
            previous = Some(value);
        }
        self.longest as f64
    }

    pub(crate) fn at(&self, share: f64) -> Duration {
        Duration::from_nanos(self.nanos_at(share) as u64)
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// As a picture: a line for each half of a doubling, from the shortest to the longest.
    pub(crate) fn picture(&self) -> String {
        let half = |nanos: u64| (2.0 * (nanos.max(1) as f64).log2()).floor() as i32;
        let filled: Vec<_> = self.filled().map(|(value, count)| (half(value), count)).collect();
        let (Some(first), Some(last)) = (filled.first(), filled.last()) else {
            return String::new();
        };
        let all = self.count() as f64;
        let line = |row: i32| {
            let count: u64 = filled.iter().filter(|(at, _)| *at == row).map(|(_, n)| n).sum();
            let from = Duration::from_nanos(2f64.powf(f64::from(row) / 2.0) as u64);
            // A mark for the rarest, too.
            let marks = (count as f64 / all * 60.0).ceil() as usize;
            format!("{:>12} {count:>9} {}\n", format!("{from:.1?}"), "#".repeat(marks))
        };
        (first.0..=last.0).map(line).collect()
    }
}
