//! Several slots at once ‖ the same: callers that gather have the turn one after the other.

use super::{Sleeper, bury, checkout, granted, model, pool, touch};
use crate::raw::turn::Turn;
use loom::sync::Arc;
use loom::thread;
use std::task::{Context, Poll, Waker};

fn take_turn<R>(turn: &Turn, gather: impl FnOnce() -> R) -> R {
    let (sleeper, place) = (Sleeper::new(), turn.enter());
    let waker = Waker::from(sleeper.clone());
    while place.poll(&mut Context::from_waker(&waker)).is_pending() {
        sleeper.wait();
    }
    gather()
}

#[test]
fn two_that_gather_two_of_two_slots_do_not_wait_for_each_other() {
    model(|| {
        let (pool, turn) = (pool(2, 2), Arc::new(Turn::default()));
        let gather = |pool: &Arc<_>, turn: &Turn| {
            take_turn(turn, || {
                let both = [granted(checkout(pool)), granted(checkout(pool))];
                both.iter().for_each(touch);
            });
        };
        let (theirs, their_turn) = (Arc::clone(&pool), Arc::clone(&turn));
        let other = thread::spawn(move || gather(&theirs, &their_turn));
        gather(&pool, &turn);
        other.join().unwrap();
        bury(pool);
    });
}

#[test]
fn one_that_leaves_the_line_passes_the_turn_on() {
    model(|| {
        let turn = Arc::new(Turn::default());
        let first = turn.enter();
        let theirs = Arc::clone(&turn);
        let other = thread::spawn(move || take_turn(&theirs, || ()));
        let mine = turn.enter();
        // Before or after it has become its turn.
        drop(first);
        drop(mine);
        other.join().unwrap();
        let place = turn.enter();
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(place.poll(&mut context), Poll::Ready(())), "the turn was lost");
    });
}
