//! A log-linear histogram of durations: eight steps to each doubling, so a figure is within 1/8 of
//! the truth, after Gil Tene's HDR histogram.

use crate::sync::{OnceLock, Relaxed};
use std::fmt;
use std::time::Duration;

/// Steps to a doubling, as a power of two.
const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;
/// Enough for 2^40 ns, about 18 minutes; longer durations count as that.
const DOUBLINGS: usize = 38;
const BUCKETS: usize = DOUBLINGS * STEPS;

fn bucket(nanos: u64) -> usize {
    let magnitude = nanos.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    (magnitude as usize * STEPS + (nanos >> magnitude) as usize).min(BUCKETS - 1)
}

/// The greatest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let magnitude = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) as u64) * (1 << magnitude) - 1
}

/// Takes durations from many threads. Its buckets, of 2.4 kB, are there from the first duration on.
#[derive(Default)]
pub(crate) struct Recorder {
    buckets: OnceLock<Box<[Relaxed<u64>]>>,
    sum: Relaxed<u64>,
    max: Relaxed<u64>,
}

impl Recorder {
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let buckets =
            self.buckets.get_or_init(|| (0..BUCKETS).map(|_| Relaxed::default()).collect());
        buckets[bucket(nanos)].add(1);
        self.sum.add(nanos);
        if self.max.get() < nanos {
            self.max.raise(nanos);
        }
    }

    /// Makes sure that the first duration allocates nothing.
    pub(crate) fn prepare(&self) {
        self.buckets.get_or_init(|| (0..BUCKETS).map(|_| Relaxed::default()).collect());
    }

    /// The sum of all durations, in nanoseconds.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.get()
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: self.buckets.get().into_iter().flatten().map(Relaxed::<u64>::get).collect(),
            sum: self.sum.get(),
            max: self.max.get(),
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// How often each duration was seen, to an eighth of it.
///
/// Durations of more than about 17 minutes lie in one bucket, which is open above: there a
/// [`quantile`](Self::quantile) is the [longest](Self::max) duration,
/// [`count_up_to`](Self::count_up_to) counts none of them, however high its limit, and exporters
/// report one value for all, such that the sum is right. [`count`](Self::count),
/// [`sum`](Self::sum), [`mean`](Self::mean) and [`max`](Self::max) are exact.
///
/// ```
/// # use caliburn::Stats;
/// # use std::time::Duration;
/// fn report(stats: &Stats) {
///     let waits = &stats.wait_time;
///     let [p50, p99] = [0.5, 0.99].map(|share| waits.quantile(share));
///     let (count, longest) = (waits.count(), waits.max());
///     println!("{count} waits: p50 {p50:?}, p99 {p99:?}, longest {longest:?}");
///     println!("{:?} in all, {:?} on average", waits.sum(), waits.mean());
///     println!("{} within 10 ms", waits.count_up_to(Duration::from_millis(10)));
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    sum: u64,
    max: u64,
}

/// A summary, not every bucket.
impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

impl Histogram {
    /// Returns the number of durations recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the longest duration, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Returns the mean duration; zero if nothing was recorded.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count()).unwrap_or(0))
    }

    /// Returns how many durations were at most `limit`. Durations shorter than `limit` by less than
    /// an eighth may be missing; what is counted once stays counted.
    pub fn count_up_to(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        // The last bucket is open above.
        let buckets = self.buckets.iter().take(BUCKETS - 1).enumerate();
        buckets.take_while(|(bucket, _)| upper(*bucket) <= limit).map(|(_, count)| count).sum()
    }

    /// Returns the duration that the share `quantile` (0 to 1) of all durations did not exceed, up
    /// to an eighth too high; zero if none was recorded.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && bucket < BUCKETS - 1 {
                return Duration::from_nanos(upper(bucket).min(self.max));
            }
        }
        self.max()
    }

    /// As [`Stats::since`](super::Stats::since): returns the durations recorded since `earlier`.
    /// The [longest](Self::max) of them may be up to an eighth too long.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let counts = self.buckets.iter().zip(before);
        let buckets: Vec<u64> = counts.map(|(now, before)| now.saturating_sub(before)).collect();
        let sum = self.sum.saturating_sub(earlier.sum);
        let max = if self.max > earlier.max { self.max } else { Self::highest(&buckets, self.max) };
        Self { buckets, sum, max }
    }

    /// Durations in the place of those that were recorded: as many in each bucket, and with the
    /// same sum. Each comes with its count.
    #[cfg(any(feature = "metrics", feature = "opentelemetry"))]
    pub(crate) fn stand_ins(&self) -> impl Iterator<Item = (Duration, u64)> {
        let ends = |bucket: usize| {
            let lower = bucket.checked_sub(1).map_or(0, |below| upper(below) + 1);
            // The last bucket is open above, and no duration is longer than the longest.
            let is_last = bucket == BUCKETS - 1;
            let upper = if is_last { self.max } else { upper(bucket).min(self.max) };
            (lower, upper.max(lower) - lower)
        };
        let filled = || self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        let (mut lowest, mut room) = (0.0, 0.0);
        for (bucket, count) in filled() {
            let (lower, width) = ends(bucket);
            lowest += lower as f64 * *count as f64;
            room += width as f64 * *count as f64;
        }
        // All at the same share of their bucket's width: so they come to the sum.
        let share = ((self.sum as f64 - lowest) / room).clamp(0.0, 1.0);
        let share = if share.is_nan() { 0.0 } else { share };
        filled().map(move |(bucket, count)| {
            let (lower, width) = ends(bucket);
            let above = ((width as f64 * share) as u64).min(width);
            (Duration::from_nanos(lower + above), *count)
        })
    }

    /// The longest duration that the buckets allow for, if none was longer than `longest`.
    fn highest(buckets: &[u64], longest: u64) -> u64 {
        match buckets.iter().rposition(|count| *count > 0) {
            None => 0,
            Some(bucket) if bucket < BUCKETS - 1 => upper(bucket).min(longest),
            Some(_) => longest,
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Histogram {
    /// Count, maximum and the usual quantiles, in nanoseconds.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = |quantile| self.quantile(quantile).as_nanos() as u64;
        serializer.collect_map([
            ("count", self.count()),
            ("sum_ns", self.sum),
            ("p50_ns", nanos(0.5)),
            ("p90_ns", nanos(0.9)),
            ("p99_ns", nanos(0.99)),
            ("p999_ns", nanos(0.999)),
            ("max_ns", self.max),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_is_at_most_an_eighth_too_high() {
        let values =
            (0..10_000u64).chain((14..38).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 7]));
        for nanos in values {
            let upper = upper(bucket(nanos));
            assert!(upper >= nanos, "{nanos} above its bucket's {upper}");
            assert!(upper - nanos <= nanos / 8, "{nanos} reported as {upper}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_values_are_where_they_should_be() {
        let recorder = Recorder::default();
        for micros in 1..=1000 {
            recorder.record(Duration::from_micros(micros));
        }
        let histogram = recorder.snapshot();
        assert_eq!(histogram.count(), 1000);
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(histogram.mean(), Duration::from_nanos(500_500));
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(1));
        for (quantile, micros) in [(0.5, 500), (0.9, 900), (0.99, 990)] {
            let (found, right) = (histogram.quantile(quantile), Duration::from_micros(micros));
            assert!(found >= right && found <= right * 9 / 8, "{quantile}: {found:?}");
        }
    }

    #[test]
    fn durations_up_to_a_limit_are_counted() {
        let recorder = Recorder::default();
        for micros in 1..=1000 {
            recorder.record(Duration::from_micros(micros));
        }
        let histogram = recorder.snapshot();
        for micros in [10, 100, 500, 999] {
            let counted = histogram.count_up_to(Duration::from_micros(micros));
            assert!((micros * 7 / 8..=micros).contains(&counted), "{counted} of {micros}");
        }
        recorder.record(Duration::from_secs(3600));
        let later = recorder.snapshot();
        for limit in [1, 2, 3_600_000].map(Duration::from_millis) {
            assert_eq!(later.count_up_to(limit), histogram.count_up_to(limit), "it has fallen");
        }
        assert_eq!(later.quantile(1.0), Duration::from_secs(3600));
        assert_eq!(histogram.count_up_to(Duration::ZERO), 0);
    }

    #[cfg(any(feature = "metrics", feature = "opentelemetry"))]
    #[test]
    fn stand_ins_fall_into_the_same_buckets_and_come_to_the_same_sum() {
        let values = |scale: u64| (1..=999_u64).map(move |n| Duration::from_nanos(n * n * scale));
        for scale in [1, 7, 1_000, 2_000_000] {
            let (recorder, again) = (Recorder::default(), Recorder::default());
            values(scale).for_each(|value| recorder.record(value));
            let recorded = recorder.snapshot();
            for (value, count) in recorded.stand_ins() {
                (0..count).for_each(|_| again.record(value));
            }
            let again = again.snapshot();
            assert_eq!(again.buckets, recorded.buckets);
            let off = again.sum().as_secs_f64() / recorded.sum().as_secs_f64() - 1.0;
            let rounding = 1e-9 / recorded.mean().as_secs_f64();
            assert!(off.abs() <= rounding + 1e-9, "{off} of {scale}");
        }
        let recorder = Recorder::default();
        assert_eq!(recorder.snapshot().stand_ins().count(), 0);
        recorder.record(Duration::ZERO);
        recorder.record(Duration::MAX);
        assert_eq!(recorder.snapshot().stand_ins().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn an_empty_histogram_and_an_enormous_value_are_no_trouble() {
        let recorder = Recorder::default();
        assert_eq!(recorder.snapshot().quantile(0.99), Duration::ZERO);
        recorder.record(Duration::MAX);
        assert_eq!(recorder.snapshot().max(), Duration::from_nanos(u64::MAX));
    }
}
