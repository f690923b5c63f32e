use super::life::TURN;
use super::*;
use crate::adapters::idle::Occasion;
use std::future::{pending, ready};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

const ENOUGH: Duration = Duration::from_secs(20);

fn of_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn of_threads(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// Where `runtimes` would open a connection, according to what is done there.
fn opens_in(runtimes: &Runtimes) -> Handle {
    let outside = of_one_thread();
    outside.block_on(runtimes.run(|| ready(Handle::current()))).0
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + ENOUGH;
    while !is_so() {
        assert!(Instant::now() < end, "not soon: {what}");
        thread::yield_now();
    }
}

fn wait_in(runtimes: &Runtimes, runtime: &Runtime) {
    assert!(runtime.block_on(async { runtimes.may_wait_here(Face::Async) }));
}

#[test]
fn connections_are_opened_where_the_last_borrower_waits() {
    let (one, other) = (of_threads(1), of_threads(1));
    let runtimes = one.block_on(async { Runtimes::here() });
    assert_eq!(opens_in(&runtimes).id(), one.handle().id());
    wait_in(&runtimes, &other);
    assert_eq!(opens_in(&runtimes).id(), other.handle().id());
    wait_in(&runtimes, &one);
    assert_eq!(opens_in(&runtimes).id(), one.handle().id());
}

#[test]
fn a_runtime_that_was_chosen_is_kept_as_long_as_it_is_there() {
    let (one, other) = (of_threads(1), of_threads(1));
    let mut runtimes = Runtimes::here();
    runtimes.choose(one.handle().clone());
    wait_in(&runtimes, &other);
    assert_eq!(opens_in(&runtimes).id(), one.handle().id());
    drop(one);
    assert!(opens_in(&runtimes).id() != other.handle().id(), "nobody waited there without choice");
}

#[test]
fn where_no_runtime_is_connections_live_on_one_of_the_crates_own() {
    let runtimes = Runtimes::here();
    let work = || async {
        sleep(Duration::from_millis(1)).await;
        thread::current().name().map(str::to_owned)
    };
    let (_, home) = of_one_thread().block_on(runtimes.run(work));
    assert!(!home.fails(Occasion::Loan));
    assert_eq!(home.runtime_thread(), Some("caliburn-runtime".to_owned()));
}

#[test]
fn connections_of_a_runtime_that_is_gone_fail() {
    for runtime in [of_one_thread(), of_threads(1)] {
        let home = home_of(&runtime);
        assert!(!home.is_lost());
        drop(runtime);
        assert!(home.fails(Occasion::Loan) && home.fails(Occasion::Return));
    }
}

/// A home with a connection in it, so to speak.
fn home_of(runtime: &Runtime) -> Arc<Home> {
    let runtimes = runtime.block_on(async { Runtimes::here() });
    runtime.block_on(runtimes.run(|| ready(()))).1
}

/// Drives `runtime` on a thread of its own until told to end: busily, or waiting.
fn drive(runtime: Runtime, busily: bool) -> (mpsc::Sender<()>, thread::JoinHandle<Runtime>) {
    let (sender, ended) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let thread = thread::spawn(move || {
        runtime.block_on(async {
            begun.send(()).unwrap();
            while let Err(mpsc::TryRecvError::Empty) = ended.try_recv() {
                if busily {
                    tokio::task::yield_now().await;
                } else {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
        runtime
    });
    has_begun.recv_timeout(ENOUGH).unwrap();
    (sender, thread)
}

#[test]
fn connections_of_a_runtime_that_is_not_driven_fail_elsewhere() {
    let (idle, driven) = (of_one_thread(), of_threads(1));
    let home = home_of(&idle);
    assert!(!idle.block_on(async { home.is_in_doubt() }), "here it is driven");
    // Nobody has asked yet.
    assert!(home.is_in_doubt() && !home.fails(Occasion::Loan));
    let begun = Instant::now();
    assert!(driven.block_on(home.run(pending::<()>())).is_none());
    assert!(begun.elapsed() < ENOUGH);
    assert!(home.fails(Occasion::Loan) && !home.is_in_doubt());
    assert!(!home.fails(Occasion::Return), "a return looks for the end only");
    // Known by now.
    assert!(driven.block_on(home.run(ready(()))).is_none());
    assert!(!home.is_lost());
    // It is again.
    idle.block_on(async {
        assert!(!home.fails(Occasion::Loan));
        tokio::task::yield_now().await;
    });
    assert!(!home.fails(Occasion::Loan) && home.is_in_doubt());
}

#[test]
fn a_runtime_that_waits_for_something_to_do_is_seen_to_be_driven() {
    let runtime = of_one_thread();
    let home = home_of(&runtime);
    let (end, thread) = drive(runtime, false);
    soon("it is parked", || !home.is_in_doubt());
    drop(end);
    drop(thread.join().unwrap());
    assert!(home.is_lost());
}

#[test]
fn a_busy_runtime_loses_nothing() {
    let runtime = of_one_thread();
    let home = home_of(&runtime);
    let (end, thread) = drive(runtime, true);
    let stays = of_threads(1).block_on(async {
        let stays = home.run(pending::<()>());
        tokio::time::timeout(2 * PATIENCE * TURN, stays).await
    });
    assert!(stays.is_err(), "it answers between two of its turns");
    assert!(!home.fails(Occasion::Loan));
    drop(end);
    thread.join().unwrap();
}

/// Each waits for the other's answers.
#[test]
fn runtimes_that_ask_each_other_lose_nothing() {
    let homes: Vec<_> = (0..2).map(|_| of_one_thread()).map(|it| (home_of(&it), it)).collect();
    let others: Vec<_> = homes.iter().rev().map(|(home, _)| Arc::clone(home)).collect();
    let asking = homes.into_iter().zip(others).map(|((_, runtime), other)| {
        thread::spawn(move || {
            runtime.block_on(async {
                for _ in 0..100 {
                    assert!(!other.fails(Occasion::Loan));
                    assert!(other.answers(PATIENCE).await);
                }
            });
            // Driven until the other has its answers, too.
            runtime.block_on(async { sleep(Duration::from_secs(1)).await });
        })
    });
    let asking: Vec<_> = asking.collect();
    asking.into_iter().for_each(|it| it.join().unwrap());
}

#[test]
fn a_look_at_a_runtime_waits_for_nothing() {
    let runtime = of_one_thread();
    let home = home_of(&runtime);
    let begun = Instant::now();
    for _ in 0..10_000 {
        assert!(home.is_in_doubt() && !home.fails(Occasion::Loan));
    }
    assert!(begun.elapsed() < ENOUGH / 4, "{:?}", begun.elapsed());
}

#[test]
fn a_runtime_that_was_entered_and_is_not_driven_opens_nothing() {
    let runtime = of_one_thread();
    let entered = runtime.enter();
    let runtimes = Runtimes::here();
    assert!(runtimes.may_wait_here(Face::Blocking));
    drop(entered);
    assert_eq!(opens_in(&runtimes).id(), Home::in_background().handle().id());
    // A task there that nothing else drives.
    assert!(runtime.handle().block_on(async { runtimes.may_wait_here(Face::Async) }));
    assert_eq!(opens_in(&runtimes).id(), Home::in_background().handle().id());
}

#[test]
fn the_crates_own_runtime_is_never_given_up_for_being_late() {
    let home = Home::in_background();
    let (begun, has_begun) = mpsc::channel();
    let late = home.handle().spawn(async move {
        begun.send(()).unwrap();
        thread::sleep(2 * PATIENCE * TURN);
    });
    has_begun.recv_timeout(ENOUGH).unwrap();
    let runtimes = Runtimes::here();
    let waiting = of_one_thread();
    let pending = runtimes.run(|| sleep(Duration::from_millis(1)));
    // A borrower elsewhere has what is under way hurried.
    let opened = waiting.block_on(async {
        home.hurry();
        pending.await.1
    });
    assert!(Arc::ptr_eq(&opened, &home) && !home.is_lost() && !home.is_in_doubt());
    waiting.block_on(late).unwrap();
    assert!(Arc::ptr_eq(&Home::in_background(), &home));
}

#[test]
fn a_home_without_guests_is_watched_no_longer() {
    let runtime = of_one_thread();
    let home = home_of(&runtime);
    assert!(of_threads(1).block_on(home.run(pending::<()>())).is_none());
    soon("the watch has ended", || Arc::strong_count(&home) == 1);
    drop(runtime);
}

#[test]
fn what_is_being_opened_on_a_runtime_that_is_lost_is_opened_on_another() {
    let ways: [fn(Runtime) -> Option<Runtime>; 2] = [Some, |runtime| {
        drop(runtime);
        None
    }];
    for leave in ways {
        let (left, taken) = (of_one_thread(), of_threads(1));
        let left_id = left.handle().id();
        let runtimes = Arc::new(left.block_on(async { Runtimes::here() }));
        let (begun, has_begun) = mpsc::channel();
        let connect = {
            let runtimes = Arc::clone(&runtimes);
            thread::spawn(move || {
                let work = || async {
                    begun.send(()).unwrap();
                    if Handle::current().id() == left_id {
                        pending::<()>().await;
                    }
                };
                let (_, home) = of_one_thread().block_on(runtimes.run(work));
                home
            })
        };
        has_begun.recv_timeout(ENOUGH).unwrap();
        let left = leave(left);
        wait_in(&runtimes, &taken);
        let home = connect.join().unwrap();
        let is_elsewhere = home.is(taken.handle()) || home.is(&Home::in_background().handle());
        assert!(is_elsewhere && !home.fails(Occasion::Loan));
        drop(left);
    }
}

#[test]
fn a_thread_may_not_wait_for_what_it_has_to_drive_itself() {
    let is_alone = |runtime: &Runtime, on_a_worker: bool| {
        let runtimes = Arc::new(runtime.block_on(async { Runtimes::here() }));
        let may_wait = move || runtimes.may_wait_here(Face::Blocking);
        runtime.block_on(async move {
            if on_a_worker {
                tokio::spawn(async move { may_wait() }).await.unwrap()
            } else {
                may_wait()
            }
        })
    };
    assert!(!is_alone(&of_one_thread(), false));
    assert!(!is_alone(&of_one_thread(), true));
    assert!(!is_alone(&of_threads(1), true));
    assert!(is_alone(&of_threads(1), false), "the thread of `block_on` drives nothing");
    assert!(is_alone(&of_threads(2), true), "another worker may drive it");
}

#[test]
fn a_thread_beside_the_runtime_may_wait() {
    let runtime = of_one_thread();
    let runtimes = Arc::new(runtime.block_on(async { Runtimes::here() }));
    assert!(runtimes.may_wait_here(Face::Blocking));
    let may_wait = move || runtimes.may_wait_here(Face::Blocking);
    assert!(runtime.block_on(async { tokio::task::spawn_blocking(may_wait).await.unwrap() }));
}
