//! How long an endpoint takes: a moving mean of what a sample of its loans lasted.
//!
//! The cost of an endpoint is (borrowers there + 1) × what a loan lasts: about how long a newcomer
//! would be there. The number of borrowers alone does not do: where there are fewer borrowers than
//! connections, it is the same everywhere most of the time: of three replicas one that was ten
//! times slower got 32 % of the loans of a single task so, and 12 % of those of 64; with what a
//! loan lasts it got less than 1 % and 3 %. The measured wait alone does not, either: where there
//! is a connection for each borrower, nobody waits.
//!
//! The mean is one of logarithms, of the median of each interval, and each loan measured has an
//! eighth of the weight: a single report that runs for a minute does not make its replica an
//! outcast. An endpoint that is avoided is not measured. So its figure drifts to that of the
//! quickest, halfway in five seconds, until it is tried again.

use crate::clock::Tick;
use crate::stats::Histogram;
use crate::sync::Relaxed;
use std::time::Duration;

/// What is left of the old figure after one more loan.
const KEPT: f64 = 7.0 / 8.0;
/// In which the distance to the quickest halves, while nothing is measured.
const HALF_LIFE: Duration = Duration::from_secs(5);
/// It begins to drift when it was not measured for so long.
const UNMEASURED: Duration = Duration::from_secs(1);

/// The figure, for readers.
#[derive(Debug, Default)]
pub(super) struct Response(Relaxed<u64>);

impl Response {
    /// Nanoseconds; 0: not known.
    pub(super) fn nanos(&self) -> u64 {
        self.0.get()
    }

    pub(super) fn get(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.nanos())).filter(|response| !response.is_zero())
    }
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Measuring {
    seen: Option<Histogram>,
    at: Tick,
}

impl Measuring {
    pub(super) fn new(now: Tick) -> Self {
        Self { seen: None, at: now }
    }

    /// Takes in what was measured since the last time.
    pub(super) fn learn(&mut self, response: &Response, all: Histogram, now: Tick) {
        let fresh = self.seen.as_ref().map_or_else(|| all.clone(), |seen| all.since(seen));
        let count = fresh.count();
        self.seen = Some(all);
        if count == 0 {
            return;
        }
        self.at = now;
        let median = (fresh.quantile(0.5).as_nanos() as f64).max(1.0).ln();
        let weight = 1.0 - KEPT.powf(count as f64);
        let mean = match response.nanos() {
            0 => median,
            before => (before as f64).ln() + weight * (median - (before as f64).ln()),
        };
        response.0.set(mean.exp().max(1.0) as u64);
    }

    /// Nothing was measured: the figure drifts to `quickest`.
    pub(super) fn drift(&mut self, response: &Response, quickest: u64, now: Tick) {
        let (idle, before) = (now.since(self.at), response.nanos());
        if idle < UNMEASURED || before <= quickest || quickest == 0 {
            return;
        }
        self.at = now;
        let (before, quickest) = ((before as f64).ln(), (quickest as f64).ln());
        let left = 0.5_f64.powf(idle.as_secs_f64() / HALF_LIFE.as_secs_f64());
        response.0.set((quickest + (before - quickest) * left).exp().max(1.0) as u64);
    }
}

/// Whether the first endpoint costs a newcomer less than the second; each is given as its borrowers
/// and its [`Response`].
pub(super) fn is_cheaper(first: (usize, u64), second: (usize, u64)) -> bool {
    let cost = |(load, nanos): (usize, u64)| (load as u64).saturating_add(1).saturating_mul(nanos);
    if first.1 == 0 || second.1 == 0 {
        // What is not known is taken for equal.
        return first.0 < second.0;
    }
    cost(first) < cost(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Recorder;

    fn at(millis: u64) -> Tick {
        Tick(0) + Duration::from_millis(millis)
    }

    #[test]
    fn a_loan_of_a_minute_among_many_short_ones_hardly_moves_the_figure() {
        let (response, recorder) = (Response::default(), Recorder::default());
        let mut measuring = Measuring::new(at(0));
        for n in 0..100 {
            recorder.record(Duration::from_millis(2));
            measuring.learn(&response, recorder.snapshot(), at(n));
        }
        let usual = response.get().unwrap();
        recorder.record(Duration::from_secs(60));
        measuring.learn(&response, recorder.snapshot(), at(200));
        assert!(response.get().unwrap() < usual * 4, "{:?}", response.get());
    }

    #[test]
    fn ten_times_slower_is_ten_times_dearer_after_some_loans() {
        let (response, recorder) = (Response::default(), Recorder::default());
        let mut measuring = Measuring::new(at(0));
        recorder.record(Duration::from_millis(1));
        measuring.learn(&response, recorder.snapshot(), at(0));
        (0..32).for_each(|_| recorder.record(Duration::from_millis(10)));
        measuring.learn(&response, recorder.snapshot(), at(100));
        let found = response.get().unwrap();
        assert!(found > Duration::from_millis(9) && found < Duration::from_millis(12), "{found:?}");
    }

    #[test]
    fn an_endpoint_that_is_avoided_is_tried_again_but_never_passes_for_quicker_than_the_others() {
        let (response, recorder) = (Response::default(), Recorder::default());
        let mut measuring = Measuring::new(at(0));
        recorder.record(Duration::from_millis(100));
        measuring.learn(&response, recorder.snapshot(), at(0));
        let quickest = 1_000_000;
        measuring.drift(&response, quickest, at(900));
        assert!(response.get().unwrap() > Duration::from_millis(99));
        for second in 1..60 {
            measuring.drift(&response, quickest, at(1_000 * second));
        }
        assert!((quickest..quickest * 11 / 10).contains(&response.nanos()), "{response:?}");
    }

    #[test]
    fn what_is_not_measured_is_judged_by_its_borrowers_alone() {
        assert!(is_cheaper((1, 0), (2, 5)));
        assert!(!is_cheaper((2, 0), (2, 5)));
        assert!(is_cheaper((4, 10), (0, 100)));
        assert!(!is_cheaper((0, u64::MAX), (usize::MAX, 1)));
    }
}
