//! Pools of plain objects.

use crate::common::*;
use caliburn::{Object, ObjectError, ObjectPool, ObjectStats};
use proptest::prelude::*;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// Counts objects that are there.
#[derive(Clone, Debug, Default)]
struct Census(Arc<AtomicUsize>);

#[derive(Debug)]
struct Thing {
    census: Census,
    value: usize,
}

impl Census {
    fn alive(&self) -> usize {
        self.0.load(SeqCst)
    }

    fn make(&self) -> Thing {
        self.0.fetch_add(1, SeqCst);
        Thing { census: self.clone(), value: 0 }
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, SeqCst);
    }
}

fn things(max_size: usize) -> (ObjectPool<Thing>, Census) {
    let census = Census::default();
    let maker = census.clone();
    (ObjectPool::new(max_size, move || maker.make()).unwrap(), census)
}

fn wait_for<T: Send, E>(pool: &ObjectPool<T, E>, waiting: usize) {
    eventually("they wait", || pool.stats().waiting == waiting);
}

#[test]
fn objects_are_made_when_they_are_needed_and_then_lent_again() {
    let (pool, census) = things(2);
    assert_eq!(census.alive(), 0);
    pool.get().unwrap().value = 7;
    assert_eq!((pool.get().unwrap().value, census.alive()), (7, 1));
    let both = [pool.get().unwrap(), pool.try_get().unwrap()];
    assert_eq!(census.alive(), 2);
    assert_eq!(pool.try_get().unwrap_err(), ObjectError::Empty);
    let late = pool.get_timeout(Duration::from_millis(2)).unwrap_err();
    assert!(matches!(late, ObjectError::TimedOut { waited } if waited.as_millis() >= 2));
    drop(both);
    let stats = pool.stats();
    assert_eq!((stats.max_size, stats.size, stats.idle, stats.lent), (2, 2, 2, 0));
    assert_eq!((stats.checkouts, stats.returns, stats.made, stats.gone), (4, 4, 2, 0));
    assert_eq!((stats.waits, stats.waiting), (1, 0));
}

#[test]
fn no_more_objects_than_allowed_however_many_borrow() {
    const LOANS: usize = 2_000;
    let (pool, census) = things(3);
    thread::scope(|scope| {
        for number in 0..8 {
            let (pool, census) = (&pool, &census);
            scope.spawn(move || {
                for loan in 0..LOANS {
                    let mut thing = pool.get().unwrap();
                    thing.value += 1;
                    assert!(census.alive() <= 3);
                    if (loan + number) % 64 == 0 {
                        Object::discard(thing);
                    }
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.checkouts, stats.returns), (8 * LOANS as u64, 8 * LOANS as u64));
    assert_eq!((stats.lent, stats.waiting, stats.size), (0, 0, census.alive()));
    assert_eq!(stats.made - stats.gone, census.alive() as u64);
}

#[test]
fn threads_and_tasks_stand_in_one_line() {
    let (pool, _) = things(1);
    let held = pool.get().unwrap();
    let mut task = pin!(pool.get_async());
    assert!(poll_once(&mut task).is_pending());
    thread::scope(|scope| {
        let second = scope.spawn(|| drop(pool.get().unwrap()));
        wait_for(&pool, 2);
        let mut third = pin!(pool.get_async());
        assert!(poll_once(&mut third).is_pending());
        drop(held);
        assert!(poll_once(&mut third).is_pending());
        let Poll::Ready(Ok(first)) = poll_once(&mut task) else { panic!("it was the first") };
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
        assert!(matches!(poll_once(&mut third), Poll::Ready(Ok(_))));
    });
    assert_eq!(pool.stats().waits, 3);
}

/// Compiles.
#[test]
fn futures_and_guards_may_change_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_sync<T: Sync>(_: &T) {}
    let pool = is_send(ObjectPool::new(1, || 1).unwrap());
    is_sync(&pool);
    let mut future = pin!(is_send(pool.get_async()));
    let Poll::Ready(Ok(object)) = poll_once(&mut future) else { panic!("there is room") };
    is_sync(&object);
    drop(is_send(object));
}

#[test]
fn a_future_that_is_dropped_passes_on_what_it_was_handed() {
    let (pool, _) = things(1);
    let held = pool.get().unwrap();
    let mut later = pin!(pool.get_async());
    {
        let mut first = pin!(pool.get_async());
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut later).is_pending());
        // It is handed room for an object, then.
        Object::discard(held);
    }
    assert!(matches!(poll_once(&mut later), Poll::Ready(Ok(_))));
    let mut left = pin!(pool.get_async());
    {
        let held = pool.get().unwrap();
        assert!(poll_once(&mut left).is_pending());
        drop(held);
    }
    drop(pool.try_get());
    assert!(matches!(poll_once(&mut left), Poll::Ready(Ok(_))));
}

#[test]
fn room_goes_to_the_borrower_that_has_waited_longest() {
    let (pool, census) = things(1);
    for give_back in [Object::discard, |thing| drop(Object::take(thing))] {
        let held = pool.get().unwrap();
        let (mut first, mut second) = (pin!(pool.get_async()), pin!(pool.get_async()));
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
        give_back(held);
        assert_eq!(census.alive(), 0);
        assert!(poll_once(&mut second).is_pending());
        let Poll::Ready(Ok(thing)) = poll_once(&mut first) else { panic!("there is room") };
        assert_eq!(census.alive(), 1);
        drop(thing);
        assert!(matches!(poll_once(&mut second), Poll::Ready(Ok(_))));
    }
}

#[test]
fn each_borrower_gets_its_own_error_of_a_maker_that_fails() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let make = move || if broken.load(SeqCst) { Err("broken".to_owned()) } else { Ok(1) };
    let pool = ObjectPool::<u32>::builder(1).build_fallible(make).unwrap();
    let held = pool.get().unwrap();
    is_broken.store(true, SeqCst);
    thread::scope(|scope| {
        let waiters = [(); 3].map(|()| scope.spawn(|| pool.get().map(drop)));
        wait_for(&pool, 3);
        Object::discard(held);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(ObjectError::Make("broken".to_owned())));
        }
    });
    assert_eq!(pool.try_get().map(drop), Err(ObjectError::Make("broken".to_owned())));
    assert_eq!(pool.prepare(1), Err("broken".to_owned()));
    assert_eq!(pool.stats().size, 0);
    is_broken.store(false, SeqCst);
    assert_eq!(*pool.get().unwrap(), 1);
}

#[test]
fn a_maker_that_panics_costs_its_borrower_and_no_room() {
    expect_panics();
    let panics = Arc::new(AtomicUsize::new(2));
    let left = panics.clone();
    let pool = ObjectPool::new(1, move || {
        let is_due = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!is_due, "{ON_PURPOSE}");
        5
    });
    let pool = pool.unwrap();
    assert!(catch_unwind(|| pool.get().map(drop)).is_err());
    assert_eq!(pool.stats().size, 0);
    assert!(catch_unwind(|| pool.try_get().map(drop)).is_err());
    assert_eq!(*pool.try_get().unwrap(), 5);
    // While others wait, the next of them has its turn.
    let held = pool.get().unwrap();
    panics.store(1, SeqCst);
    thread::scope(|scope| {
        let waiters = [(); 3].map(|()| scope.spawn(|| *pool.get().unwrap()));
        wait_for(&pool, 3);
        Object::discard(held);
        let ends = waiters.map(|waiter| waiter.join().ok());
        assert_eq!(ends.iter().flatten().collect::<Vec<_>>(), [&5, &5]);
    });
}

#[test]
fn what_reset_refuses_is_dropped_and_so_is_what_it_panics_over() {
    expect_panics();
    let census = Census::default();
    let maker = census.clone();
    let pool = ObjectPool::builder(2)
        .reset(|thing: &mut Thing| {
            assert_ne!(thing.value, 13, "{ON_PURPOSE}");
            thing.value = 0;
            thing.census.alive() < 2
        })
        .build(move || maker.make())
        .unwrap();
    pool.get().unwrap().value = 1;
    assert_eq!((pool.get().unwrap().value, census.alive()), (0, 1));
    let both = [pool.get().unwrap(), pool.get().unwrap()];
    drop(both);
    assert_eq!((census.alive(), pool.stats().size), (1, 1));
    pool.get().unwrap().value = 13;
    assert_eq!((census.alive(), pool.stats().size), (0, 0));
    assert_eq!(pool.get().unwrap().value, 0);
}

#[test]
fn an_object_whose_borrower_panics_is_dropped() {
    expect_panics();
    let (pool, census) = things(1);
    let panicked = catch_unwind(|| {
        let _thing = pool.get().unwrap();
        panic!("{ON_PURPOSE}");
    });
    assert!(panicked.is_err());
    assert_eq!((census.alive(), pool.stats().size), (0, 0));
    drop(pool.get().unwrap());
    assert_eq!(census.alive(), 1);
}

#[test]
fn guards_outlive_their_pool_and_nothing_is_left_behind() {
    let (pool, census) = things(3);
    pool.prepare(3).unwrap();
    let (held, taken) = (pool.get().unwrap(), Object::take(pool.get().unwrap()));
    let again = pool.clone();
    drop(pool);
    assert_eq!(census.alive(), 3);
    drop(again.get().unwrap());
    drop(again);
    assert_eq!(census.alive(), 2, "the idle ones have gone");
    assert_eq!(held.value, 0);
    thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!(census.alive(), 1);
    drop(taken);
    assert_eq!(census.alive(), 0);
}

#[test]
fn destructors_that_panic_do_no_harm() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("{ON_PURPOSE}");
            }
        }
    }
    expect_panics();
    let pool = ObjectPool::builder(2).reset(|_: &mut Bomb| false).build(|| Bomb).unwrap();
    (0..3).for_each(|_| drop(pool.get().unwrap()));
    assert_eq!((pool.stats().size, pool.stats().gone), (0, 3));
    let pool = ObjectPool::new(2, || Bomb).unwrap();
    pool.prepare(2).unwrap();
    let held = pool.get().unwrap();
    drop(pool);
    drop(held);
    // What the functions own goes with the pool, on whichever thread that ends it.
    let [of_make, of_reset] = [(); 2].map(|()| [Bomb]);
    let reset = move |_: &mut usize| !of_reset.is_empty();
    let pool = ObjectPool::builder(1).reset(reset).build(move || of_make.len()).unwrap();
    let held = pool.get().unwrap();
    drop(pool);
    drop(held);
}

/// However it goes, and however long its destructor takes.
#[test]
fn an_object_has_gone_before_another_is_made_in_its_place() {
    struct Slow(Census);
    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(20));
            self.0.0.fetch_sub(1, SeqCst);
        }
    }
    fn panic_with(_object: Object<Slow>) {
        panic!("{ON_PURPOSE}");
    }
    expect_panics();
    let (census, most) = (Census::default(), Arc::new(AtomicUsize::new(0)));
    let (maker, most_made) = (census.clone(), most.clone());
    let pool = ObjectPool::builder(1).reset(|_: &mut Slow| false).build(move || {
        most_made.fetch_max(maker.0.fetch_add(1, SeqCst) + 1, SeqCst);
        Slow(maker.clone())
    });
    let pool = pool.unwrap();
    for give_back in [Object::discard, drop, panic_with] {
        let held = pool.get().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| drop(pool.get().unwrap()));
            wait_for(&pool, 1);
            let _ = catch_unwind(|| give_back(held));
            waiter.join().unwrap();
        });
    }
    assert_eq!((most.load(SeqCst), pool.stats().size), (1, 0));
}

/// Each way, the waiter that was promised room leaves, and an object lies idle.
#[test]
fn an_idle_object_is_preferred_to_room_that_a_waiter_left_behind() {
    type Way = fn(&ObjectPool<u32, ()>) -> u32;
    let ways: [Way; 4] = [
        |pool| *pool.try_get().unwrap(),
        |pool| *pool.get().unwrap(),
        |pool| *pool.get_timeout(Duration::ZERO).unwrap(),
        |pool| {
            let mut future = pin!(pool.get_async());
            let Poll::Ready(Ok(object)) = poll_once(&mut future) else { panic!("one is idle") };
            *object
        },
    ];
    for borrow in ways {
        let (pool, first, second) = fixed_set();
        {
            let mut leaves = pin!(pool.get_async());
            assert!(poll_once(&mut leaves).is_pending());
            Object::take(first);
        }
        drop(second);
        assert_eq!(borrow(&pool), 2);
        assert_eq!((pool.stats().size, pool.stats().idle), (1, 1));
        // The room has not gone.
        pool.add(3).unwrap();
        let both = [pool.try_get().unwrap(), pool.try_get().unwrap()];
        assert_eq!(both.iter().map(|object| **object).sum::<u32>(), 5);
    }
}

#[test]
fn a_waiter_that_has_room_prefers_an_object_that_has_come_back_since() {
    let (pool, first, second) = fixed_set();
    let mut waits = pin!(pool.get_async());
    assert!(poll_once(&mut waits).is_pending());
    Object::take(first);
    drop(second);
    assert!(matches!(poll_once(&mut waits), Poll::Ready(Ok(object)) if *object == 2));
    pool.add(3).unwrap();
}

/// Objects 1 and 2, lent, of a pool that makes none.
fn fixed_set() -> (ObjectPool<u32, ()>, Object<u32>, Object<u32>) {
    let pool = ObjectPool::builder(2).build_fallible(|| Err(())).unwrap();
    pool.add(1).unwrap();
    let first = pool.get().unwrap();
    pool.add(2).unwrap();
    let second = pool.get().unwrap();
    (pool, first, second)
}

#[test]
fn objects_are_added_and_made_ahead_as_far_as_there_is_room() {
    let pool = ObjectPool::new(2, || 1).unwrap();
    pool.add(7).unwrap();
    pool.prepare(9).unwrap();
    assert_eq!(pool.stats().idle, 2);
    assert_eq!(pool.add(8), Err(8));
    let both = [pool.get().unwrap(), pool.get().unwrap()].map(Object::take);
    assert_eq!(both.iter().sum::<i32>(), 8);
    // Room that a borrower was handed and has left.
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    {
        let mut left = pin!(pool.get_async());
        assert!(poll_once(&mut left).is_pending());
        held.into_iter().for_each(Object::discard);
    }
    pool.add(3).unwrap();
    pool.add(4).unwrap();
    assert_eq!(pool.add(5), Err(5));
    assert_eq!(pool.stats().size, 2);
}

/// Nothing will come any more, however many wait and in whatever way the last objects go.
#[test]
fn of_a_fixed_set_that_is_taken_out_all_that_wait_get_the_error_of_the_maker() {
    for take in [|thing| _ = Object::take(thing), Object::discard] {
        let (pool, first, second) = fixed_set();
        let (mut one, mut two) = (pin!(pool.get_async()), pin!(pool.get_async()));
        assert!(poll_once(&mut one).is_pending() && poll_once(&mut two).is_pending());
        thread::scope(|scope| {
            let waiters = [(); 3].map(|()| scope.spawn(|| pool.get().map(drop)));
            wait_for(&pool, 5);
            take(first);
            take(second);
            // A thread that has just joined the line may be the one that hands the room on.
            for task in [one.as_mut(), two.as_mut()] {
                let told = drive(PLENTY, task).expect("it is told");
                assert!(matches!(told, Err(ObjectError::Make(()))));
            }
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Err(ObjectError::Make(())));
            }
        });
        assert_eq!((pool.stats().waiting, pool.stats().size), (0, 0));
    }
}

#[test]
fn who_finds_none_because_they_are_being_made_is_told_so() {
    let (begun, may_end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (begins, ends) = (begun.clone(), may_end.clone());
    let make = move || {
        begins.wait();
        ends.wait();
        1
    };
    let pool = ObjectPool::new(1, make).unwrap();
    let (at_once, late, stats) = thread::scope(|scope| {
        let maker = scope.spawn(|| *pool.get().unwrap());
        begun.wait();
        let at_once = pool.try_get().map(drop).unwrap_err();
        let late = pool.get_timeout(Duration::from_millis(1)).map(drop).unwrap_err();
        let stats = pool.stats();
        may_end.wait();
        assert_eq!(maker.join().unwrap(), 1);
        (at_once, late, stats)
    });
    assert_eq!(at_once, ObjectError::BeingMade);
    assert!(!at_once.to_string().contains("all objects are lent"), "{at_once}");
    assert!(late.to_string().ends_with("all are lent or being made"), "{late}");
    assert_eq!((stats.making, stats.size, stats.lent, stats.idle), (1, 0, 0, 0));
    let held = pool.get().unwrap();
    assert_eq!(pool.try_get().unwrap_err(), ObjectError::Empty);
    assert_eq!((pool.stats().making, pool.stats().lent), (0, 1));
    drop(held);
}

#[test]
fn objects_whose_making_fails_or_panics_are_not_being_made_any_more() {
    expect_panics();
    let pool = ObjectPool::<u32>::builder(1).build_fallible(|| Err(())).unwrap();
    assert_eq!(pool.get().unwrap_err(), ObjectError::Make(()));
    assert_eq!(pool.stats().making, 0);
    let pool = ObjectPool::<u32>::new(1, || panic!("{ON_PURPOSE}")).unwrap();
    assert!(catch_unwind(|| pool.get().map(drop)).is_err());
    assert_eq!(pool.stats().making, 0);
}

#[test]
fn the_figures_of_one_snapshot_do_not_contradict_each_other() {
    let pool = ObjectPool::new(3, || 1).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4_usize {
            let (pool, is_over) = (&pool, &is_over);
            scope.spawn(move || {
                for turn in number.. {
                    if is_over.load(SeqCst) {
                        return;
                    }
                    let object = pool.get().unwrap();
                    match turn % 3 {
                        0 => drop(object),
                        1 => Object::discard(object),
                        _ => drop(Object::take(object)),
                    }
                }
            });
        }
        let agree = |stats: &ObjectStats| {
            stats.checkouts.checked_sub(stats.returns) == Some(stats.lent as u64)
                && stats.made.checked_sub(stats.gone) == Some(stats.size as u64)
                && stats.idle + stats.lent == stats.size
                && stats.size + stats.making <= stats.max_size
        };
        let odd = (0..50_000).map(|_| pool.stats()).find(|stats| !agree(stats));
        is_over.store(true, SeqCst);
        assert_eq!(odd, None);
    });
}

#[test]
fn a_size_that_makes_no_sense_is_refused() {
    for (size, text) in [(0, "must not be zero"), (caliburn::MAX_CAPACITY + 1, "capacity")] {
        let error = ObjectPool::new(size, || 1).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Get,
    Wait,
    Poll,
    Leave,
    Return(usize),
    Discard(usize),
    Take(usize),
    Add,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Get),
        3 => Just(Op::Wait),
        2 => Just(Op::Poll),
        1 => Just(Op::Leave),
        4 => any::<usize>().prop_map(Op::Return),
        2 => any::<usize>().prop_map(Op::Discard),
        1 => any::<usize>().prop_map(Op::Take),
        1 => Just(Op::Add),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_object_and_no_borrower_is_lost_whatever_is_done(
        max_size in 1..4_usize,
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let (pool, census) = things(max_size);
        let mut lent = Vec::new();
        let mut waiting: Vec<std::pin::Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
        for op in ops {
            match op {
                Op::Get => lent.extend(pool.try_get().ok()),
                Op::Wait => waiting.push(Box::pin(pool.get_async())),
                Op::Poll => {}
                Op::Leave => drop(waiting.pop()),
                Op::Return(which) if !lent.is_empty() => {
                    drop(lent.swap_remove(which % lent.len()));
                }
                Op::Discard(which) if !lent.is_empty() => {
                    Object::discard(lent.swap_remove(which % lent.len()));
                }
                Op::Take(which) if !lent.is_empty() => {
                    drop(Object::take(lent.swap_remove(which % lent.len())));
                }
                Op::Add => drop(pool.add(census.make())),
                Op::Return(_) | Op::Discard(_) | Op::Take(_) => {}
            }
            let mut still = Vec::new();
            for mut future in waiting.drain(..) {
                match poll_once(&mut future) {
                    Poll::Ready(thing) => lent.push(thing.unwrap()),
                    Poll::Pending => still.push(future),
                }
            }
            waiting = still;
            let stats = pool.stats();
            prop_assert!(stats.size <= max_size);
            prop_assert_eq!((stats.lent, stats.size), (lent.len(), census.alive()));
            // None waits while something is free.
            prop_assert!(waiting.is_empty() || stats.lent == max_size, "{:?}", stats);
        }
        drop(waiting);
        lent.clear();
        let all: Vec<_> = (0..max_size).map(|_| pool.try_get().unwrap()).collect();
        drop(pool);
        drop(all);
        prop_assert_eq!(census.alive(), 0);
    }
}
