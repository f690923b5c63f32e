//! The line: its order, its wake-ups, and that nothing is left of those who went away.

use crate::common::*;
use caliburn::{GetError, Pool, PooledConnection};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

type Get<'a> =
    Pin<Box<dyn Future<Output = Result<PooledConnection<Fake>, GetError<FakeError>>> + Send + 'a>>;

fn pool(fake: &Fake, size: usize) -> Pool<Fake> {
    Pool::builder(fake.clone())
        .max_size(size)
        .min_size(size)
        .manual_maintenance()
        .wait_ready(PLENTY)
        .build()
        .unwrap()
}

/// Notes which of many futures was woken.
struct Note {
    index: usize,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push(self.index);
    }
}

#[test]
fn a_thousand_tasks_on_fifty_slots_are_served_exactly_in_the_order_of_their_arrival() {
    let fake = Fake::new();
    let pool = pool(&fake, 50);
    let mut held: Vec<_> = (0..50).map(|_| pool.try_get().unwrap()).collect();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let wakers: Vec<_> = (0..1000)
        .map(|index| Waker::from(Arc::new(Note { index, woken: woken.clone() })))
        .collect();
    let mut tasks: Vec<Get<'_>> =
        (0..1000).map(|_| Box::pin(pool.get_async()) as Get<'_>).collect();
    for (task, waker) in tasks.iter_mut().zip(&wakers) {
        assert!(task.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    let mut served = Vec::new();
    while served.len() < 1000 {
        drop(held.pop().expect("whoever is served holds a connection"));
        // One release, one wake-up.
        let mut now = std::mem::take(&mut *woken.lock().unwrap());
        assert_eq!(now.len(), 1);
        let index = now.remove(0);
        let task = tasks[index].as_mut();
        match task.poll(&mut Context::from_waker(&wakers[index])) {
            Poll::Ready(Ok(connection)) => held.insert(0, connection),
            other => panic!("woken without a connection: {other:?}"),
        }
        served.push(index);
    }
    assert_eq!(served, (0..1000).collect::<Vec<_>>());
    drop((tasks, held));
    assert_settled(&pool, fake.books());
}

#[test]
fn threads_and_tasks_stand_in_one_line() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.try_get().unwrap();
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut first_task = Box::pin(pool.get_async());
        assert!(poll_once(&mut first_task).is_pending());
        threads.push(scope.spawn(|| {
            let connection = pool.get().unwrap();
            order.lock().unwrap().push("thread");
            drop(connection);
        }));
        eventually("the thread waits", || pool.stats().waiting == 2);
        let mut second_task = Box::pin(pool.get_async());
        assert!(poll_once(&mut second_task).is_pending());
        drop(held);
        // The thread may still be at its own arrival, and grants it on its way.
        let mut first = None;
        eventually("the first task is served", || match poll_once(&mut first_task) {
            Poll::Ready(connection) => {
                first = connection.ok();
                true
            }
            Poll::Pending => false,
        });
        assert!(poll_once(&mut second_task).is_pending());
        order.lock().unwrap().push("first task");
        drop(first);
        eventually("the thread has been served", || order.lock().unwrap().len() == 2);
        let mut second = None;
        eventually("the second task is served", || match poll_once(&mut second_task) {
            Poll::Ready(connection) => {
                second = Some(connection.unwrap());
                true
            }
            Poll::Pending => false,
        });
        order.lock().unwrap().push("second task");
    });
    assert_eq!(*order.lock().unwrap(), ["first task", "thread", "second task"]);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_newcomer_does_not_take_what_somebody_waits_for() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.try_get().unwrap();
    let mut waiter = Box::pin(pool.get_async());
    assert!(poll_once(&mut waiter).is_pending());
    drop(held);
    // Granted, though the waiter has not looked yet.
    assert!(pool.try_get().is_err());
    assert!(matches!(poll_once(&mut waiter), Poll::Ready(Ok(_))));
    drop(waiter);
    assert!(pool.try_get().is_ok());
}

/// A small generator of repeatable chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// How many futures and waits the two tests below try; a release build does a million of each in
/// seconds.
const MANY: usize = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };

#[test]
fn futures_dropped_at_a_random_depth_leave_every_slot_and_no_node() {
    let fake = Fake::new();
    let pool = pool(&fake, 4);
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let mut held = Vec::new();
    let mut tasks: Vec<Get<'_>> = Vec::new();
    for _ in 0..MANY {
        match chance.below(8) {
            0..4 => {
                let mut task = Box::pin(pool.get_async()) as Get<'_>;
                if let Poll::Ready(connection) = poll_once(&mut task) {
                    held.push(connection.unwrap());
                } else {
                    tasks.push(task);
                }
            }
            4 if !tasks.is_empty() => {
                // Perhaps it is served already, and nobody will ever know.
                let index = chance.below(tasks.len() as u64) as usize;
                drop(tasks.swap_remove(index));
            }
            5 if !tasks.is_empty() => {
                let index = chance.below(tasks.len() as u64) as usize;
                if let Poll::Ready(connection) = poll_once(&mut tasks[index]) {
                    drop(tasks.swap_remove(index));
                    held.push(connection.unwrap());
                }
            }
            _ if !held.is_empty() => {
                let index = chance.below(held.len() as u64) as usize;
                drop(held.swap_remove(index));
            }
            _ => {}
        }
        if tasks.len() > 64 {
            tasks.clear();
        }
    }
    drop((tasks, held));
    assert_settled(&pool, fake.books());
    assert_eq!(pool.stats().idle, 4);
}

#[test]
fn waits_that_time_out_leave_every_slot_and_no_node() {
    let (clock, hand) = caliburn::Clock::mock();
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(1)
        .min_size(1)
        .manual_maintenance()
        .clock(clock)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let held = pool.try_get().unwrap();
    let limit = Duration::from_millis(10);
    for _ in 0..MANY / 100 {
        let mut tasks: Vec<_> = (0..100).map(|_| Box::pin(pool.get_timeout_async(limit))).collect();
        assert!(tasks.iter_mut().all(|task| poll_once(task).is_pending()));
        hand.advance(limit);
        pool.maintain();
        for task in &mut tasks {
            let Poll::Ready(Err(GetError::TimedOut { waited, .. })) = poll_once(task) else {
                panic!("its time was up");
            };
            assert_eq!(waited, limit);
        }
        assert_eq!(pool.stats().waiter_nodes, 0);
    }
    assert_eq!(pool.stats().timeouts as usize, MANY / 100 * 100);
    drop(held);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_thread_whose_time_is_up_leaves_and_the_slot_stays() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.try_get().unwrap();
    for _ in 0..200 {
        let error = pool.get_timeout(Duration::from_micros(50)).unwrap_err();
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    }
    assert_eq!(pool.stats().waiter_nodes, 0);
    drop(held);
    assert_settled(&pool, fake.books());
}

#[test]
fn returns_and_cancellations_on_many_threads_lose_nothing() {
    let fake = Fake::new();
    let pool = pool(&fake, 2);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let (pool, served) = (&pool, &served);
            scope.spawn(move || {
                let mut chance = Chance(thread + 1);
                for _ in 0..3000 {
                    let limit = Duration::from_micros(chance.below(40));
                    match chance.below(3) {
                        0 => drop(poll_once(&mut Box::pin(pool.get_async()))),
                        1 => drop(pool.get_timeout(limit)),
                        _ => drop(pool.get_timeout(PLENTY).map(|_| served.fetch_add(1, SeqCst))),
                    }
                }
            });
        }
    });
    assert!(served.load(SeqCst) > 5000);
    assert_settled(&pool, fake.books());
    assert_eq!(pool.stats().idle, 2);
}

/// A waiter that shows a waker which is already known, at the moment when it is served, must look
/// again.
#[test]
fn nobody_is_left_waiting_with_a_connection_that_is_already_his() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(8)
        .min_size(8)
        .health(caliburn::health::PingOnBorrow::always())
        .checkout_timeout(Duration::MAX)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let pool = pool.clone();
            runtime.spawn(async move {
                for _ in 0..500 {
                    drop(pool.get_async().await.unwrap());
                    yield_once().await;
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            let ended = tokio::time::timeout(PLENTY, task).await;
            ended.expect("a task waits for ever").expect("no panic");
        }
    });
    assert_settled(&pool, fake.books());
}

#[test]
fn a_waker_that_panics_hurts_neither_the_returner_nor_the_others() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker panics");
        }
    }
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.try_get().unwrap();
    let mut bomb = Box::pin(pool.get_async());
    assert!(
        bomb.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Bomb)))).is_pending()
    );
    let mut other = Box::pin(pool.get_async());
    assert!(poll_once(&mut other).is_pending());
    drop(held);
    drop(bomb);
    assert!(matches!(poll_once(&mut other), Poll::Ready(Ok(_))));
    drop(other);
    assert_settled(&pool, fake.books());
}
