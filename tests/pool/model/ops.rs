//! What is done to a pool, and what must come of it.

use super::line::{Told, Waiter};
use super::{Guard, Model, pick};
use crate::common::Mode;
use caliburn::{GetError, PooledConnection, Stats, TryGetError};
use std::time::Duration;

/// What is done to the pool. A number chooses among what is there, round and round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    TryGet,
    /// With no time to wait.
    GetNow,
    Return(usize),
    ReturnBroken(usize),
    /// It must be reset first.
    ReturnDirty(usize),
    Discard(usize),
    Detach(usize),
    DropDetached,
    SetMaxSize(usize),
    SetMinSize(usize),
    Advance(Duration),
    Maintain,
    Sweep,
    /// All connections of the server die.
    Kill,
    /// The driver hears that all connections opened so far are dead, if it hears anything.
    Hear,
    /// The server takes no new connection, or takes them again.
    Refuse(bool),
    /// Begin to wait, with so much time.
    Enroll(Duration),
    Poll(usize),
    Leave(usize),
    Close,
}

impl Op {
    /// How many kinds [`of`](Self::of) knows.
    pub(crate) const KINDS: u8 = 36;

    /// Those that make a line and have it served.
    pub(crate) const OF_THE_LINE: [u8; 12] = [0, 4, 4, 16, 18, 26, 28, 28, 29, 29, 29, 32];

    /// Any two numbers make an operation; those that bring others about come up more often.
    pub(crate) fn of(kind: u8, which: u8) -> Self {
        let n = usize::from(which % 4);
        match kind % Self::KINDS {
            0..=2 => Self::TryGet,
            3 => Self::GetNow,
            4..=7 => Self::Return(n),
            8 => Self::ReturnBroken(n),
            9 => Self::ReturnDirty(n),
            10 => Self::Discard(n),
            11 => Self::Detach(n),
            12 => Self::DropDetached,
            13 | 14 => Self::SetMaxSize(n + 1),
            15 => Self::SetMinSize(n),
            16 => Self::Advance(Duration::from_millis([1, 10, 30, 400][n])),
            17 => Self::Advance(Duration::from_millis([1, 400, 4_000, 20_000][n])),
            18..=21 => Self::Maintain,
            22 | 23 => Self::Sweep,
            24 => Self::Kill,
            25 => Self::Refuse(n == 0),
            26 | 27 => Self::Enroll(
                [Duration::from_millis(500), Duration::from_secs(6), Duration::MAX][n % 3],
            ),
            28 => Self::Enroll(Duration::MAX),
            29 => Self::Poll(n),
            30 => Self::Leave(n),
            31 => Self::Hear,
            32 => Self::Advance(Duration::from_millis([1, 10, 30, 400][n])),
            // Once in 144.
            33 if n == 3 => Self::Close,
            _ => Self::Poll(n),
        }
    }
}

impl Model<'_> {
    pub(super) fn step(&mut self, op: Op) {
        self.begin_turn();
        self.take_in_time();
        let before = self.pool.stats();
        let is_there_one = !self.is_closed && before.idle > 0 && self.living() == 0;
        match op {
            Op::TryGet => {
                let result = self.pool.try_get();
                self.check_attempt(result.is_ok(), is_there_one);
                match result {
                    Ok(guard) => self.receive(guard),
                    Err(TryGetError::Closed) => assert!(self.is_closed),
                    Err(error) => {
                        assert!(!self.is_closed, "{error}");
                        self.tried = true;
                    }
                }
            }
            Op::GetNow => {
                let result = self.pool.get_timeout(Duration::ZERO);
                self.check_attempt(result.is_ok(), is_there_one);
                match result {
                    Ok(guard) => self.receive(guard),
                    Err(GetError::Closed) => assert!(self.is_closed),
                    Err(GetError::TimedOut { .. }) => {
                        assert!(!self.is_closed);
                        self.tried = true;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Op::Return(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    let is_known_dead = self.note_return(&guard);
                    drop(guard);
                    self.came_back(&before, is_known_dead || self.debt(&before) > 0);
                }
            }
            Op::ReturnBroken(n) => {
                if let Some(mut guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    guard.broken = true;
                    drop(guard);
                    self.came_back(&before, true);
                }
            }
            Op::ReturnDirty(n) => {
                if let Some(mut guard) = pick(&mut self.held, n) {
                    self.note_return(&guard);
                    guard.dirty = true;
                    drop(guard);
                    self.came_back(&before, true);
                }
            }
            Op::Discard(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    PooledConnection::discard(guard);
                    self.came_back(&before, true);
                }
            }
            Op::Detach(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    self.detached.push(PooledConnection::detach(guard));
                    self.settle();
                    let after = self.pool.stats();
                    let is_retired = self.is_closed || self.debt(&before) > 0;
                    assert_eq!(after.retired, before.retired + usize::from(is_retired));
                    assert_eq!(after.vacant, before.vacant + usize::from(!is_retired));
                }
            }
            Op::DropDetached => self.detached.clear(),
            Op::SetMaxSize(max_size) => {
                let is_valid = (self.min_size.max(1)..=before.capacity).contains(&max_size);
                assert_eq!(
                    self.pool.change(|settings| settings.max_size = max_size).is_ok(),
                    is_valid,
                    "{max_size}"
                );
                if is_valid {
                    self.max_size = max_size;
                    self.check_limit();
                }
            }
            Op::SetMinSize(min_size) => {
                let is_valid = min_size <= self.max_size;
                assert_eq!(
                    self.pool.change(|settings| settings.min_size = min_size).is_ok(),
                    is_valid,
                    "{min_size}"
                );
                if is_valid {
                    self.min_size = min_size;
                }
            }
            Op::Advance(by) => {
                self.doze();
                self.hand.advance(by);
                self.now += by;
            }
            Op::Maintain => self.maintain(&before, false),
            Op::Sweep => self.maintain(&before, true),
            Op::Kill => {
                self.fake.kill_all();
                self.dead_below = self.opened();
            }
            Op::Hear => {
                if self.setup.hears {
                    self.known_dead_below = self.fake.hear_of_all();
                }
            }
            Op::Refuse(refuses) => {
                self.refuses = refuses;
                self.fake.on_connect(if refuses { Mode::Fail } else { Mode::Ok });
            }
            Op::Enroll(timeout) => self.enroll(timeout, is_there_one),
            Op::Poll(n) => {
                if !self.line.is_empty() {
                    self.poll(n % self.line.len());
                }
            }
            Op::Leave(n) => drop(pick(&mut self.line, n)),
            Op::Close => {
                self.pool.close();
                self.is_closed = true;
                assert!(self.pool.is_closed());
            }
        }
    }

    /// An attempt that does not wait has succeeded, or not.
    fn check_attempt(&self, has_succeeded: bool, is_there_one: bool) {
        let after = self.pool.stats();
        if self.setup.is_exact() {
            assert_eq!(has_succeeded, is_there_one, "{after:?}");
        }
        if has_succeeded {
            self.assert_nobody_is_passed_over(Duration::MAX, u64::MAX);
        } else if !self.setup.judges() && !self.is_closed {
            assert!(after.idle == 0 || after.waiting > 0, "it looks no further: {after:?}");
        }
    }

    /// A connection is about to come back. Whether the driver knows it to be dead.
    fn note_return(&mut self, guard: &Guard) -> bool {
        let is_known_dead = guard.id < self.known_dead_below;
        if is_known_dead {
            self.gone.insert(guard.id);
        } else {
            self.touched.insert(guard.id, self.now);
        }
        is_known_dead
    }

    /// A connection came back: it needs work, or it is idle, or it was handed on.
    fn came_back(&mut self, before: &Stats, needs_work: bool) {
        self.settle();
        let after = self.pool.stats();
        if self.is_closed {
            assert_eq!(after.retired, before.retired + 1, "{after:?}");
        } else if needs_work {
            assert_eq!(after.maintenance, before.maintenance + 1, "{after:?}");
            assert_eq!(after.idle, before.idle, "{after:?}");
        } else if self.setup.is_exact() {
            let has_time = |waiter: &&Waiter<'_>| waiter.deadline > self.now;
            let in_time = self.line.iter().filter(|waiter| waiter.told == Told::Nothing);
            let is_handed_on = in_time.filter(has_time).count() > 0;
            let (granted, waiting) = (self.granted(), self.living());
            self.hear();
            assert_eq!(self.granted() > granted, is_handed_on, "{after:?}");
            assert_eq!(after.idle, before.idle + usize::from(!is_handed_on), "{after:?}");
            assert_eq!(after.lent, before.lent - usize::from(!is_handed_on), "{after:?}");
            assert_eq!(after.waiting, before.waiting - (waiting - self.living()), "{after:?}");
        }
    }
}
