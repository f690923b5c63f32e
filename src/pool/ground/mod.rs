//! The ground floor, which knows no pool: timers and wake-ups, the pace of connecting, foreign
//! futures.

pub(crate) mod assignment;
pub(crate) mod backoff;
pub(crate) mod caught;
pub(crate) mod events;
pub(crate) mod forecast;
pub(crate) mod governor;
pub(crate) mod journal;
pub(crate) mod line_log;
pub(crate) mod meter;
pub(crate) mod park;
pub(crate) mod ramp;
pub(crate) mod random;
pub(crate) mod ring;
pub(crate) mod rung;
pub(crate) mod sampling;
pub(crate) mod threads;
pub(crate) mod throughput;
pub(crate) mod timers;
pub(crate) mod usual;
pub(crate) mod usual_connect;
pub(crate) mod watch;
