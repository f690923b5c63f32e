//! A future that was handed a connection and is not polled: it keeps nobody else from borrowing
//! (promise P12).
//!
//! The bound is that of the report: whoever is polled is served within 150 ms after the return.

use crate::common::*;
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, Fairness, GetError, MockClock, Pool, PooledConnection};
use futures_util::stream::{self, StreamExt};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_millis(150);
const STEP: Duration = Duration::from_millis(5);
const SECOND: Duration = Duration::from_secs(1);

type Lent = PooledConnection<Fake>;
type Get<'a> = Pin<Box<dyn Future<Output = Result<Lent, GetError<FakeError>>> + Send + 'a>>;

// Polled by hand, under a clock that the test turns

fn of_one(more: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> (Pool<Fake>, MockClock) {
    full_manual(&Fake::new(), 1, more)
}

fn get(pool: &Pool<Fake>) -> Get<'_> {
    Box::pin(pool.get_async())
}

/// In line, and never polled again unless the test says so.
#[track_caller]
fn asleep(pool: &Pool<Fake>) -> Get<'_> {
    let mut get = get(pool);
    assert!(poll_once(&mut get).is_pending());
    get
}

/// What `look` finds, and how much time had to pass, which may be as much as `bound`.
#[track_caller]
fn within<T>(
    bound: Duration,
    case: &(Pool<Fake>, MockClock),
    look: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    within_steps(STEP, bound, case, look)
}

#[track_caller]
fn within_steps<T>(
    step: Duration,
    bound: Duration,
    (pool, hand): &(Pool<Fake>, MockClock),
    mut look: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let mut took = Duration::ZERO;
    loop {
        pool.maintain();
        if let Some(found) = look() {
            return (found, took);
        }
        assert!(took <= bound, "not served after {took:?}: {}", pool.stats());
        hand.advance(step);
        took += step;
    }
}

fn poll(get: &mut Get<'_>) -> Option<Lent> {
    match poll_once(get) {
        Poll::Ready(lent) => Some(lent.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn a_waiter_that_is_not_polled_loses_its_connection_to_the_next_and_keeps_its_place() {
    for fairness in [Fairness::Fifo, Fairness::BoundedBarging(Duration::from_millis(1))] {
        let case = of_one(|b| b.fairness(fairness));
        let held = case.0.get().unwrap();
        let mut first = asleep(&case.0);
        let mut second = asleep(&case.0);
        drop(held);
        let (lent, _) = within(BOUND, &case, || poll(&mut second));
        // It stands at the head all the while.
        let mut third = asleep(&case.0);
        drop(lent);
        case.0.maintain();
        assert!(poll(&mut third).is_none(), "{fairness:?}: served before one who came earlier");
        let lent = poll(&mut first).expect("first in line, and polled");
        drop((lent, first));
        drop(within(BOUND, &case, || poll(&mut third)));
    }
}

#[test]
fn a_newcomer_is_served_though_a_sleeper_was_handed_the_connection_before_it_came() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let _sleeper = asleep(&case.0);
    drop(held);
    case.1.advance(SECOND / 4);
    case.0.maintain();
    let mut newcomer = get(&case.0);
    let (lent, _) = within(BOUND, &case, || poll(&mut newcomer));
    drop(lent);
    // Again and again.
    for _ in 0..10 {
        let mut again = get(&case.0);
        drop(within(BOUND, &case, || poll(&mut again)));
    }
}

#[test]
fn an_attempt_that_does_not_wait_succeeds_in_the_end_though_a_sleeper_stands_in_line() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let _sleeper = asleep(&case.0);
    drop(held);
    drop(within(BOUND, &case, || case.0.try_get().ok()));
    drop(within(BOUND, &case, || case.0.get_timeout(Duration::ZERO).ok()));
}

#[test]
fn a_thread_is_served_though_a_sleeper_was_handed_the_connection() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let _sleeper = asleep(&case.0);
    let (report, served) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| report.send(case.0.get_timeout(PLENTY).map(drop)).unwrap());
        eventually("it waits", || case.0.stats().waiting == 2);
        drop(held);
        for _ in 0..BOUND.as_millis() / STEP.as_millis() {
            case.0.maintain();
            case.1.advance(STEP);
        }
        case.0.maintain();
        // The clock stands still: all that remains is to wake up.
        let served = served.recv_timeout(2 * SECOND);
        case.0.close();
        served.expect("served within the bound").unwrap();
    });
}

#[test]
fn who_comes_back_after_two_lapses_has_what_one_behind_it_has_not_taken() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let mut first = asleep(&case.0);
    drop(held);
    for _ in 0..2 {
        case.1.advance(SECOND);
        case.0.maintain();
    }
    let held = case.0.try_get().expect("the sleeper holds up nobody");
    let mut second = asleep(&case.0);
    drop(held);
    drop(poll(&mut first).expect("it stands before the second, which has not taken it"));
    drop(poll(&mut second).expect("its turn"));
}

#[test]
fn who_loses_its_connection_to_one_that_comes_back_has_let_nothing_lapse() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let (mut first, mut second) = (asleep(&case.0), asleep(&case.0));
    let _third = asleep(&case.0);
    drop(held);
    case.1.advance(SECOND);
    case.0.maintain();
    // It goes to the second, and back.
    let held = poll(&mut first).expect("the second has not taken it");
    drop(held);
    // The second lets one lapse; it keeps its place, and is called again.
    case.1.advance(SECOND);
    case.0.maintain();
    assert_eq!(case.0.stats().waiting, 1, "it was settled after one lapse");
    drop(poll(&mut second).expect("it is there again, and before the third"));
}

#[test]
fn at_the_waiters_own_limit_the_connection_goes_at_the_latest() {
    let limit = 4 * STEP;
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let mut sleeper: Get<'_> = Box::pin(case.0.get_timeout_async(limit));
    assert!(poll_once(&mut sleeper).is_pending());
    let mut next = asleep(&case.0);
    drop(held);
    let (lent, _) = within(limit, &case, || poll(&mut next));
    // Only now does somebody look after the first.
    case.1.advance(STEP);
    let Poll::Ready(Err(GetError::TimedOut { .. })) = poll_once(&mut sleeper) else {
        panic!("its time is up")
    };
    drop(lent);
}

#[test]
fn ten_sleepers_hold_nobody_up_for_more_than_ten_times_as_long() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let _sleepers: Vec<_> = (0..10).map(|_| asleep(&case.0)).collect();
    let mut last = asleep(&case.0);
    drop(held);
    for _ in 0..5 {
        drop(within(10 * BOUND, &case, || poll(&mut last)));
        last = get(&case.0);
    }
}

/// However the connection comes to the one that sleeps.
#[track_caller]
fn goes_to_the_next(
    fake: &Fake,
    case: &(Pool<Fake>, MockClock),
    prepare: impl FnOnce() -> Option<Lent>,
) {
    let held = prepare();
    let _sleeper = asleep(&case.0);
    drop(held);
    case.0.maintain();
    let mut next = get(&case.0);
    drop(within(BOUND, case, || poll(&mut next)));
    assert_eq!(fake.books().opened.load(SeqCst), 1);
}

#[test]
fn a_connection_that_was_opened_for_a_sleeper_goes_to_the_next() {
    let fake = Fake::new();
    let case = full_manual(&fake, 1, |b| b.min_size(0));
    goes_to_the_next(&fake, &case, || None);
}

#[test]
fn a_connection_that_was_reset_for_a_sleeper_goes_to_the_next() {
    let fake = Fake::new();
    let case = full_manual(&fake, 1, |b| b);
    goes_to_the_next(&fake, &case, || {
        let mut held = case.0.get().unwrap();
        held.dirty = true;
        Some(held)
    });
    assert_eq!(fake.books().resets.load(SeqCst), 1);
}

#[test]
fn a_connection_that_was_pinged_for_a_sleeper_goes_to_the_next() {
    let fake = Fake::new();
    let case = full_manual(&fake, 1, |b| b.health(PingOnBorrow::default()));
    goes_to_the_next(&fake, &case, || {
        case.1.advance(SECOND);
        None
    });
    assert_eq!(fake.books().pings.load(SeqCst), 1);
}

#[test]
fn after_one_has_slept_others_that_sleep_cost_little() {
    const MOMENT: Duration = Duration::from_millis(1);
    let case = of_one(|b| b);
    let mut held = case.0.get().unwrap();
    let mut sleepers = Vec::new();
    for earlier in 0..20 {
        sleepers.push(asleep(&case.0));
        let mut next = asleep(&case.0);
        drop(held);
        let bound = if earlier == 0 { BOUND } else { 2 * MOMENT };
        (held, _) = within_steps(MOMENT, bound, &case, || poll(&mut next));
    }
    // Of one that is polled soon enough, nothing is taken.
    drop(sleepers);
    let mut first = asleep(&case.0);
    let mut second = asleep(&case.0);
    drop(held);
    assert!(poll(&mut second).is_none());
    drop(poll(&mut first).expect("its turn"));
}

#[test]
fn a_close_does_not_wait_for_one_that_is_not_polled() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let mut sleeper = asleep(&case.0);
    drop(held);
    case.0.close();
    within(BOUND, &case, || (case.0.stats().retired == 1).then_some(()));
    let Poll::Ready(Err(GetError::Closed)) = poll_once(&mut sleeper) else {
        panic!("the pool is closed")
    };
}

#[test]
fn a_sleeper_that_is_polled_again_soon_enough_has_what_it_was_handed() {
    let case = of_one(|b| b);
    let held = case.0.get().unwrap();
    let mut first = asleep(&case.0);
    let mut second = asleep(&case.0);
    drop(held);
    assert!(poll(&mut second).is_none(), "it is not its turn");
    drop(poll(&mut first).expect("its turn"));
    drop(poll(&mut second).expect("and now its turn"));
}

// On a runtime, by the real clock

/// The report: the best of three, as the machine has other things to do.
#[track_caller]
fn best_of_three(what: &str, round: impl Fn() -> Option<Duration>) {
    let Some(took) = (0..3).filter_map(|_| round()).min() else { panic!("{what}: not served") };
    assert!(took <= BOUND, "{what}: served {took:?} after the return");
}

fn runtimes() -> [(&'static str, tokio::runtime::Runtime); 2] {
    let one = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    [("one thread", one.unwrap()), ("two threads", two.unwrap())]
}

fn in_the_background() -> Pool<Fake> {
    let pool = Pool::builder(Fake::new()).max_size(1).min_size(1).wait_ready(PLENTY);
    pool.build().unwrap()
}

/// A pool of one; a task races against 50 ms, keeps the loser alive and borrows again, as a thread
/// or as a task. The holder returns 50 ms after the race.
async fn race_and_borrow_again(pool: Pool<Fake>, by_thread: bool) -> Option<Duration> {
    const RACE: Duration = Duration::from_millis(50);
    let held = pool.get_async().await.unwrap();
    let mut loser = pin!(pool.get_async());
    tokio::select! {
        _ = &mut loser => panic!("all are lent"),
        () = tokio::time::sleep(RACE) => {}
    }
    let holder = std::thread::spawn(move || {
        std::thread::sleep(RACE);
        drop(held);
        Instant::now()
    });
    let again =
        if by_thread { pool.get_timeout(SECOND) } else { pool.get_timeout_async(SECOND).await };
    let served = Instant::now();
    let returned = holder.join().unwrap();
    match again {
        Ok(_) => Some(served.saturating_duration_since(returned)),
        Err(error) => {
            println!("{error}");
            None
        }
    }
}

#[test]
fn who_keeps_the_loser_of_a_select_alive_and_borrows_again_is_served() {
    for (what, runtime) in runtimes() {
        best_of_three(what, || runtime.block_on(race_and_borrow_again(in_the_background(), false)));
    }
}

#[test]
fn who_keeps_the_loser_of_a_select_alive_and_borrows_again_as_a_thread_is_served() {
    for (what, runtime) in runtimes() {
        best_of_three(what, || runtime.block_on(race_and_borrow_again(in_the_background(), true)));
    }
}

/// While the loop's body waits, the stream's other futures are not polled.
#[test]
fn a_body_that_borrows_between_buffered_futures_that_do_is_served() {
    for (what, runtime) in runtimes() {
        best_of_three(what, || {
            runtime.block_on(async {
                let pool = in_the_background();
                let mut longest = Duration::ZERO;
                let work = |n: u64| {
                    let pool = &pool;
                    async move {
                        let mut conn = pool.get_timeout_async(PLENTY).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        conn.value = n;
                    }
                };
                let mut done = pin!(stream::iter(0..6).map(work).buffer_unordered(3));
                while done.next().await.is_some() {
                    let begun = Instant::now();
                    let conn = pool.get_timeout_async(SECOND / 2).await.ok()?;
                    longest = longest.max(begun.elapsed());
                    drop(conn);
                }
                Some(longest)
            })
        });
    }
}
