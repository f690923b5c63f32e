//! A task pings its connection in its own future, which need not be polled to the end.

use crate::common::harness::{self, Harness};
use crate::common::*;
use caliburn::health::PingOnBorrow;
use caliburn::{AsyncManager, Clock, Deadline, GetError, Manager, MockClock, Pool};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_connection_that_a_sleeper_is_pinging_goes_to_the_next() {
    let case = Harness::new(1, |b| b.min_size(1).health(PingOnBorrow::always()));
    // What has just been opened is not pinged.
    drop(case.lent());
    let mut sleeper = case.get();
    assert!(poll_once(&mut sleeper).is_pending(), "the fake answers at the second poll");
    let mut next = case.get();
    let mut took = Duration::ZERO;
    while poll_once(&mut next).is_pending() {
        assert!(took <= 2 * SECOND, "not served: {}", case.pool.stats());
        case.step();
        took += harness::STEP;
    }
    let stats = case.pool.stats();
    assert_eq!((stats.connects, stats.ping_failures, stats.launch_failures), (1, 0, 0), "{stats}");
}

/// A driver that notes on which threads its pings are polled.
#[derive(Clone, Default)]
struct Noting(AsyncFake, Arc<Mutex<Vec<ThreadId>>>);

impl Manager for Noting {
    type Connection = Conn;
    type Error = FakeError;
}

impl AsyncManager for Noting {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.0.connect(deadline).await
    }

    async fn ping(&self, _: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        let note = || self.1.lock().unwrap().push(std::thread::current().id());
        note();
        yield_once().await;
        note();
        Ok(())
    }
}

fn of_one<M: AsyncManager>(manager: M) -> (caliburn::Builder<M>, MockClock) {
    let (clock, hand) = Clock::mock();
    let builder = Pool::builder_async(manager).clock(clock).idle_timeout(None);
    (builder.max_size(1).min_size(1).health(PingOnBorrow::always()), hand)
}

#[test]
fn a_pool_that_is_maintained_by_its_user_goes_on_with_the_ping_on_the_users_thread() {
    let noting = Noting::default();
    let (builder, hand) = of_one(noting.clone());
    let pool = builder.manual_maintenance().build().unwrap();
    pool.maintain();
    drop(pool.get().unwrap());
    let mut get = Box::pin(pool.get_async());
    assert!(poll_once(&mut get).is_pending());
    hand.advance(SECOND);
    pool.maintain();
    assert_eq!(*noting.1.lock().unwrap(), [std::thread::current().id(); 2]);
    let Poll::Ready(Ok(_)) = poll_once(&mut get) else { panic!("it has answered") };
}

/// The pool has given the ping to the spawner, which does not run it.
#[test]
fn a_get_ends_in_time_though_others_have_taken_its_ping_over_and_it_hangs() {
    let (fake, is_stuck) = (Fake::new(), Arc::new(AtomicBool::new(false)));
    let (builder, hand) = of_one(AsyncFake(fake.clone()));
    let kept = Arc::<Mutex<Vec<_>>>::default();
    let (keep, stuck) = (Arc::clone(&kept), Arc::clone(&is_stuck));
    let builder = builder.ping_timeout(SECOND * 19 / 10).spawner(move |task| {
        if stuck.load(SeqCst) { keep.lock().unwrap().push(task) } else { on_the_spot(task) }
    });
    let pool = builder.build().unwrap();
    eventually("it is open", || pool.try_get().is_ok());
    is_stuck.store(true, SeqCst);
    let mut get = Box::pin(pool.get_timeout_async(2 * SECOND));
    assert!(poll_once(&mut get).is_pending(), "it is pinging");
    hand.advance(SECOND * 13 / 10);
    eventually("the ping is taken over", || !kept.lock().unwrap().is_empty());
    hand.advance(SECOND * 8 / 10);
    eventually("its time is up", || match poll_once(&mut get) {
        Poll::Pending => false,
        Poll::Ready(result) => {
            let result = result.map(drop);
            assert!(matches!(result, Err(GetError::TimedOut { .. })), "{result:?}");
            true
        }
    });
}
