//! The instruments: what is measured, and what it is called. All exporters go by this table.

use crate::config::Settings;
use crate::stats::{Histogram, Stats};
use std::time::Duration;

/// The attribute that tells pools apart.
pub(crate) const POOL: &str = "db.client.connection.pool.name";

/// The upper ends of the buckets, in milliseconds: those that OpenTelemetry advises for durations
/// of database clients.
pub(crate) const BOUNDS_MS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000];

/// The same as durations.
pub(crate) fn bounds() -> [Duration; BOUNDS_MS.len()] {
    BOUNDS_MS.map(Duration::from_millis)
}

/// What is known of a pool at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) stats: Stats,
    pub(crate) settings: Settings,
}

/// See the [module](self).
pub(crate) struct Instrument {
    /// OpenTelemetry's, with dots.
    pub(crate) name: &'static str,
    /// As UCUM writes it; in braces, what is counted.
    pub(crate) unit: &'static str,
    pub(crate) description: &'static str,
    pub(crate) kind: Kind,
}

/// The kind of an instrument, and how it is read.
pub(crate) enum Kind {
    /// A number that rises and falls, of which the sum over all pools makes sense.
    UpDownCounter(Reading),
    /// A number that only rises.
    Counter(Reading),
    /// Durations, in seconds.
    Histogram(Times),
}

/// How durations are read.
pub(crate) type Times = fn(&Stats) -> &Histogram;

/// How numbers are read.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    /// One for each pool.
    One(fn(&Figures) -> u64),
    /// One for each value of an attribute.
    Each(&'static str, fn(&Figures) -> Vec<(&'static str, u64)>),
}

/// An attribute beside the pool's name, and its value.
pub(crate) type Attribute = (&'static str, &'static str);

impl Reading {
    /// Each number, with its attribute if it has one.
    pub(crate) fn read(self, figures: &Figures) -> Vec<(Option<Attribute>, u64)> {
        match self {
            Self::One(number) => vec![(None, number(figures))],
            Self::Each(key, numbers) => {
                let numbers = numbers(figures).into_iter();
                numbers.map(|(value, number)| (Some((key, value)), number)).collect()
            }
        }
    }
}

/// `name unit "description" reading;`, under a heading for each kind.
macro_rules! instruments {
    ($($kind:ident: $($name:literal $unit:literal $description:literal $reading:expr;)+)+) => {
        [$($(Instrument {
            name: $name,
            unit: $unit,
            description: $description,
            kind: Kind::$kind($reading),
        }),+),+]
    };
}

fn states(Figures { stats, .. }: &Figures) -> Vec<(&'static str, u64)> {
    vec![("idle", stats.idle as u64), ("used", stats.size.saturating_sub(stats.idle) as u64)]
}

fn evictions(figures: &Figures) -> Vec<(&'static str, u64)> {
    figures.stats.evictions.iter().map(|(cause, count)| (cause.as_str(), count)).collect()
}

use Reading::{Each, One};

/// All of them.
pub(crate) const ALL: &[Instrument] = &instruments! {
    UpDownCounter:
    "db.client.connection.count" "{connection}" "Open connections, by state."
        Each("db.client.connection.state", states);
    "db.client.connection.idle.max" "{connection}" "The most connections that may lie idle."
        One(|of| of.settings.max_size as u64);
    "db.client.connection.idle.min" "{connection}" "The fewest connections that should lie idle."
        One(|of| of.settings.min_idle as u64);
    "db.client.connection.max" "{connection}" "The most connections that may be open."
        One(|of| of.stats.max_size as u64);
    "db.client.connection.pending_requests" "{request}" "Borrowers that wait in line."
        One(|of| of.stats.waiting as u64);
    "caliburn.opening" "{connection}" "Connections being opened."
        One(|of| of.stats.opening as u64);
    "caliburn.quarantined" "{slot}" "Slots whose call into the driver has outlived its limit."
        One(|of| of.stats.quarantined as u64);
    Counter:
    "db.client.connection.timeouts" "{timeout}" "Checkouts that timed out."
        One(|of| of.stats.timeouts);
    "caliburn.checkouts" "{checkout}" "Connections lent."
        One(|of| of.stats.checkouts);
    "caliburn.direct_checkouts" "{checkout}" "Connections lent to borrowers that did not wait."
        One(|of| of.stats.direct_checkouts);
    "caliburn.waits" "{wait}" "Borrowers that had to stand in line."
        One(|of| of.stats.waits);
    "caliburn.cancellations" "{wait}" "Waiters whose future was dropped."
        One(|of| of.stats.cancellations);
    "caliburn.refusals" "{checkout}" "Borrowers refused because too many waited."
        One(|of| of.stats.refusals);
    "caliburn.shed" "{checkout}" "Borrowers turned away because the line was too slow for all."
        One(|of| of.stats.shed);
    "caliburn.hopeless" "{checkout}" "Borrowers refused because they could not be served in time."
        One(|of| of.stats.hopeless);
    "caliburn.connect_failures" "{attempt}" "Attempts to connect that failed."
        One(|of| of.stats.connect_failures);
    "caliburn.connects_held" "{hold}" "Times that the governor held a connect back."
        One(|of| of.stats.connects_held);
    "caliburn.outages" "{outage}" "Times that connecting began to fail."
        One(|of| of.stats.outages);
    "caliburn.pings" "{ping}" "Pings."
        One(|of| of.stats.pings);
    "caliburn.ping_failures" "{ping}" "Pings that failed."
        One(|of| of.stats.ping_failures);
    "caliburn.resets" "{reset}" "Resets."
        One(|of| of.stats.resets);
    "caliburn.leaks" "{loan}" "Loans that lasted too long."
        One(|of| of.stats.leaks);
    "caliburn.evictions" "{connection}" "Connections evicted, by cause."
        Each("cause", evictions);
    Histogram:
    "db.client.connection.create_time" "s" "How long it took to open connections."
        |stats| &stats.connect_time;
    "db.client.connection.wait_time" "s" "How long borrowers stood in line."
        |stats| &stats.wait_time;
    "db.client.connection.use_time" "s" "How long measured loans lasted."
        |stats| &stats.use_time;
};
