//! Borrowers are turned away when the pool cannot serve all in time.

use crate::common::*;
use caliburn::{Fairness, GetError, MockClock, Pool, PooledConnection, Settings, Shedding};
use std::task::Poll;
use std::thread;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const CODEL: Shedding = Shedding::CoDel { target: ms(50), interval: ms(100), newest_first: false };

/// A pool of one connection, which is held.
fn held(shedding: Shedding) -> (Pool<Fake>, MockClock, PooledConnection<Fake>) {
    let (pool, clock) =
        full_manual(&Fake::new(), 1, |builder| builder.shedding(shedding).record_events(64));
    let held = pool.get().unwrap();
    (pool, clock, held)
}

fn stand(pool: &Pool<Fake>, many: usize) -> Vec<Get<'_>> {
    in_line(many, || pool.get_timeout_async(PLENTY))
}

/// What has become of the first in line, which is settled.
fn settled(line: &mut Vec<Get<'_>>) -> Outcome {
    match poll_once(&mut line[0]) {
        Poll::Ready(outcome) => {
            drop(line.remove(0));
            outcome
        }
        Poll::Pending => panic!("it still waits"),
    }
}

fn was_shed(outcome: Outcome) -> bool {
    matches!(outcome, Err(GetError::Shed { .. }))
}

#[test]
fn who_is_late_is_turned_away_once_all_have_been_late_for_an_interval() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 5);
    clock.advance(ms(60));
    drop(held);
    let first = settled(&mut line).expect("the first that is late");
    clock.advance(ms(60));
    drop(first);
    let second = settled(&mut line).expect("a burst may be late");
    line.extend(stand(&pool, 2));
    clock.advance(ms(45));
    drop(second);
    // Those that came first have waited for 165 ms, the others for 45 ms.
    for _ in 0..3 {
        let error = settled(&mut line).expect_err("it is too late for all");
        let GetError::Shed { waited, target, .. } = error else { panic!("{error}") };
        assert_eq!((waited, target), (ms(165), ms(50)));
    }
    let next = settled(&mut line).expect("it is in time");
    assert_eq!((line.len(), pool.stats().shed, pool.stats().waits_in_vain), (1, 3, 3));
    let events = pool.recent_events();
    assert_eq!(events.iter().filter(|event| event.kind.as_str() == "shed").count(), 3);
    drop(next);
    drop(settled(&mut line).unwrap());
    assert_eq!(pool.stats().waiting, 0);
}

#[test]
fn the_error_says_what_to_do() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 3);
    clock.advance(ms(60));
    drop(held);
    let first = settled(&mut line).unwrap();
    clock.advance(ms(110));
    drop(first);
    let error = settled(&mut line).unwrap_err().to_string();
    let start = "turned away after 170.0ms in a line that is slower than 50.0ms: ";
    assert!(error.starts_with(start) && error.contains("raise max_size"), "{error}");
}

#[test]
fn the_last_in_line_is_served_however_late() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 4);
    clock.advance(ms(60));
    drop(held);
    let first = settled(&mut line).unwrap();
    clock.advance(ms(150));
    drop(first);
    assert!(was_shed(settled(&mut line)) && was_shed(settled(&mut line)));
    drop(settled(&mut line).expect("nobody would gain by its leaving"));
}

#[test]
fn a_burst_that_passes_within_an_interval_is_served_whole() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 8);
    clock.advance(ms(55));
    let mut lent = held;
    // The last one is handed its connection 90 ms after the first that was late.
    for _ in 0..8 {
        drop(lent);
        lent = settled(&mut line).expect("a burst");
        clock.advance(ms(12));
    }
    drop(lent);
    // The line was empty, so the next burst is a new one.
    let held = pool.get().unwrap();
    let mut line = stand(&pool, 2);
    clock.advance(ms(60));
    drop(held);
    assert!(settled(&mut line).is_ok() && settled(&mut line).is_ok());
    assert_eq!(pool.stats().shed, 0);
}

#[test]
fn nobody_is_turned_away_while_nothing_is_handed_over_or_once_it_is_again() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 6);
    for _ in 0..40 {
        clock.advance(ms(50));
        pool.maintain();
    }
    assert!(line.iter_mut().all(|get| poll_once(get).is_pending()), "an outage");
    drop(held);
    // Two seconds late, all of them.
    for _ in 0..6 {
        drop(settled(&mut line).expect("they could not be served before"));
        clock.advance(ms(10));
    }
}

#[test]
fn a_line_that_has_been_in_time_for_an_interval_is_slow_no_more() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 3);
    clock.advance(ms(60));
    drop(held);
    let first = settled(&mut line).unwrap();
    clock.advance(ms(110));
    line.extend(stand(&pool, 1));
    drop(first);
    assert!(was_shed(settled(&mut line)) && was_shed(settled(&mut line)), "it is slow");
    let mut lent = settled(&mut line).unwrap();
    // Never empty, and in time.
    for _ in 0..13 {
        line.extend(stand(&pool, 2 - line.len()));
        clock.advance(ms(10));
        drop(lent);
        lent = settled(&mut line).unwrap();
    }
    line.extend(stand(&pool, 3));
    clock.advance(ms(70));
    drop(lent);
    for _ in 0..2 {
        drop(settled(&mut line).expect("late again, but not yet for an interval"));
    }
}

#[test]
fn the_newest_is_first_while_the_line_is_slow_if_so_chosen() {
    let newest = Shedding::CoDel { target: ms(50), interval: ms(100), newest_first: true };
    let (pool, clock, held) = held(newest);
    let mut line = stand(&pool, 3);
    clock.advance(ms(60));
    drop(held);
    let first = settled(&mut line).expect("in order, as long as it is not slow");
    clock.advance(ms(60));
    line.extend(stand(&pool, 3));
    clock.advance(ms(45));
    drop(first);
    assert!(was_shed(settled(&mut line)) && was_shed(settled(&mut line)));
    let mut last = line.pop().unwrap();
    let Poll::Ready(Ok(lent)) = poll_once(&mut last) else { panic!("the newest") };
    assert!(line.iter_mut().all(|get| poll_once(get).is_pending()));
    drop(lent);
    let mut last = line.pop().unwrap();
    assert!(matches!(poll_once(&mut last), Poll::Ready(Ok(_))), "the newest of the rest");
}

#[test]
fn a_thread_is_turned_away_as_a_task_is() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 1);
    thread::scope(|scope| {
        let thread = scope.spawn(|| pool.get_timeout(PLENTY).map(drop));
        eventually("it waits", || pool.stats().waiting == 2);
        clock.advance(ms(60));
        drop(held);
        let first = settled(&mut line).unwrap();
        clock.advance(ms(110));
        line.extend(stand(&pool, 1));
        drop(first);
        let error = thread.join().unwrap().expect_err("it is late");
        assert!(matches!(error, GetError::Shed { .. }), "{error}");
        assert!(settled(&mut line).is_ok());
    });
}

#[test]
fn it_is_turned_on_and_off_while_the_pool_runs() {
    let (pool, clock, held) = held(Shedding::Off);
    let mut line = stand(&pool, 6);
    clock.advance(ms(300));
    drop(held);
    let first = settled(&mut line).expect("it is off");
    clock.advance(ms(300));
    pool.change(|settings| settings.shedding = CODEL).unwrap();
    drop(first);
    let second = settled(&mut line).expect("the first that is late");
    clock.advance(ms(110));
    pool.change(|settings| settings.shedding = Shedding::Off).unwrap();
    drop(second);
    let third = settled(&mut line).expect("it is off again");
    clock.advance(ms(250));
    pool.change(|settings| settings.shedding = CODEL).unwrap();
    drop(third);
    let fourth = settled(&mut line).expect("what was noted before is old");
    clock.advance(ms(110));
    drop(fourth);
    assert!(was_shed(settled(&mut line)), "it is on");
}

/// Those that come again at once, four in turn, are each served within 30 ms.
#[test]
fn an_order_that_makes_some_late_does_not_keep_the_line_slow() {
    let newest = Shedding::CoDel { target: ms(50), interval: ms(100), newest_first: true };
    let (pool, clock, mut lent) = held(newest);
    let mut line = stand(&pool, 40);
    let mut shed = Vec::new();
    for round in 0..2_000 {
        clock.advance(ms(10));
        drop(lent);
        let at = loop {
            let over = line.iter_mut().enumerate().find_map(|(at, get)| match poll_once(get) {
                Poll::Ready(outcome) => Some((at, outcome)),
                Poll::Pending => None,
            });
            match over.expect("a connection is there") {
                (at, Ok(next)) => {
                    lent = next;
                    break at;
                }
                (at, Err(_)) => {
                    shed.push(round);
                    drop(line.remove(at));
                }
            }
        };
        drop(line.remove(at));
        let missing = 3_usize.saturating_sub(line.len());
        line.extend(stand(&pool, missing));
    }
    assert!(shed.len() >= 20 && shed.iter().all(|round| *round < 100), "{shed:?}");
}

#[test]
fn a_class_is_judged_by_its_own_waits() {
    let (pool, clock) = full_manual(&Fake::new(), 1, |builder| {
        builder.class("ordinary", 10).class("batch", 1).shedding(CODEL)
    });
    let mut lent = pool.get().unwrap();
    let batch = pool.class("batch").unwrap();
    let mut lines = [stand(&pool, 3), Vec::new()];
    let mut served = [0; 2];
    for _ in 0..440 {
        let missing = usize::from(lines[1].is_empty());
        lines[1].extend(in_line(missing, || batch.get_timeout_async(PLENTY)));
        clock.advance(ms(10));
        drop(lent);
        let (class, at, next) = lines
            .iter_mut()
            .enumerate()
            .find_map(|(class, line)| {
                line.iter_mut().enumerate().find_map(|(at, get)| match poll_once(get) {
                    Poll::Ready(outcome) => Some((class, at, outcome)),
                    Poll::Pending => None,
                })
            })
            .expect("it is handed to one that waits");
        lent = next.expect("a batch job may wait: it has what is its due");
        drop(lines[class].remove(at));
        served[class] += 1;
        lines[0].extend(stand(&pool, 3 - lines[0].len()));
    }
    assert!((38..=42).contains(&served[1]), "{served:?}");
}

#[test]
fn nobody_is_turned_away_for_a_pause_or_a_long_loan() {
    let (pool, clock, held) = held(CODEL);
    let mut line = stand(&pool, 3);
    clock.advance(ms(60));
    drop(held);
    let first = settled(&mut line).expect("the first that is late");
    clock.advance(ms(1_000));
    drop(first);
    let second = settled(&mut line).expect("a long loan");
    pool.pause();
    drop(second);
    line.extend(stand(&pool, 5));
    clock.advance(ms(1_000));
    pool.resume();
    for _ in 0..6 {
        drop(settled(&mut line).expect("all have waited for the pool"));
    }
    assert_eq!(pool.stats().shed, 0);
}

#[test]
fn one_that_gathers_connections_is_not_turned_away_for_it() {
    let (pool, clock) = full_manual(&Fake::new(), 2, |builder| builder.shedding(CODEL));
    let (one, other) = (pool.get().unwrap(), pool.get().unwrap());
    let mut gathering = Box::pin(pool.get_many_async(2, PLENTY));
    assert!(poll_once(&mut gathering).is_pending());
    clock.advance(ms(80));
    drop(one);
    assert!(poll_once(&mut gathering).is_pending());
    clock.advance(ms(110));
    drop(other);
    assert!(matches!(poll_once(&mut gathering), Poll::Ready(Ok(_))));
}

#[test]
fn newcomers_go_before_none_where_borrowers_may_be_turned_away() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| {
        builder.shedding(CODEL).fairness(Fairness::BoundedBarging(PLENTY))
    });
    let held = pool.get().unwrap();
    let mut line = stand(&pool, 1);
    drop(held);
    assert!(pool.try_get().is_err());
    drop(settled(&mut line).unwrap());
}

#[test]
fn times_of_zero_are_reported_and_endless_ones_turn_nobody_away() {
    let (pool, clock, held) = held(Shedding::Off);
    let codel = |target, interval| Shedding::CoDel { target, interval, newest_first: false };
    let bad = |settings: &mut Settings| settings.shedding = codel(Duration::ZERO, Duration::ZERO);
    let error = pool.change(bad).unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
    pool.change(|settings| settings.shedding = codel(Duration::MAX, ms(1))).unwrap();
    let mut line = stand(&pool, 2);
    clock.advance(Duration::from_secs(3_600 * 24));
    drop(held);
    drop(settled(&mut line).unwrap_err());
    pool.change(|settings| settings.shedding = codel(ms(1), Duration::MAX)).unwrap();
    assert_eq!(pool.stats().shed, 0);
}

#[cfg(feature = "serde")]
#[test]
fn a_configuration_names_target_and_interval() {
    let read = |value: &str| {
        let config: caliburn::PoolConfig = toml::from_str(&format!("shedding = {value}")).unwrap();
        config.settings().map(|settings| settings.shedding)
    };
    let newest = Shedding::CoDel { target: ms(50), interval: ms(100), newest_first: true };
    let table = "{ target = '50ms', interval = '100ms', newest-first = true }";
    assert_eq!(read(table).unwrap(), newest);
    assert_eq!(read("'50ms, 100ms, newest_first'").unwrap(), newest);
    assert_eq!(read("'50ms, 100ms'").unwrap(), CODEL);
    assert_eq!(read("{ interval = '100ms', target = '50ms' }").unwrap(), CODEL);
    assert_eq!(read("'off'").unwrap(), Shedding::Off);
    for bad in [
        "'50ms'",
        "50",
        "true",
        "'fast, slow'",
        "'50ms, 100ms, 3'",
        "'50ms, 100ms, newest_first, newest_first'",
        "{}",
        "{ target = '50ms' }",
        "{ target = '50ms', interval = 'long' }",
        "{ target = '50ms', interval = '1s', newest = true }",
        "{ target = '50ms', interval = '1s', newest_first = 'perhaps' }",
        "{ target = '50ms', Target = '60ms', interval = '1s' }",
    ] {
        let error = read(bad).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
        assert!(error.to_string().contains("shedding must be off, or"), "{error}");
    }
}
