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
        let runtimes = runtime.block_on(async { Runtimes::here() });
        let (_, home) = of_one_thread().block_on(runtimes.run(|| ready(())));
        assert!(!home.is_lost());
        drop(runtime);
        assert!(home.fails(Occasion::Loan) && home.fails(Occasion::Return));
    }
}

#[test]
fn connections_of_a_runtime_that_is_not_driven_fail_elsewhere() {
    let (idle, driven) = (of_one_thread(), of_threads(1));
    let runtimes = idle.block_on(async { Runtimes::here() });
    let (_, home) = idle.block_on(runtimes.run(|| ready(())));
    assert!(!idle.block_on(async { home.fails(Occasion::Loan) }), "here it is driven");
    home.forget_answers();
    assert!(!home.fails(Occasion::Return), "a return waits for nothing");
    let begun = Instant::now();
    assert!(driven.block_on(async { home.fails(Occasion::Loan) }));
    assert!(home.fails(Occasion::Loan), "the second does not wait");
    assert!(begun.elapsed() < ENOUGH);
    // It is again.
    idle.block_on(tokio::task::yield_now());
    assert!(!home.fails(Occasion::Loan));
}

#[test]
fn connections_of_a_busy_runtime_serve_elsewhere() {
    let (sender, ended) = mpsc::channel::<()>();
    let runtime = of_one_thread();
    let runtimes = runtime.block_on(async { Runtimes::here() });
    let (_, home) = runtime.block_on(runtimes.run(|| ready(())));
    let drives = thread::spawn(move || {
        runtime.block_on(async {
            while let Err(mpsc::TryRecvError::Empty) = ended.try_recv() {
                tokio::task::yield_now().await;
            }
        })
    });
    home.forget_answers();
    assert!(!home.fails(Occasion::Loan));
    drop(sender);
    drives.join().unwrap();
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
        runtimes.last().as_ref().unwrap().forget_answers();
        wait_in(&runtimes, &taken);
        let home = connect.join().unwrap();
        let is_elsewhere = home.is(taken.handle()) || home.is(&background::home().handle());
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
