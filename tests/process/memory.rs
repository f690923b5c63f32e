//! What is allocated, counted by the allocator itself.
#![allow(unsafe_code, missing_docs)]

use crate::common::*;
use caliburn::health::{AgeEviction, PingOnBorrow};
use caliburn::{HealthStrategy, ObjectPool, Pool};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local! {
    // Of this thread alone: the test harness has others. All pools here are maintained manually.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to the allocator, and bytes that stayed, during `work`.
fn measure(work: impl FnOnce()) -> (usize, isize) {
    let (calls, bytes) = (CALLS.get(), BYTES.get());
    work();
    (CALLS.get() - calls, BYTES.get() - bytes)
}

fn pool(size: usize, strategy: impl HealthStrategy) -> Pool<Fake> {
    Pool::builder(Fake::new())
        .max_size(size)
        .min_size(size)
        .health(strategy)
        .manual_maintenance()
        .wait_ready(PLENTY)
        .build()
        .unwrap()
}

fn checkouts_and_returns_allocate_nothing(pool: &Pool<Fake>) {
    drop(pool.get().unwrap());
    let (calls, _) = measure(|| {
        for _ in 0..1000 {
            drop(pool.get().unwrap());
            drop(pool.try_get().unwrap());
            let mut get = std::pin::pin!(pool.get_async());
            drop(poll_once(&mut get.as_mut()));
        }
    });
    assert_eq!(calls, 0, "a checkout allocates");
}

fn a_wait_allocates_at_most_once_and_little(pool: &Pool<Fake>) {
    let held = pool.try_get().unwrap();
    // The first few waits make room in the line.
    for _ in 0..100 {
        let mut get = Box::pin(pool.get_timeout_async(Duration::from_secs(1)));
        assert!(poll_once(&mut get).is_pending());
    }
    let waits = 1000;
    let mut futures = Vec::with_capacity(waits);
    futures.extend((0..waits).map(|_| Box::pin(pool.get_timeout_async(Duration::from_secs(1)))));
    let (calls, bytes) = measure(|| {
        for get in &mut futures {
            assert!(poll_once(get).is_pending());
        }
    });
    // The line and its inbox grow in steps; beyond these it is one node for each.
    assert!(calls <= waits + waits / 25, "{calls} allocations for {waits} waits");
    println!(
        "a wait: {:.3} allocations, {} bytes",
        calls as f64 / waits as f64,
        bytes / waits as isize
    );
    drop(futures);
    drop(held);
    assert_eq!(pool.stats().waiter_nodes, 0);
}

fn a_hundred_thousand_waiting_tasks_cost_little(pool: &Pool<Fake>) {
    let held = pool.try_get().unwrap();
    let waiters = 100_000;
    let (_, left) = measure(|| {
        let mut futures: Vec<_> = (0..waiters)
            .map(|_| Box::pin(pool.get_timeout_async(Duration::from_secs(60))))
            .collect();
        let (_, bytes) = measure(|| {
            for get in &mut futures {
                assert!(poll_once(get).is_pending());
            }
        });
        println!("100,000 waiters: {} bytes each", bytes / waiters);
        assert!(bytes / waiters <= 160, "{} bytes for each waiter", bytes / waiters);
    });
    assert!(left < 256 * 1024, "{left} bytes stay when they have gone");
    drop(held);
    assert_eq!(pool.stats().waiter_nodes, 0);
}

fn departed_waiters_leave_no_memory(pool: &Pool<Fake>) {
    let held = pool.try_get().unwrap();
    let many = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let wait = || {
        let mut get = std::pin::pin!(pool.get_async());
        assert!(poll_once(&mut get.as_mut()).is_pending());
    };
    (0..1000).for_each(|_| wait());
    let (_, bytes) = measure(|| (0..many).for_each(|_| wait()));
    println!("{many} departed waiters: {bytes} bytes stay");
    assert!(bytes < 256 * 1024, "{bytes} bytes stay of {many} waiters");
    drop(held);
}

fn a_pool_and_its_slots_are_small() {
    let (_, bytes) = measure(|| std::mem::forget(pool(1, ())));
    let (_, more) = measure(|| std::mem::forget(pool(65, ())));
    println!("a pool: {bytes} bytes; each further slot: {} bytes", (more - bytes) / 64);
}

#[test]
fn memory() {
    let _alone = crate::alone();
    let bare = pool(4, ());
    checkouts_and_returns_allocate_nothing(&bare);
    checkouts_and_returns_allocate_nothing(&pool(
        4,
        (PingOnBorrow::default(), AgeEviction::default()),
    ));
    let one = pool(1, ());
    a_wait_allocates_at_most_once_and_little(&one);
    a_hundred_thousand_waiting_tasks_cost_little(&one);
    departed_waiters_leave_no_memory(&one);
    a_pool_and_its_slots_are_small();
}

#[test]
fn objects_are_lent_and_returned_without_an_allocation() {
    let _alone = crate::alone();
    let plain = ObjectPool::new(2, String::new).unwrap();
    let resetting = ObjectPool::builder(2).reset(|_: &mut String| true).build(String::new).unwrap();
    for pool in [plain, resetting] {
        drop(pool.get().unwrap());
        let (calls, _) = measure(|| {
            for _ in 0..1000 {
                drop(pool.get().unwrap());
                drop(pool.try_get().unwrap());
                drop(poll_once(&mut std::pin::pin!(pool.get_async())));
            }
        });
        assert_eq!(calls, 0, "a checkout allocates");
    }
}
