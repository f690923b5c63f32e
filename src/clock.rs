//! Time: `quanta`, monotonic, with a coarse tick for the hot path, or a clock that a test turns by
//! hand. Either never goes back.

use crate::fork::undisturbed;
use crate::sync::{Arc, Relaxed, thread};
use arc_swap::ArcSwapOption;
use std::fmt;
use std::ops::Add;
use std::time::{Duration, Instant};

/// A moment: nanoseconds since its clock's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    /// A moment that never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Time passed since `earlier`; zero if `earlier` lies ahead (cores may disagree by a
    /// microsecond).
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    /// Saturates: an enormous timeout is no timeout.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A sleep may end this much later than asked for (Linux groups its timers), which is much for a
/// limit of a millisecond: so it is asked to end earlier, and the rest is spent yielding.
const SLACK: Duration = Duration::from_micros(60);

/// Nanoseconds by which the coarse time may lag behind a reading: all threads that borrow share its
/// line, so it is not written more often than need be.
const FINE_ENOUGH: u64 = 50_000;

/// Nanoseconds by which two readings may disagree, because they were taken on different cores.
const BLUR: u64 = 1_000_000;

/// Where time begins, in nanoseconds: so that no moment is the zero of an empty slot.
const BEGINNING: u64 = 1_000_000_000;

/// A recent moment, alone on its lines: it is written often, and read on each checkout.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Coarse(Relaxed<u64>);

/// What is behind a clock: one for all real clocks, one for each that is mocked.
#[derive(Debug, Default)]
struct Dial {
    /// A mocked clock shows nothing else.
    coarse: Coarse,
    /// `None`: it is turned by hand.
    real: Option<RealTime>,
}

/// The clock that a pool reads: the machine's, or a mocked one for tests.
///
/// ```
/// # use std::time::Duration;
/// let (clock, hand) = caliburn::Clock::mock();
/// hand.advance(Duration::from_secs(60));
/// # let _ = clock;
/// let usual = caliburn::Clock::real();
/// # let _ = usual;
/// ```
#[derive(Clone)]
pub struct Clock(Arc<Dial>);

/// Moves a [mocked clock](Clock::mock).
///
/// ```
/// # use caliburn::{BlockingManager, MockClock, Pool};
/// # use std::time::Duration;
/// /// An hour passes, and the pool does what is due by then.
/// fn an_hour_later<M: BlockingManager>(pool: &Pool<M>, hand: &MockClock) {
///     hand.advance(Duration::from_secs(3600));
///     pool.maintain();
/// }
/// ```
#[derive(Clone, Debug)]
pub struct MockClock(Arc<Dial>);

impl MockClock {
    /// Moves the clock forward by `by`. The pool notices at its next visit: call
    /// [`Pool::maintain`](crate::Pool::maintain) afterwards.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let Coarse(moment) = &self.0.coarse;
        loop {
            let now = moment.get();
            // Short of where moments end: the highest bits have other uses.
            if moment.exchange(now, now.saturating_add(by).min(1 << 62)) {
                return;
            }
        }
    }
}

impl Clock {
    /// Returns the machine's monotonic clock, the default.
    ///
    /// It never goes back. It depends on the machine whether the clock counts time in which the
    /// machine is suspended; if so, that time counts towards timeouts and ages.
    pub fn real() -> Self {
        static DIAL: ArcSwapOption<Dial> = ArcSwapOption::const_empty();
        let dial = DIAL.load_full().unwrap_or_else(|| {
            // No child may find it half made: quanta has a lock for what it measures once.
            undisturbed(|| {
                DIAL.load_full().unwrap_or_else(|| {
                    let real = Some(RealTime::new());
                    let dial = Arc::new(Dial { coarse: Coarse::default(), real });
                    DIAL.store(Some(Arc::clone(&dial)));
                    dial
                })
            })
        });
        Self(dial)
    }

    /// Returns a clock that stands still until the [`MockClock`] moves it. What takes time takes
    /// for ever meanwhile: limits do not strike, and growth that is held back, as the borrowers in
    /// line should soon be served without, stays so.
    pub fn mock() -> (Self, MockClock) {
        let coarse = Coarse(Relaxed::<u64>::new(BEGINNING));
        let dial = Arc::new(Dial { coarse, real: None });
        (Self(Arc::clone(&dial)), MockClock(dial))
    }

    /// Whether it goes by itself.
    pub(crate) fn is_real(&self) -> bool {
        self.0.real.is_some()
    }

    /// Whether it is the same clock, which always shows the same time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A recent moment for the price of one load. Real clocks lag by up to the housekeeper's
    /// period.
    #[inline(always)]
    pub(crate) fn tick(&self) -> Tick {
        Tick(self.0.coarse.0.get())
    }

    /// This moment, no earlier than [`tick`](Self::tick). Brings the coarse time up to date on the
    /// way, as far as it matters.
    pub(crate) fn now(&self) -> Tick {
        let Some(real) = &self.0.real else { return self.tick() };
        let reached = self.tick().0;
        let now = real.now(reached);
        if reached.saturating_add(FINE_ENOUGH) < now {
            self.0.coarse.0.raise(now);
        }
        Tick(now)
    }

    /// How long it is until `moment`, or until a clock that is turned by hand may show it.
    pub(crate) fn until(&self, moment: Tick) -> Duration {
        let left = moment.since(self.now());
        match self.0.real {
            Some(_) => left,
            // Turning the clock by hand wakes no sleeper.
            None => left.min(Duration::from_millis(1)),
        }
    }

    /// How long a thread may sleep before it must look again whether `until` has come. Zero: it
    /// comes so soon that a sleep would end too late.
    pub(crate) fn nap(&self, until: Tick) -> Duration {
        let left = self.until(until);
        if self.0.real.is_some() { left.saturating_sub(SLACK) } else { left }
    }
}

/// The machine's clocks, and from where they are read.
#[derive(Debug)]
struct RealTime {
    /// The processor's counter, if it is believed, and what it showed at the beginning.
    counter: Option<(quanta::Clock, u64)>,
    system: Instant,
    fallback: Fallback,
}

impl RealTime {
    /// quanta measures the speed of the processor's counter in less than a millisecond. If the
    /// thread loses its core at the wrong moment, the result is off by up to some per cent, and so
    /// would be all limits, for as long as the process lives. So the counter is checked once, and
    /// not believed if it is wrong.
    fn new() -> Self {
        let clock = quanta::Clock::new();
        let origin = clock.raw();
        let is_right = keeps_time(|| clock.delta_as_nanos(origin, clock.raw()));
        Self {
            counter: is_right.then_some((clock, origin)),
            system: Instant::now(),
            fallback: Fallback::default(),
        }
    }

    /// The time, which has `reached` this moment already.
    fn now(&self, reached: u64) -> u64 {
        let system = || BEGINNING + u64::try_from(self.system.elapsed().as_nanos()).unwrap_or(0);
        match &self.counter {
            Some((clock, origin)) => {
                let counter = || BEGINNING + clock.delta_as_nanos(*origin, clock.raw());
                self.fallback.now(reached, counter, system)
            }
            None => system().max(reached),
        }
    }
}

/// Turns from the processor's counter to the system's clock for good, once the counter has gone
/// back (a suspend may begin it anew, a migration may change it).
#[derive(Debug, Default)]
struct Fallback {
    /// What the system's clock lacks to go on where time stood; it may be negative and wrap. Zero:
    /// none is needed.
    lead: Relaxed<u64>,
}

impl Fallback {
    /// The time, no earlier than it has `reached`.
    fn now(&self, reached: u64, counter: impl Fn() -> u64, system: impl Fn() -> u64) -> u64 {
        if self.lead.get() == 0 {
            let now = counter();
            if now.saturating_add(BLUR) >= reached {
                return now.max(reached);
            }
            // The first thread to notice decides.
            self.lead.exchange(0, reached.wrapping_sub(system()).max(1));
        }
        system().wrapping_add(self.lead.get()).max(reached)
    }
}

/// Whether nanoseconds pass as they do on the system's clock, to one in a thousand.
fn keeps_time(nanos: impl Fn() -> u64) -> bool {
    const TRIAL: Duration = Duration::from_millis(2);
    // The moment of the reading in between is known to within this.
    const SHARP: Duration = Duration::from_nanos(500);
    let both = || {
        let mut best = (Duration::MAX, Instant::now(), 0);
        for _ in 0..1_000 {
            let (before, nanos, after) = (Instant::now(), nanos(), Instant::now());
            let blur = after - before;
            if blur < best.0 {
                best = (blur, before, nanos);
            }
            if blur < SHARP {
                break;
            }
        }
        best
    };
    let (_, begun, first) = both();
    while begun.elapsed() < TRIAL {
        thread::yield_now();
    }
    let (_, ended, last) = both();
    let real = (ended - begun).as_nanos() as u64;
    last.saturating_sub(first).abs_diff(real) <= real / 1_000
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.real.is_some() { "Clock::Real" } else { "Clock::Mock" })
    }
}

/// The moment by which a call into a [`Manager`](crate::Manager) must have ended.
///
/// Pass [`remaining`](Self::remaining) to the driver's own timeout.
///
/// ```
/// # use std::time::Duration;
/// let deadline = caliburn::Deadline::after(Duration::from_secs(2));
/// assert!(deadline.remaining() <= Duration::from_secs(2));
/// assert!(!deadline.is_past());
/// ```
#[derive(Clone, Debug)]
pub struct Deadline {
    clock: Clock,
    moment: Tick,
}

impl Deadline {
    /// Returns a deadline `timeout` from now by the real clock, to try out a manager without a
    /// pool.
    pub fn after(timeout: Duration) -> Self {
        let clock = Clock::real();
        Self::at(&clock, clock.now() + timeout)
    }

    pub(crate) fn at(clock: &Clock, moment: Tick) -> Self {
        Self { clock: clock.clone(), moment }
    }

    pub(crate) fn moment(&self) -> Tick {
        self.moment
    }

    /// Returns the time left; zero once the deadline is past.
    pub fn remaining(&self) -> Duration {
        self.moment.since(self.clock.now())
    }

    /// Returns whether no time is left.
    pub fn is_past(&self) -> bool {
        self.clock.now() >= self.moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_counter_that_goes_wrong_by_a_per_cent_is_not_believed() {
        let begun = Instant::now();
        let nanos = || begun.elapsed().as_nanos() as u64;
        assert!(keeps_time(nanos));
        assert!(!keeps_time(|| nanos() * 101 / 100));
        assert!(!keeps_time(|| nanos() * 99 / 100));
        assert!(!keeps_time(|| 0));
    }

    #[test]
    fn time_goes_on_where_it_stood_when_the_counter_begins_anew() {
        let fallback = Fallback::default();
        let (counter, system, reached) = (Cell::new(9_000_000_000), Cell::new(7), Cell::new(0));
        let now = || {
            reached.set(fallback.now(reached.get(), || counter.get(), || system.get()));
            reached.get()
        };
        assert_eq!(now(), 9_000_000_000);
        // Another core, a little behind.
        counter.set(8_999_999_000);
        assert_eq!(now(), 9_000_000_000);
        counter.set(9_000_000_500);
        assert_eq!(now(), 9_000_000_500);
        // A suspend: the counter begins anew. Time neither goes back nor waits for it.
        counter.set(0);
        assert_eq!(now(), 9_000_000_500);
        counter.set(100);
        system.set(107);
        assert_eq!(now(), 9_000_000_600);
        // Nor does it jump should the counter be set right.
        counter.set(20_000_000_000);
        system.set(207);
        assert_eq!(now(), 9_000_000_700);
        system.set(8);
        assert_eq!(now(), 9_000_000_700);
    }

    #[test]
    fn a_clock_shows_no_moment_earlier_than_it_has_shown() {
        let (clock, hand) = Clock::mock();
        for by in [0, 1, u64::MAX, 1] {
            let before = clock.now();
            hand.advance(Duration::from_nanos(by));
            assert!(clock.now() >= before && clock.tick() == clock.now());
        }
        let real = Clock::real();
        // As a thread on a core that is ahead would note it.
        let ahead = real.now() + Duration::from_micros(800);
        real.0.coarse.0.raise(ahead.0);
        assert!(real.now() >= ahead);
    }
}
