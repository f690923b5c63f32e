//! Time: `quanta`, monotonic, with a coarse tick for the hot path, or a clock that a test turns by hand.

use crate::sync::{Arc, AtomicU64, OnceLock, Ordering, thread};
use std::fmt;
use std::ops::Add;
use std::time::{Duration, Instant};

/// A moment: nanoseconds since its clock's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    /// Never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Time passed since `earlier`; zero if that lies ahead (cores may disagree by a microsecond).
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

/// A sleep ends up to so much later than asked for (Linux groups its timers), which is much for a limit of a
/// millisecond: so it is asked to end earlier, and the rest, if there is one, is spent yielding.
const SLACK: Duration = Duration::from_micros(60);

/// Nanoseconds by which the coarse time may lag behind a reading: all threads that borrow share its line, so it is
/// not written more often than need be.
const FINE_ENOUGH: u64 = 50_000;

/// A recent moment, alone on its lines: it is written all the time, and read on each checkout.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Coarse(AtomicU64);

/// Where a pool takes its time from.
///
/// ```
/// # use std::time::Duration;
/// let (clock, hand) = caliburn::Clock::mock();
/// hand.advance(Duration::from_secs(60));
/// # let _ = clock;
/// ```
#[derive(Clone)]
pub struct Clock {
    /// One for all real clocks; a mocked clock shows nothing else.
    coarse: Arc<Coarse>,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Real,
    Mock,
}

/// Turns a [mocked clock](Clock::mock).
#[derive(Clone, Debug)]
pub struct MockClock(Arc<Coarse>);

impl MockClock {
    /// Moves the clock forward. Nothing happens by itself: crank the pool with
    /// [`Pool::maintain`](crate::Pool::maintain) afterwards.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Short of where moments end: the highest bits have other uses.
        let later = |now: u64| Some(now.saturating_add(by).min(1 << 62));
        // O11: a clock orders nothing.
        let _ = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}

impl Clock {
    /// The machine's monotonic clock. This is the default.
    pub fn real() -> Self {
        static COARSE: OnceLock<Arc<Coarse>> = OnceLock::new();
        Self { coarse: Arc::clone(COARSE.get_or_init(Arc::default)), source: Source::Real }
    }

    /// A clock that stands still until its other half is turned.
    pub fn mock() -> (Self, MockClock) {
        let now = Arc::new(Coarse(AtomicU64::new(1_000_000_000)));
        (Self { coarse: Arc::clone(&now), source: Source::Mock }, MockClock(now))
    }

    /// A recent moment for the price of one load. Real clocks lag by up to the housekeeper's period.
    #[inline(always)]
    pub(crate) fn tick(&self) -> Tick {
        // O11: a clock orders nothing.
        Tick(self.coarse.0.load(Ordering::Relaxed))
    }

    /// This moment. Brings the coarse time up to date on the way, as far as it matters.
    pub(crate) fn now(&self) -> Tick {
        match self.source {
            Source::Real => {
                let now = real_now();
                if self.tick().0.saturating_add(FINE_ENOUGH) < now {
                    // O11: a clock orders nothing.
                    self.coarse.0.fetch_max(now, Ordering::Relaxed);
                }
                Tick(now)
            }
            Source::Mock => self.tick(),
        }
    }

    /// How long it is until `moment`, or until a clock that is turned by hand may show it.
    pub(crate) fn until(&self, moment: Tick) -> Duration {
        let left = moment.since(self.now());
        match self.source {
            Source::Real => left,
            // Nobody wakes sleepers when a hand turns the clock.
            Source::Mock => left.min(Duration::from_millis(1)),
        }
    }

    /// How long a thread may sleep before it must look again whether `until` has come. Zero: it comes so
    /// soon that a sleep would end too late.
    pub(crate) fn nap(&self, until: Tick) -> Duration {
        let left = self.until(until);
        if let Source::Real = self.source { left.saturating_sub(SLACK) } else { left }
    }
}

fn real_now() -> u64 {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    // One second ahead, so that no moment is the zero of an empty slot.
    ORIGIN.get_or_init(Origin::new).elapsed().saturating_add(1_000_000_000)
}

/// Since when time is counted, and by what.
enum Origin {
    Counter(quanta::Clock, u64),
    System(Instant),
}

impl Origin {
    /// quanta finds out the speed of the processor's counter in less than a millisecond. If the thread loses
    /// its core at the wrong moment, that is off by up to some per cent, and so would be all limits, for as
    /// long as the process lives. So it is checked once, and not believed if it is wrong.
    fn new() -> Self {
        let clock = quanta::Clock::new();
        let origin = clock.raw();
        if keeps_time(|| clock.delta_as_nanos(origin, clock.raw())) {
            Self::Counter(clock, origin)
        } else {
            Self::System(Instant::now())
        }
    }

    fn elapsed(&self) -> u64 {
        match self {
            Self::Counter(clock, origin) => clock.delta_as_nanos(*origin, clock.raw()),
            Self::System(origin) => u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// Whether nanoseconds pass as they do on the system's clock, to one in a thousand.
fn keeps_time(nanos: impl Fn() -> u64) -> bool {
    const TRIAL: Duration = Duration::from_millis(2);
    // The reading in between is known to within this.
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
        write!(f, "Clock::{:?}", self.source)
    }
}

/// The moment by which a call into a [`Manager`](crate::Manager) must have ended.
///
/// Hand what [`remaining`](Self::remaining) says to the driver's own timeout.
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
    /// A deadline by the real clock, for trying out a manager without a pool.
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

    /// What is left; zero once it is past.
    pub fn remaining(&self) -> Duration {
        self.moment.since(self.clock.now())
    }

    /// Whether nothing is left.
    pub fn is_past(&self) -> bool {
        self.clock.now() >= self.moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_goes_wrong_by_a_per_cent_is_not_believed() {
        let begun = Instant::now();
        let nanos = || begun.elapsed().as_nanos() as u64;
        assert!(keeps_time(nanos));
        assert!(!keeps_time(|| nanos() * 101 / 100));
        assert!(!keeps_time(|| nanos() * 99 / 100));
        assert!(!keeps_time(|| 0));
    }
}
