//! Threads at a pool's throat: for ThreadSanitizer, which `.ci/deep` runs it under, and for any
//! other run.
//!
//! Without the test harness, whose own threads ThreadSanitizer complains about; see
//! `.ci/tsan.supp`. The connections carry plain numbers that borrowers change, so a slot with two
//! owners is a data race.
#![allow(missing_docs)]

use caliburn::{BlockingManager, Deadline, GetError, Manager, Pool, PooledConnection};
use caliburn::{Object, ObjectPool};
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const THREADS: usize = 4;
const ROUNDS: usize = 300;
const PLENTY: Duration = Duration::from_secs(20);

struct Numbers {
    alive: Arc<AtomicUsize>,
}

struct Number {
    /// Changed by borrowers and pings without any synchronisation of their own.
    value: u64,
    is_broken: bool,
    alive: Arc<AtomicUsize>,
}

impl Drop for Number {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

impl Manager for Numbers {
    type Connection = Number;
    type Error = Infallible;

    fn has_broken(&self, conn: &mut Number) -> bool {
        conn.value += 1;
        conn.is_broken
    }
}

impl BlockingManager for Numbers {
    fn connect(&self, _: &Deadline) -> Result<Number, Infallible> {
        self.alive.fetch_add(1, Relaxed);
        Ok(Number { value: 0, is_broken: false, alive: Arc::clone(&self.alive) })
    }

    fn ping(&self, conn: &mut Number, _: &Deadline) -> Result<(), Infallible> {
        conn.value += 1;
        Ok(())
    }
}

/// What one thread does in one round.
fn hammer(pool: &Pool<Numbers>, thread: usize, round: usize) -> Result<(), GetError<Infallible>> {
    match (thread + round) % 12 {
        0..=4 => pool.get_timeout(PLENTY)?.value += 1,
        5 => {
            if let Ok(mut conn) = pool.try_get() {
                conn.value += 1;
            }
        }
        6 => {
            // A task that waits, and leaves or takes what it was given.
            let mut wait = pin!(pool.get_timeout_async(PLENTY));
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..=round % 3 {
                if let Poll::Ready(conn) = wait.as_mut().poll(&mut cx) {
                    conn?.value += 1;
                    break;
                }
                thread::yield_now();
            }
        }
        7 => {
            let mut conn = pool.get_timeout(PLENTY)?;
            conn.value += 1;
            conn.is_broken = round.is_multiple_of(3);
        }
        8 => PooledConnection::discard(pool.get_timeout(PLENTY)?),
        9 => drop(PooledConnection::detach(pool.get_timeout(PLENTY)?)),
        10 => {
            let mut conn = pool.get_timeout(PLENTY)?;
            PooledConnection::suspect(&mut conn);
            // The guard ends on another thread.
            thread::spawn(move || conn.value += 1).join().unwrap();
        }
        _ if round.is_multiple_of(2) => {
            let _ = pool.change(|settings| settings.max_size = round / 2 % 3 + 1);
        }
        _ => {
            pool.sweep();
            black_box((pool.stats(), pool.holders()));
        }
    }
    if round.is_multiple_of(7) {
        thread::yield_now();
    }
    Ok(())
}

/// All at once, and a close in the middle of it if `close_early`. If `manual_maintenance`, a thread
/// of the test does what the housekeeper and the workers do.
fn storm(manual_maintenance: bool, close_early: bool) {
    let alive = Arc::new(AtomicUsize::new(0));
    let builder = Pool::builder(Numbers { alive: Arc::clone(&alive) }).capacity(3).max_size(2);
    let pool =
        if manual_maintenance { builder.manual_maintenance() } else { builder }.build().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let keeper = manual_maintenance.then(|| {
        let (pool, is_over) = (pool.clone(), Arc::clone(&is_over));
        thread::spawn(move || {
            while !is_over.load(Relaxed) {
                pool.maintain();
                thread::yield_now();
            }
        })
    });
    let ready = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (pool, ready) = (pool.clone(), Arc::clone(&ready));
            thread::spawn(move || {
                // All behind one line, or two cores may never meet.
                ready.fetch_add(1, Relaxed);
                while ready.load(Relaxed) < THREADS {
                    thread::yield_now();
                }
                for round in 0..ROUNDS {
                    if close_early && thread == 0 && round == ROUNDS / 2 {
                        pool.close();
                    }
                    match hammer(&pool, thread, round) {
                        Ok(()) => {}
                        Err(GetError::Closed) if close_early => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    is_over.store(true, Relaxed);
    if let Some(keeper) = keeper {
        keeper.join().unwrap();
    }
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert_eq!(alive.load(Relaxed), 0, "a connection was left: {pool:?}");
}

/// The same with plain objects, which the threads make and drop themselves.
fn storm_of_objects() {
    let alive = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&alive);
    let reset = |number: &mut Number| {
        number.value += 1;
        !number.is_broken
    };
    let pool = ObjectPool::builder(2).reset(reset).build(move || {
        counter.fetch_add(1, Relaxed);
        Number { value: 0, is_broken: false, alive: Arc::clone(&counter) }
    });
    let pool = pool.unwrap();
    let hammer = |thread: usize, round: usize| match (thread + round) % 8 {
        0..=2 => pool.get().unwrap().value += 1,
        3 => drop(pool.get_timeout(Duration::from_micros(20))),
        4 => {
            let mut wait = pin!(pool.get_async());
            if let Poll::Ready(number) = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                number.unwrap().value += 1;
            }
        }
        5 => pool.get().unwrap().is_broken = round.is_multiple_of(3),
        6 => Object::discard(pool.get().unwrap()),
        _ => {
            let mut number = pool.get().unwrap();
            thread::spawn(move || number.value += 1).join().unwrap();
        }
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || (0..ROUNDS).for_each(|round| hammer(thread, round)));
        }
    });
    assert_eq!(pool.stats().size, alive.load(Relaxed));
    drop(pool);
    assert_eq!(alive.load(Relaxed), 0, "an object was left");
}

/// With the argument `manual`, only storms without the pool's threads: ThreadSanitizer does not
/// understand the condition variable of `std` that those sleep on.
fn main() {
    let only_manual = std::env::args().any(|argument| argument == "manual");
    for manual_maintenance in [true, false] {
        if manual_maintenance || !only_manual {
            for close_early in [false, true, true] {
                storm(manual_maintenance, close_early);
            }
        }
    }
    storm_of_objects();
    println!("no storm lost anything");
}
