//! What is known about the server, and what follows for the next connect: a pure state machine.
//!
//! | state | when | connects |
//! |---|---|---|
//! | up | the last attempt succeeded | as demand and limits allow |
//! | down | it failed, or those in flight take long and none has succeeded | one at `retry_at` |
//! | in doubt | connects succeed, but what they open is dead | the same |
//!
//! Doubt ends when a fresh connection answers, or after two seconds.
//!
//! While the server is down one *probe* at a time goes out. The thread that begins it moves
//! `retry_at` on first, so that there is only one; it need not end before the next may begin, or a
//! black hole would hold the pool for as long as its longest connect. Most probes get less time
//! than other connects, so that those that hang do not take up all slots. A failure of the last
//! connect begun moves `retry_at` on by the back-off (doubled each time, capped, jittered); a
//! success clears everything, unless in doubt.
//!
//! `chance` is evenly distributed from 0 to 1, drawn by the caller.

use crate::clock::Tick;
use std::time::Duration;

/// The wait after the first failure, doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
/// The longest wait, before jitter: with a connect it stays within a second, and within two
/// attempts a second.
const MAX_BACK_OFF: Duration = Duration::from_millis(950);
/// The jitter takes away up to this share.
const JITTER: f64 = 0.4;
/// Connects that are in flight for longer tell that something is wrong.
pub(crate) const TAKING_LONG: Duration = Duration::from_millis(500);
/// A probe gets this much time, or `GENEROUS` times what a connect usually takes, if that is more.
const SHORT_PROBE: Duration = Duration::from_secs(1);
const GENEROUS: u32 = 4;
/// One probe in this many gets all the time that the settings give a connect: the server may have
/// become slow.
const FULL_PROBE: u32 = 4;
/// After a fresh connection was found dead, a connect proves nothing for this long.
const DOUBT: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    /// Attempts that failed since the last that succeeded.
    failures: u32,
    /// Not before this moment.
    retry_at: Tick,
    /// The last failure will not pass by itself.
    permanent: bool,
    probes: u32,
    /// When a connect was last begun.
    begun_at: Tick,
    /// When a connect last succeeded, when the latest that succeeded was begun, and how long
    /// connects usually take.
    succeeded_at: Tick,
    proven_since: Tick,
    usual: Duration,
    /// When a connection was last found dead before it was ever lent.
    rejected_at: Option<Tick>,
    /// Until then a successful connect does not prove that the server works.
    doubt_until: Option<Tick>,
}

/// The right to begin a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    /// How long it may take.
    pub(crate) limit: Duration,
    /// The `retry_at` that a probe has set.
    probe: Option<Tick>,
}

impl Permit {
    pub(crate) fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// `wait`, less some jitter.
fn jittered(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER * chance)
}

fn back_off(failures: u32) -> Duration {
    (FIRST_BACK_OFF * (1 << failures.min(16))).min(MAX_BACK_OFF)
}

impl Backoff {
    /// When the next attempt may be made.
    pub(crate) fn retry_at(&self) -> Tick {
        self.retry_at
    }

    /// Whether the last attempt failed, or is in doubt.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The last failure will not pass by itself.
    pub(crate) fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// A fresh connection was found dead, and none has answered since.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt_until.is_some()
    }

    /// Connects begun before this tell nothing about the server: a later one has succeeded.
    pub(crate) fn proven_since(&self) -> Tick {
        self.proven_since
    }

    /// How long ago the last connect was begun.
    pub(crate) fn since_begun(&self, now: Tick) -> Duration {
        now.since(self.begun_at)
    }

    /// A permit for one more connect, which may take up to `limit`, beside `in_flight` others.
    pub(crate) fn permit(
        &mut self,
        now: Tick,
        in_flight: usize,
        limit: Duration,
        chance: f64,
    ) -> Option<Permit> {
        if now < self.retry_at {
            return None;
        }
        let all_take_long = in_flight > 0 && self.since_begun(now) >= TAKING_LONG;
        let is_stuck = all_take_long && now.since(self.succeeded_at) >= TAKING_LONG;
        if !self.is_failing() && !is_stuck {
            Some(Permit { limit, probe: None })
        } else if in_flight == 0 || all_take_long {
            Some(self.probe(now, limit, chance))
        } else {
            None
        }
    }

    fn probe(&mut self, now: Tick, limit: Duration, chance: f64) -> Permit {
        self.retry_at = now + jittered(MAX_BACK_OFF, chance);
        let short = self.usual.saturating_mul(GENEROUS).max(SHORT_PROBE);
        let is_full = self.probes % FULL_PROBE == FULL_PROBE - 1;
        let limit = if is_full { limit } else { limit.min(short) };
        Permit { limit, probe: Some(self.retry_at) }
    }

    /// The connect was given up before it told anything about the server: if it was a probe,
    /// another may go out.
    pub(crate) fn call_off(&mut self, permit: Permit, now: Tick) {
        if permit.probe == Some(self.retry_at) {
            self.retry_at = now;
        }
    }

    /// A connect is begun.
    pub(crate) fn begun(&mut self, permit: Permit, now: Tick) {
        self.probes = self.probes.wrapping_add(u32::from(permit.is_probe()));
        self.begun_at = self.begun_at.max(now);
    }

    /// A connect that was begun at `begun` has succeeded.
    pub(crate) fn succeeded(&mut self, begun: Tick, now: Tick, chance: f64) {
        self.succeeded_at = self.succeeded_at.max(now);
        self.proven_since = self.proven_since.max(begun);
        self.usual = now.since(begun).max(self.usual - self.usual / 8);
        self.permanent = false;
        if self.doubt_until.is_some_and(|until| now < until) {
            self.retry_at = now + jittered(back_off(self.failures), chance);
        } else {
            self.clear();
        }
    }

    /// A connection born at `born` has answered a ping.
    pub(crate) fn answered(&mut self, born: Tick) {
        if self.is_in_doubt() && self.rejected_at.is_none_or(|rejected| born > rejected) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.failures = 0;
        self.retry_at = Tick::default();
        self.permanent = false;
        self.doubt_until = None;
    }

    /// A connect that was begun at `begun` has failed. Only the last one begun decides when to try
    /// again.
    pub(crate) fn failed(&mut self, begun: Tick, now: Tick, permanent: bool, chance: f64) {
        let wait = if permanent { MAX_BACK_OFF } else { back_off(self.failures) };
        self.failures = self.failures.saturating_add(1);
        if permanent || begun >= self.begun_at {
            self.permanent = permanent;
            self.retry_at = now + jittered(wait, chance);
        }
    }

    /// The ping, begun at `begun`, of a connection born at `born` has failed before it was ever
    /// lent. If it was fresh, and another was found dead before it was born, that counts as a
    /// failed connect. True if so.
    pub(crate) fn rejected(&mut self, born: Tick, begun: Tick, now: Tick, chance: f64) -> bool {
        let before = self.rejected_at.replace(now);
        let is_stillborn = before.is_some_and(|before| born > before) && begun.since(born) < DOUBT;
        if is_stillborn {
            self.doubt_until = Some(now + DOUBT);
            self.failed(now, now, false, chance);
        }
        is_stillborn
    }
}

#[cfg(test)]
mod tests;
