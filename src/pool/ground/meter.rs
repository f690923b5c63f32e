//! What is known of the speed of the line and of connects, and when that is forgotten: a pure state
//! machine over a [`LineLog`].
//!
//! Only hand-overs teach anything that happened while as many connections were open all the time,
//! and none was freshly opened: what is handed over at a cold start says nothing about loans.

use super::line_log::{LineLog, Taken};
use super::throughput::Throughput;
use super::usual_connect::UsualConnect;
use crate::clock::Tick;
use std::time::Duration;

/// What loans took so long ago is forgotten.
const STALE: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    throughput: Throughput,
    pub(crate) connects: UsualConnect,
    shortest: Shortest,
    /// When it learnt something last.
    taught: Tick,
    /// As they were at the last look.
    open: usize,
    opened: u64,
}

/// A pool as a look at its line finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) now: Tick,
    /// Connections that are open.
    pub(crate) open: usize,
    /// How many were opened so far.
    pub(crate) opened: u64,
    /// How many waiters were served so far.
    pub(crate) served: u64,
    /// A line stands.
    pub(crate) stands: bool,
}

impl Meter {
    /// Learns what the log has. `granted`: how many connections are handed over and not taken yet.
    pub(crate) fn look(&mut self, log: &LineLog, seen: Seen, granted: impl FnOnce() -> u64) {
        if seen.now.since(self.taught) >= STALE {
            self.throughput.forget();
        }
        let is_same = (self.open, self.opened) == (seen.open, seen.opened);
        match log.take(seen.now, seen.served, seen.stands) {
            Taken::Broken => self.throughput.forget(),
            Taken::Served(0, _) => {}
            Taken::Served(handed, stood) => {
                self.taught = seen.now;
                if is_same && seen.open > 0 {
                    self.throughput.note(handed, stood, seen.open);
                    self.hold().into_iter().for_each(|hold| log.expect(hold));
                    let firm = self.throughput.firm_hold();
                    firm.into_iter().for_each(|hold| self.shortest.note(hold, seen.now));
                }
            }
        }
        if !is_same {
            (self.open, self.opened) = (seen.open, seen.opened);
            // What is fresh and on its way to a waiter will count as served.
            log.restart(seen.served.saturating_add(granted()));
        }
    }

    /// For how long a connection is out for each that is handed to a waiter, if that is known.
    pub(crate) fn hold(&self) -> Option<Duration> {
        self.throughput.hold()
    }

    /// The shortest that this was lately.
    pub(crate) fn shortest_hold(&self) -> Option<Duration> {
        self.shortest.0.map(|(hold, _)| hold)
    }

    /// Nothing is handed over now, or not as usual.
    pub(crate) fn forget_rate(&mut self) {
        self.throughput.forget();
    }

    /// The server is another one.
    pub(crate) fn forget(&mut self) {
        let Self { open, opened, .. } = *self;
        *self = Self { open, opened, ..Self::default() };
    }
}

/// The shortest hold time, and when it was last seen or aged. It is forgotten by and by.
#[derive(Clone, Copy, Debug, Default)]
struct Shortest(Option<(Duration, Tick)>);

impl Shortest {
    /// In this time it draws near to what is now by this part.
    const AGE: Duration = Duration::from_secs(60);
    const PART: u32 = 16;

    fn note(&mut self, hold: Duration, now: Tick) {
        self.0 = Some(match self.0 {
            Some((shortest, since)) if shortest < hold => {
                let ages = now.since(since).as_secs() / Self::AGE.as_secs();
                let aged = (0..ages.min(100))
                    .fold(shortest, |shortest, _| shortest + (hold - shortest) / Self::PART);
                (aged, if ages > 0 { now } else { since })
            }
            _ => (hold, now),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: u64 = 20_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A pool of which the test says what happens.
    struct Scene {
        meter: Meter,
        log: LineLog,
        seen: Seen,
    }

    impl Scene {
        fn new(open: usize) -> Self {
            let now = Tick(1_000_000_000);
            let seen = Seen { now, open, opened: open as u64, served: 0, stands: true };
            let mut scene = Self { meter: Meter::default(), log: LineLog::new(), seen };
            scene.look();
            scene.log.begin(now, 0, QUIET);
            scene
        }

        fn look(&mut self) {
            self.meter.look(&self.log, self.seen, || 0);
        }

        /// One is handed over, `after` the last.
        fn serve(&mut self, after: Duration) {
            self.seen.now = self.seen.now + after;
            self.seen.served += 1;
            self.log.note(self.seen.now);
        }

        fn open(&mut self, more: usize) {
            self.seen.open += more;
            self.seen.opened += more as u64;
        }
    }

    #[test]
    fn a_cold_start_teaches_no_rate() {
        let mut scene = Scene::new(0);
        for _ in 0..8 {
            // One a second is opened, and handed over at once.
            scene.open(1);
            scene.serve(SECOND);
            scene.look();
            assert_eq!(scene.meter.hold(), None);
        }
        assert_eq!(scene.meter.shortest_hold(), None);
        for _ in 0..8 {
            scene.serve(ms(1));
            scene.look();
        }
        assert_eq!(scene.meter.hold(), Some(ms(8)));
    }

    #[test]
    fn what_is_fresh_and_taken_late_is_no_hand_over() {
        let mut scene = Scene::new(1);
        scene.open(4);
        scene.meter.look(&scene.log, scene.seen, || 4);
        (0..4).for_each(|_| scene.serve(Duration::ZERO));
        scene.look();
        (0..3).for_each(|_| scene.serve(ms(1)));
        scene.look();
        assert_eq!(scene.meter.hold(), None, "three came back");
    }

    #[test]
    fn a_pause_or_an_outage_forgets_the_rate_and_what_follows_teaches_it_anew() {
        let mut scene = Scene::new(2);
        (0..10).for_each(|_| scene.serve(ms(1)));
        scene.look();
        assert_eq!(scene.meter.hold(), Some(ms(2)));
        scene.seen.now = scene.seen.now + 30 * SECOND;
        scene.log.break_off(scene.seen.now);
        scene.look();
        assert_eq!(scene.meter.hold(), None);
        scene.serve(ms(50));
        scene.look();
        for _ in 0..4 {
            scene.serve(ms(1));
            scene.look();
        }
        assert_eq!(scene.meter.hold(), Some(ms(2)));
    }

    #[test]
    fn what_was_learnt_before_a_long_rest_is_forgotten() {
        let mut scene = Scene::new(1);
        (0..20).for_each(|_| scene.serve(ms(10)));
        scene.look();
        scene.seen.stands = false;
        scene.seen.now = scene.seen.now + (STALE - ms(1));
        scene.look();
        assert!(scene.meter.hold().is_some());
        scene.seen.now = scene.seen.now + ms(1);
        scene.look();
        assert_eq!(scene.meter.hold(), None);
    }

    #[test]
    fn the_shortest_hold_time_ages_and_goes_with_the_server() {
        let mut scene = Scene::new(1);
        for hold in [1, 10] {
            for _ in 0..200 {
                scene.serve(ms(hold));
                scene.look();
            }
        }
        let shortest = scene.meter.shortest_hold().unwrap();
        assert!(shortest < ms(2), "{shortest:?}");
        for _ in 0..180 {
            scene.seen.now = scene.seen.now + 20 * SECOND;
            scene.log.begin(scene.seen.now, scene.seen.served, QUIET);
            scene.serve(ms(10));
            scene.look();
        }
        let shortest = scene.meter.shortest_hold().unwrap();
        assert!(shortest > ms(9), "{shortest:?}");
        scene.meter.forget();
        assert_eq!((scene.meter.hold(), scene.meter.shortest_hold()), (None, None));
    }

    #[test]
    fn a_clock_that_stands_still_does_no_harm() {
        let mut scene = Scene::new(3);
        for _ in 0..10_000 {
            scene.serve(Duration::ZERO);
            scene.look();
        }
        assert_eq!(scene.meter.hold(), None);
    }

    #[test]
    fn a_million_a_second_are_counted() {
        let mut scene = Scene::new(4);
        for _ in 0..1_000 {
            (0..1_000).for_each(|_| scene.serve(Duration::from_micros(1)));
            scene.look();
        }
        assert_eq!(scene.meter.hold(), Some(Duration::from_micros(4)));
    }
}
