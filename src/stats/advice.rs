//! How many connections would do, and what is in the way, from Little's law.

use super::snapshot::Stats;
use std::fmt;
use std::time::Duration;

/// A line is of no account if it holds fewer borrowers than this share of the connections in use.
const LINE: f64 = 0.1;

/// It is of no account if fewer than this share of those that asked were turned away.
const TURNED_AWAY: f64 = 0.01;

/// The server is in the way if a loan takes so many times what it took when it was quickest.
const SLOWER: u32 = 2;

/// What limits a pool, and how many connections would do: from
/// [`Pool::advice`](crate::Pool::advice) or, of an interval of your own, from
/// [`Stats::advice`]. `Display` says it in one sentence.
///
/// By Little's law the rate of loans times what a loan takes is how many connections are in use on
/// average, and the rate times the wait how many borrowers are in line. What a loan takes is learnt
/// while a line stands, or from [measured](crate::Builder::sample_use_time) loans. It is advice,
/// not a measurement of what has not been tried: ask again after a change.
///
/// ```
/// # use caliburn::{Manager, Pool};
/// use caliburn::stats::Bottleneck;
///
/// fn report<M: Manager>(pool: &Pool<M>) {
///     let advice = pool.advice();
///     println!("{advice}");
///     if let (Bottleneck::MaxSize, Some(size)) = (advice.bottleneck, advice.suggested_size) {
///         println!("raise max_size from {} to {size}, if the server has room", advice.max_size);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Advice {
    /// What borrowers wait for, if they wait for long.
    pub bottleneck: Bottleneck,
    /// How many connections would do for what was asked for: those in use on average, and their
    /// square root to spare. If the server is the bottleneck, about as many as it serves at its
    /// best. `None`: not enough is known to tell.
    pub suggested_size: Option<usize>,
    /// The limit on connections that was in force.
    pub max_size: usize,
    /// Connections asked for per second, whether or not they were lent.
    pub rate: f64,
    /// How long a loan takes, if that is known.
    pub hold_time: Option<Duration>,
    /// How long it took when it was quickest, lately, if that is known.
    pub shortest_hold_time: Option<Duration>,
    /// How many borrowers stood in line on average.
    pub waiting: f64,
}

/// What borrowers wait for, if they wait for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bottleneck {
    /// Nothing: the line is short.
    None,
    /// All connections that there may be are open, and in use: more would help.
    MaxSize,
    /// The server: a loan takes much longer than it did when fewer connections were open, or calls
    /// into the driver do not return. More connections would not help.
    Server,
    /// Connections that are to be opened: connects fail, or take long.
    Connects,
}

impl Stats {
    /// Returns what limits the pool, and how many connections would do, from what has happened
    /// since it was built. Of an [interval](Self::since) it says the same of the interval, with the
    /// line's speed as it was at its end.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::thread;
    /// # use std::time::Duration;
    /// fn advise<M: Manager>(pool: &Pool<M>) -> String {
    ///     let before = pool.stats();
    ///     thread::sleep(Duration::from_secs(60));
    ///     pool.stats().since(&before).advice().to_string()
    /// }
    /// ```
    pub fn advice(&self) -> Advice {
        let seconds = self.uptime.as_secs_f64();
        let per_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        // Those that were shed, timed out or left have waited in vain.
        let asked = self.checkouts as f64
            + self.waits_in_vain as f64
            + self.refusals as f64
            + self.hopeless as f64;
        let measured = (self.use_time.count() > 0).then(|| self.use_time.mean());
        let mut advice = Advice {
            bottleneck: Bottleneck::None,
            suggested_size: None,
            max_size: self.max_size,
            rate: per_second(asked),
            hold_time: self.usual_hold_time.or(measured),
            shortest_hold_time: self.shortest_hold_time,
            // Those that wait still have not been counted.
            waiting: per_second(self.wait_time.sum().as_secs_f64()).max(self.waiting as f64),
        };
        advice.bottleneck = self.bottleneck(&advice, asked);
        advice.suggested_size = advice.suggest(self.size);
        advice
    }

    fn bottleneck(&self, advice: &Advice, asked: f64) -> Bottleneck {
        let turned_away = (self.refusals + self.shed + self.hopeless + self.timeouts) as f64;
        let few = advice.in_use().unwrap_or(self.size as f64).max(1.0) * LINE;
        let is_slow = match (advice.hold_time, advice.shortest_hold_time) {
            (Some(hold), Some(shortest)) => hold >= shortest.saturating_mul(SLOWER),
            _ => false,
        };
        let is_stuck = self.quarantined > 0 && 2 * self.quarantined >= self.max_size;
        let is_full = self.vacant == 0 && self.size > self.opening;
        let are_few = advice.waiting < few && turned_away <= asked * TURNED_AWAY;
        if are_few || self.is_paused {
            Bottleneck::None
        } else if is_slow || is_stuck {
            Bottleneck::Server
        } else if is_full {
            Bottleneck::MaxSize
        } else {
            Bottleneck::Connects
        }
    }
}

impl Advice {
    /// Connections in use on average, if all that was asked for were lent.
    fn in_use(&self) -> Option<f64> {
        self.hold_time.map(|hold| self.rate * hold.as_secs_f64())
    }

    fn suggest(&self, open: usize) -> Option<usize> {
        let in_use = self.in_use()?;
        let needed = match (self.bottleneck, self.hold_time, self.shortest_hold_time) {
            // As much as now, if a loan took as long as it does at best.
            (Bottleneck::Server, Some(hold), Some(shortest)) => {
                let busy = in_use.min(open as f64);
                busy * shortest.as_secs_f64() / hold.as_secs_f64()
            }
            _ => in_use,
        };
        let size = (needed + needed.sqrt()).ceil() as usize;
        Some(match self.bottleneck {
            Bottleneck::MaxSize => size.max(self.max_size.saturating_add(1)),
            Bottleneck::Server => size.clamp(1, self.max_size.max(1)),
            _ => size.max(1),
        })
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bottleneck, suggested_size, max_size, rate, waiting, .. } = *self;
        let hold = self.hold_time.unwrap_or_default();
        match (bottleneck, suggested_size) {
            (Bottleneck::None, None) => {
                write!(f, "nothing is in the way: borrowers hardly wait")
            }
            (Bottleneck::None, Some(size)) => write!(
                f,
                "nothing is in the way: about {size} of the {max_size} connections that there may \
                 be would do for {rate:.1} loans per second of {hold:.1?}"
            ),
            (Bottleneck::MaxSize, None) => write!(
                f,
                "max_size is in the way: all {max_size} connections are in use, and {waiting:.1} \
                 borrowers wait on average"
            ),
            (Bottleneck::MaxSize, Some(size)) => write!(
                f,
                "max_size is in the way: {rate:.1} loans per second of {hold:.1?} need about \
                 {size} connections, and there may be {max_size}"
            ),
            (Bottleneck::Server, None) => {
                f.write_str("the server is in the way: calls into the driver do not return")
            }
            (Bottleneck::Server, Some(size)) => {
                let shortest = self.shortest_hold_time.unwrap_or_default();
                write!(
                    f,
                    "the server is in the way: a loan takes {hold:.1?} and took {shortest:.1?} at \
                     best; about {size} of the {max_size} connections that there may be would do \
                     as much"
                )
            }
            (Bottleneck::Connects, _) => write!(
                f,
                "connects are in the way: {waiting:.1} borrowers wait on average, and fewer than \
                 the {max_size} connections that there may be are open"
            ),
        }
    }
}
