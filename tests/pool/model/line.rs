//! Those who wait.

use super::{Guard, Model, Op, Setup};
use crate::common::{Bell, FakeError};
use caliburn::GetError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a connection lies with a task that is not polled.
const GRACE: Duration = Duration::from_millis(25);
/// So many times as long is long enough for all that the pool may have to do before it serves.
const ROUNDS: usize = 200;

type Outcome = Result<Guard, GetError<FakeError>>;

/// What a waiter has been told, as far as the model knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Told {
    Nothing,
    Granted,
    Expired,
}

pub(super) struct Waiter<'p> {
    pub(super) future: Pin<Box<dyn Future<Output = Outcome> + Send + 'p>>,
    pub(super) bell: Arc<Bell>,
    begun: Duration,
    pub(super) deadline: Duration,
    pub(super) told: Told,
    told_at: Duration,
    /// At most so many grants of it have lapsed.
    lapses: usize,
    /// By the count of turns: when it was last polled, and when it was first called after that.
    polled_in: u64,
    called_in: Option<u64>,
}

impl Waiter<'_> {
    /// It was called, and not polled since.
    fn is_called(&self) -> bool {
        self.told != Told::Nothing || self.bell.has_rung()
    }
}

impl<'p> Model<'p> {
    pub(super) fn enroll(&mut self, timeout: Duration, is_there_one: bool) {
        let deadline = self.now.saturating_add(timeout);
        let future = Box::pin(self.pool.get_timeout_async(timeout));
        let (bell, told, begun) = (Arc::new(Bell::default()), Told::Nothing, self.now);
        let told_at = begun;
        let mut waiter = Waiter {
            future,
            bell,
            begun,
            deadline,
            told,
            told_at,
            lapses: 0,
            polled_in: self.turn,
            called_in: None,
        };
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let is_full = self.living() >= self.setup.max_waiters;
        match waiter.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(guard)) => {
                assert!(
                    !self.setup.is_exact() || is_there_one,
                    "an arrival overtook those who wait"
                );
                self.assert_nobody_is_passed_over(Duration::MAX, u64::MAX);
                self.receive(guard);
            }
            Poll::Ready(Err(GetError::Closed)) => assert!(self.is_closed),
            Poll::Ready(Err(GetError::TooManyWaiters { .. })) => {
                assert!(!self.setup.is_exact() || is_full)
            }
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {
                assert!(!self.is_closed);
                assert!(
                    !self.setup.is_exact() || !(is_full || is_there_one),
                    "it waits for nothing"
                );
                self.line.push(waiter);
            }
        }
    }

    pub(super) fn poll(&mut self, n: usize) {
        self.begin_turn();
        let turn = self.turn;
        let waiter = &mut self.line[n];
        waiter.bell.still();
        let called_in = waiter.called_in.take().unwrap_or_default();
        waiter.polled_in = turn;
        if waiter.lapses > 0 {
            self.doze();
        }
        let waiter = &mut self.line[n];
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let result = waiter.future.as_mut().poll(&mut Context::from_waker(&waker));
        let (told, begun, deadline) = (waiter.told, waiter.begun, waiter.deadline);
        let Poll::Ready(result) = result else {
            assert!(!self.is_closed, "a closed pool lets somebody wait");
            assert!(
                !self.setup.is_exact() || told == Told::Nothing,
                "told {told:?}, and it still waits"
            );
            return;
        };
        drop(self.line.remove(n));
        if self.setup.is_exact() && !self.is_closed {
            assert_eq!(result.is_ok(), told == Told::Granted, "{result:?} though {told:?}");
        }
        match result {
            Ok(guard) => {
                self.assert_nobody_is_passed_over(begun, called_in);
                self.receive(guard);
            }
            Err(GetError::Closed) => assert!(self.is_closed),
            Err(GetError::TimedOut { .. }) => assert!(deadline <= self.now, "too early"),
            Err(GetError::TooManyWaiters { .. }) => assert!(!self.setup.is_exact()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Who is polled in time is polled now, at the latest.
    pub(super) fn take_in_time(&mut self) {
        let has_to = |waiter: &Waiter<'_>, now| {
            waiter.told == Told::Granted && now >= waiter.deadline.min(waiter.told_at + GRACE)
        };
        if self.setup.is_exact() {
            self.poll_all(|waiter, now| has_to(waiter, now));
        } else if !self.is_lazy {
            self.poll_called();
        }
    }

    fn poll_called(&mut self) {
        self.poll_all(|waiter, _| waiter.is_called());
    }

    /// Polls those who have to be polled now, until nobody has to be any more.
    fn poll_all(&mut self, has_to: impl Fn(&Waiter<'_>, Duration) -> bool) {
        let most = 4 * (self.line.len() + 1);
        for _ in 0..most {
            let Some(n) = self.line.iter().position(|waiter| has_to(waiter, self.now)) else {
                return;
            };
            self.poll(n);
        }
        panic!("they call each other without end");
    }

    /// Time is about to pass, or one in line to come back, which may take what others have not
    /// taken.
    pub(super) fn doze(&mut self) {
        for waiter in &mut self.line {
            waiter.lapses += usize::from(waiter.is_called());
        }
    }

    /// Notes who was called in the turn that is over.
    pub(super) fn begin_turn(&mut self) {
        for waiter in self.line.iter_mut().filter(|waiter| waiter.is_called()) {
            waiter.called_in.get_or_insert(self.turn);
        }
        self.turn += 1;
    }

    /// Somebody who came at that moment, and was called in that turn, was served. Whoever came
    /// before is called, too, or came back too late: who has let one grant lapse has what those
    /// behind it have not taken, and who has let two lapse is the next to be called.
    pub(super) fn assert_nobody_is_passed_over(&self, since: Duration, called_in: u64) {
        let Setup { hears, .. } = self.setup;
        if self.is_closed || hears || self.setup.judges() || self.is_lazy && self.setup.is_patient()
        {
            return;
        }
        let is_passed_over = |waiter: &Waiter<'_>| {
            waiter.begun < since
                && waiter.deadline > self.now
                && !waiter.is_called()
                && (waiter.lapses <= 1 || waiter.polled_in < called_in)
        };
        let is_there_one = self.line.iter().any(is_passed_over);
        assert!(!is_there_one, "somebody in line was passed over");
    }

    /// Once the server takes connections and all that was lent is back, everybody is served who is
    /// polled when it is called; and so is one who comes while all others sleep.
    pub(super) fn serve_all(&mut self) {
        self.step(Op::Refuse(false));
        self.return_all();
        if self.is_lazy && !self.is_closed {
            self.serve_a_newcomer();
        }
        self.is_lazy = false;
        for _ in 0..ROUNDS {
            self.step(Op::Maintain);
            self.check();
            self.poll_called();
            self.return_all();
            if self.line.is_empty() {
                return;
            }
            self.step(Op::Advance(GRACE));
        }
        panic!("{} are not served: {:?}", self.line.len(), self.pool.stats());
    }

    fn return_all(&mut self) {
        while !self.held.is_empty() {
            self.step(Op::Return(0));
            self.check();
        }
    }

    /// Those who sleep cost it two graces each at most.
    fn serve_a_newcomer(&mut self) {
        let sleepers = self.line.len();
        for _ in 0..ROUNDS + 4 * sleepers {
            if self.line.len() == sleepers {
                // Perhaps it is refused for now, as there are too many.
                self.enroll(Duration::MAX, false);
            } else if self.line[sleepers].is_called() {
                self.poll(sleepers);
            }
            if !self.held.is_empty() {
                return self.return_all();
            }
            self.step(Op::Maintain);
            self.check();
            self.step(Op::Advance(GRACE));
        }
        panic!("sleepers keep one from being served: {:?}", self.pool.stats());
    }

    /// Whoever was called has got something: the first in line who has time left, and nobody before
    /// them was passed over. The others were told that their time is up.
    pub(super) fn hear(&mut self) {
        let mut is_passed_over = false;
        for waiter in self.line.iter_mut().filter(|waiter| waiter.told == Told::Nothing) {
            if waiter.deadline <= self.now {
                let was_called = waiter.bell.still();
                waiter.told = if was_called { Told::Expired } else { Told::Nothing };
            } else if waiter.bell.still() {
                assert!(!is_passed_over, "somebody in line was passed over");
                waiter.told = Told::Granted;
                waiter.told_at = self.now;
            } else {
                is_passed_over = true;
            }
        }
    }
}
