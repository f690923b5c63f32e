//! Those who wait.

use super::{Guard, Model};
use crate::common::FakeError;
use caliburn::GetError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How long a connection lies with a task that is not polled.
const GRACE: Duration = Duration::from_millis(25);

type Outcome = Result<Guard, GetError<FakeError>>;

#[derive(Default)]
pub(super) struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

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
    pub(super) deadline: Duration,
    pub(super) told: Told,
    pub(super) told_at: Duration,
}

impl<'p> Model<'p> {
    pub(super) fn enroll(&mut self, timeout: Duration, is_there_one: bool) {
        let deadline = self.now.saturating_add(timeout);
        let future = Box::pin(self.pool.get_timeout_async(timeout));
        let (bell, told_at) = (Arc::new(Bell::default()), self.now);
        let mut waiter = Waiter { future, bell, deadline, told: Told::Nothing, told_at };
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let is_full = self.living() >= self.max_waiters;
        match waiter.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(guard)) => {
                assert!(!self.is_exact || is_there_one, "an arrival overtook those who wait");
                self.receive(guard);
            }
            Poll::Ready(Err(GetError::Closed)) => assert!(self.is_closed),
            Poll::Ready(Err(GetError::TooManyWaiters { .. })) => assert!(!self.is_exact || is_full),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {
                assert!(!self.is_closed);
                assert!(!self.is_exact || !(is_full || is_there_one), "it waits for nothing");
                self.line.push(waiter);
            }
        }
    }

    pub(super) fn poll(&mut self, n: usize) {
        let waiter = &mut self.line[n];
        waiter.bell.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let result = waiter.future.as_mut().poll(&mut Context::from_waker(&waker));
        let (told, deadline) = (waiter.told, waiter.deadline);
        let Poll::Ready(result) = result else {
            assert!(!self.is_closed, "a closed pool lets somebody wait");
            assert!(!self.is_exact || told == Told::Nothing, "told {told:?}, and it still waits");
            return;
        };
        drop(self.line.remove(n));
        if self.is_exact && !self.is_closed {
            assert_eq!(result.is_ok(), told == Told::Granted, "{result:?} though {told:?}");
        }
        match result {
            Ok(guard) => self.receive(guard),
            Err(GetError::Closed) => assert!(self.is_closed),
            Err(GetError::TimedOut { .. }) => assert!(deadline <= self.now, "too early"),
            Err(GetError::TooManyWaiters { .. }) => assert!(!self.is_exact),
            Err(error) => panic!("{error}"),
        }
    }

    /// Whoever was granted a connection takes it in time: what becomes of it otherwise is a story
    /// of its own, told in `faults_futurelock`.
    pub(super) fn take_in_time(&mut self) {
        let has_to = |waiter: &Waiter<'_>, now| {
            waiter.told == Told::Granted && now >= waiter.deadline.min(waiter.told_at + GRACE)
        };
        while let Some(n) = self.line.iter().position(|waiter| has_to(waiter, self.now)) {
            self.poll(n);
        }
    }

    /// Whoever was called has got something: the first in line who has time left, and nobody before
    /// them was passed over. The others were told that their time is up.
    pub(super) fn hear(&mut self) {
        let mut is_passed_over = false;
        for waiter in self.line.iter_mut().filter(|waiter| waiter.told == Told::Nothing) {
            if waiter.deadline <= self.now {
                let was_called = waiter.bell.0.swap(false, SeqCst);
                waiter.told = if was_called { Told::Expired } else { Told::Nothing };
            } else if waiter.bell.0.swap(false, SeqCst) {
                assert!(!is_passed_over, "somebody in line was passed over");
                waiter.told = Told::Granted;
                waiter.told_at = self.now;
            } else {
                is_passed_over = true;
            }
        }
    }
}
