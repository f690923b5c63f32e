//! Whether an endpoint is trusted: a pure state machine.
//!
//! An endpoint that has failed is taken back as soon as it answers. If it fails again soon, it has
//! relapsed, and must then answer for a while without a failure before it is taken back: for a
//! second, doubled with each further relapse. What it did before is forgotten when it has been up
//! for [`CALM`].

use crate::clock::Tick;
use std::time::Duration;

/// An endpoint that fails within so long of its return has relapsed.
pub(super) const CALM: Duration = Duration::from_secs(30);
const FIRST_TRIAL: Duration = Duration::from_secs(1);
const LONGEST_TRIAL: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    Out,
    Trial,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Standing {
    phase: Phase,
    since: Tick,
    relapses: u32,
    /// When it was last taken back.
    returned: Option<Tick>,
}

impl Standing {
    /// Nothing is known against it.
    pub(super) fn new(now: Tick) -> Self {
        Self { phase: Phase::Up, since: now, relapses: 0, returned: None }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn relapses(&self) -> u32 {
        self.relapses
    }

    /// For how long it must answer before it is taken back.
    fn trial(&self) -> Duration {
        match self.relapses {
            0 => Duration::ZERO,
            n => (FIRST_TRIAL * (1 << (n - 1).min(16))).min(LONGEST_TRIAL),
        }
    }

    fn enter(&mut self, phase: Phase, now: Tick) {
        self.phase = phase;
        self.since = now;
    }

    /// It has failed.
    pub(super) fn failed(&mut self, now: Tick) {
        match self.phase {
            Phase::Out => return,
            Phase::Trial => {}
            Phase::Up => {
                let is_relapse = self.returned.is_some_and(|returned| now.since(returned) < CALM);
                self.relapses = if is_relapse { self.relapses.saturating_add(1) } else { 0 };
            }
        }
        self.enter(Phase::Out, now);
    }

    /// It has answered.
    pub(super) fn answered(&mut self, now: Tick) {
        if self.phase == Phase::Out {
            self.enter(Phase::Trial, now);
        }
        if self.phase == Phase::Trial && now.since(self.since) >= self.trial() {
            self.enter(Phase::Up, now);
            self.returned = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick(0) + Duration::from_millis(millis)
    }

    #[test]
    fn the_first_return_is_at_once() {
        let mut standing = Standing::new(at(0));
        standing.answered(at(1));
        assert_eq!((standing.phase(), standing.since), (Phase::Up, at(0)));
        standing.failed(at(10));
        standing.failed(at(20));
        assert_eq!((standing.phase(), standing.since), (Phase::Out, at(10)));
        standing.answered(at(30));
        assert_eq!(standing.phase(), Phase::Up);
    }

    #[test]
    fn one_that_flaps_is_taken_back_less_and_less_often() {
        let mut standing = Standing::new(at(0));
        let (mut returns, mut was) = (0, Phase::Up);
        for tenth in 0..6_000 {
            let now = at(100 * tenth);
            if tenth % 2 == 0 {
                standing.failed(now)
            } else {
                standing.answered(now)
            }
            let is_back = standing.phase() == Phase::Up && was != Phase::Up;
            (returns, was) = (returns + u32::from(is_back), standing.phase());
        }
        // Each trial is cut short by the next failure.
        assert_eq!(returns, 1, "in ten minutes");
    }

    #[test]
    fn trials_double_up_to_half_a_minute_and_are_forgotten_after_calm() {
        let mut standing = Standing::new(at(0));
        let mut now = 0;
        let mut trials = Vec::new();
        for _ in 0..9 {
            standing.failed(at(now));
            let begun = now;
            while standing.phase() != Phase::Up {
                now += 100;
                standing.answered(at(now));
            }
            trials.push((now - begun - 100) / 1_000);
            now += 100;
        }
        assert_eq!(trials, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        standing.failed(at(now) + CALM);
        standing.answered(at(now) + CALM);
        assert_eq!((standing.phase(), standing.relapses()), (Phase::Up, 0));
    }
}
