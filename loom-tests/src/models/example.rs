//! The worked example of `src/raw/README.md`, "Hand-off with patience", step by step. Not a race:
//! one thread plays all parts.

use super::{Bare, STRICT, Sleeper, bury, claim, granted, model, pool, touch};
use crate::raw::RawPool;
use crate::raw::waiter::{Outcome, Terms, Ticket};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

/// A waiter, and what wakes it.
struct Waiting<'p> {
    ticket: Ticket<'p, Bare>,
    sleeper: std::sync::Arc<Sleeper>,
}

impl<'p> Waiting<'p> {
    fn arrive(pool: &'p RawPool<Bare>, patience: u64) -> Self {
        let sleeper = Sleeper::new();
        let terms = Terms { patience, ..STRICT };
        let ticket = pool.enroll(&Waker::from(sleeper.clone()), terms, usize::MAX).unwrap();
        Self { ticket, sleeper }
    }

    fn is_woken(&self) -> bool {
        self.sleeper.was_woken()
    }

    fn poll(&mut self) -> Poll<Outcome<Bare>> {
        // A fresh one, so that the next wake-up shows.
        self.sleeper = Sleeper::new();
        self.ticket.poll(&mut Context::from_waker(&Waker::from(self.sleeper.clone())))
    }

    fn claims(&mut self) -> crate::raw::slots::Occupied<Bare> {
        match self.poll() {
            Poll::Ready(outcome) => granted(outcome),
            Poll::Pending => panic!("no slot"),
        }
    }
}

#[test]
fn two_slots_and_three_waiters_as_the_page_tells_it() {
    model(|| {
        let pool = pool(2, 2);
        let at = |moment| pool.context().clock.store(moment, Relaxed);
        at(0);
        let (a, b) = (claim(&pool).unwrap(), claim(&pool).unwrap());
        assert_eq!((a.index(), b.index()), (0, 1));

        // 1, 2
        let mut w1 = Waiting::arrive(&pool, 10);
        let mut w2 = Waiting::arrive(&pool, 12);
        let mut w3 = Waiting::arrive(&pool, 14);
        // 3
        drop(a);
        assert_eq!([w1.is_woken(), w2.is_woken(), w3.is_woken()], [true, false, false]);
        // 4
        assert!(pool.claim_at_home().is_none(), "the waiters flag is down");
        let newcomer = pool.claim().expect("the hand-off flag is up");
        assert_eq!(newcomer.index(), 0);
        // 5
        assert!(w1.poll().is_pending() && !w1.is_woken());
        // 6
        drop(newcomer);
        assert_eq!([w1.is_woken(), w2.is_woken(), w3.is_woken()], [true, false, false]);
        // 7
        drop(b);
        assert_eq!([w1.is_woken(), w2.is_woken(), w3.is_woken()], [true, true, false]);
        // 8
        let second = w2.claims();
        assert_eq!(second.index(), 0);
        // 9
        let newcomer = pool.claim().expect("the hand-off flag is up");
        assert_eq!(newcomer.index(), 1);
        // 10
        assert!(w1.poll().is_pending() && !w1.is_woken());
        // 11
        at(10);
        drop(newcomer);
        assert!(w1.ticket.is_settled() && w1.is_woken() && !w3.is_woken());
        // 12
        let first = w1.claims();
        assert_eq!(first.index(), 1);
        // 13
        at(14);
        drop(second);
        assert!(w3.ticket.is_settled() && w3.is_woken());
        assert_eq!(pool.queued(), 0);
        // 14
        let third = w3.claims();
        assert_eq!(third.index(), 0);
        drop(first);
        drop(pool.claim_at_home().expect("a flag was left up"));
        touch(&third);
        drop((third, w1, w2, w3));
        bury(pool);
    });
}
