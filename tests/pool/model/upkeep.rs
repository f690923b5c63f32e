//! Maintenance, and the limits on the size.

use super::Model;
use super::line::Told;
use super::setup::{Health, IDLE_TIMEOUT};
use caliburn::{EvictionCause, Stats};
use std::time::Duration;

/// Longer than the pool ever waits before it tries to connect again.
const BACK_OFF: Duration = Duration::from_secs(1);

impl Model<'_> {
    pub(super) fn maintain(&mut self, before: &Stats, sweep: bool) {
        for waiter in self.line.iter_mut().filter(|waiter| waiter.told == Told::Nothing) {
            if waiter.deadline <= self.now {
                waiter.told = Told::Expired;
            }
        }
        let wanted = self.living() as u64;
        let (opened, failures) = (self.opened(), before.connect_failures);
        let was_granted = self.granted();
        if sweep {
            self.pool.sweep();
        } else {
            self.pool.maintain();
        }
        let after = self.pool.stats();
        for id in opened..self.opened() {
            self.touched.insert(id, self.now);
        }
        if after.connect_failures > failures {
            assert!(self.refuses);
            self.refused_at = Some(self.now);
        }
        if after.ping_failures > before.ping_failures {
            // Fresh connections found dead count as connects that failed.
            self.refused_at = Some(self.now);
        }
        assert_eq!((after.opening, after.maintenance), (0, 0), "work was left: {after:?}");
        self.surplus_done = after.evictions.by(EvictionCause::Surplus);
        if self.is_closed {
            return;
        }
        self.check_limit();
        if !self.setup.is_exact() {
            return;
        }
        // One that is closed at once, because of a lowered limit, may be made up for.
        let surplus = self.surplus_done - before.evictions.by(EvictionCause::Surplus);
        let opened_now = self.opened() - opened;
        let allowed = wanted + self.floor() as u64 + surplus + u64::from(self.tried);
        assert!(opened_now <= allowed, "opened {opened_now}, {allowed} at most");
        let is_for_a_try = self.tried && opened_now > 0;
        self.tried &= opened_now == 0;
        self.hear();
        let may_grow = !self.refuses && self.refused_at.is_none_or(|at| self.now > at + BACK_OFF);
        if may_grow {
            assert!(after.size >= self.min_size, "below the minimum: {after:?}");
            assert!(self.living() == 0 || after.vacant == 0, "it does not grow: {after:?}");
        }
        if !sweep || before.maintenance > 0 {
            return;
        }
        // Nothing idle is left that was idle for too long, but for the minimum.
        let is_fresh = |id: &u64| {
            let touched = self.touched.get(id).copied().unwrap_or_default();
            !self.gone.contains(id) && self.now - touched <= IDLE_TIMEOUT
        };
        let fresh = (0..self.opened()).filter(is_fresh).count();
        // What an attempt asked for is opened after the others were looked at.
        let most = self.min_size.max(after.lent + fresh) + usize::from(is_for_a_try);
        assert!(after.size <= most, "{most} at most: {after:?}");
        // Nothing idle is left that is dead.
        if self.setup.health == Health::Sweep && was_granted == 0 {
            let is_held = |id: &u64| self.held.iter().any(|held| held.id == *id);
            self.gone.extend((0..self.dead_below.min(opened)).filter(|id| !is_held(id)));
        }
    }

    /// Above the limit there are only connections that nobody can take away.
    pub(super) fn check_limit(&self) {
        let stats = self.pool.stats();
        if stats.idle > 0 && !self.is_closed {
            let size = stats.size + stats.opening - self.retiring(&stats);
            assert!(size <= self.max_size, "{size} > {}: {stats:?}", self.max_size);
        }
    }
}
