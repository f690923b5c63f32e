//! What can be seen of each slot from outside.

use crate::common::*;
use caliburn::stats::{Call, SlotState};
use caliburn::{Clock, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// How many slots are in the states for which `is_it`.
fn count<M: caliburn::Manager>(pool: &Pool<M>, is_it: impl Fn(SlotState) -> bool) -> usize {
    pool.slots().iter().filter(|slot| is_it(slot.state.clone())).count()
}

/// At rest.
#[track_caller]
fn assert_slots_agree_with_stats(pool: &Pool<Fake>) {
    let (stats, slots) = (pool.stats(), pool.slots());
    let count = |state: &str| slots.iter().filter(|slot| slot.state.as_str() == state).count();
    let seen = ["idle", "lent", "vacant", "retired"].map(count);
    assert_eq!(seen, [stats.idle, stats.lent, stats.vacant, stats.retired], "{slots:?}");
    assert_eq!(slots.iter().map(|slot| slot.checkouts).sum::<u64>(), stats.checkouts);
    assert_eq!(slots.iter().filter(|slot| slot.age.is_some()).count(), stats.size);
    assert_eq!(slots.len(), stats.capacity);
}

#[test]
fn at_rest_the_slots_agree_with_the_stats() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 4, |builder| builder.capacity(6));
    assert_slots_agree_with_stats(&pool);
    clock.advance(SECOND);
    let (held, line) = (pool.get().unwrap(), line!());
    clock.advance(2 * SECOND);
    assert_slots_agree_with_stats(&pool);
    let slots = pool.slots();
    let lent = slots.iter().find(|slot| matches!(slot.state, SlotState::Lent(_))).unwrap();
    let SlotState::Lent(holder) = lent.state.clone() else { panic!() };
    assert_eq!((holder.location.line(), holder.since), (line, 2 * SECOND));
    let figures = (lent.since, lent.age, lent.checkouts);
    assert_eq!(figures, (Some(2 * SECOND), Some(3 * SECOND), 1));
    assert_eq!(lent.state.to_string(), format!("lent to {}", holder.location));
    let idle = slots.iter().find(|slot| slot.state == SlotState::Idle).unwrap();
    let figures = (idle.since, idle.age, idle.checkouts);
    assert_eq!(figures, (Some(3 * SECOND), Some(3 * SECOND), 0));

    let _mine = PooledConnection::detach(held);
    assert_slots_agree_with_stats(&pool);
    assert_eq!(count(&pool, |state| state == SlotState::Vacant), 1);
    pool.change(|settings| (settings.min_size, settings.max_size) = (0, 2)).unwrap();
    pool.maintain();
    assert_slots_agree_with_stats(&pool);
    pool.close();
    pool.maintain();
    assert_eq!(count(&pool, |state| state == SlotState::Retired), 6, "{:?}", pool.slots());
}

#[test]
fn calls_that_are_under_way_are_seen_in_their_slots() {
    let (fake, (clock, hand)) = (Fake::new(), Clock::mock());
    let builder = Pool::builder(fake.clone()).max_size(2).min_size(1).clock(clock);
    fake.on_connect(Mode::Hang);
    let pool = builder.build().unwrap();
    let states = || pool.slots().iter().map(|slot| slot.state.clone()).collect::<Vec<_>>();
    eventually("it is being opened", || states() == [SlotState::Opening, SlotState::Vacant]);
    eventually("the call has begun", || pool.slots()[0].since.is_some());
    hand.advance(SECOND / 10);
    assert_eq!((pool.slots()[0].since, pool.slots()[0].age), (Some(SECOND / 10), None));
    fake.on_connect(Mode::Ok);
    fake.open_gate();
    eventually("it is open", || states() == [SlotState::Idle, SlotState::Vacant]);

    // Behind a gate of its own.
    let (fake, (clock, _hand)) = (Fake::new(), Clock::mock());
    let builder = Pool::builder(fake.clone()).max_size(1).min_size(1).clock(clock);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    fake.always_needs_reset();
    fake.on_reset(Mode::Hang);
    drop(pool.get().unwrap());
    let state = || pool.slots()[0].state.clone();
    eventually("it is reset", || state() == SlotState::Maintenance(Call::Reset));
    fake.open_gate();
    eventually("it is back", || state() == SlotState::Idle);
}

#[test]
fn a_connection_that_changes_hands_is_never_taken_for_an_empty_slot() {
    let fake = Fake::new();
    let builder = Pool::builder(fake).max_size(4).min_size(4).idle_timeout(None);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..6 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    drop(pool.get().unwrap());
                }
            });
        }
        let mut was_lent = false;
        let begun = Instant::now();
        let mut looks = 0;
        // On a busy machine the borrowers may not run for long.
        while looks < 20_000 || !was_lent && begun.elapsed() < PLENTY {
            looks += 1;
            for slot in pool.slots() {
                match slot.state {
                    SlotState::Lent(_) => was_lent = true,
                    SlotState::Idle | SlotState::InTransit => {}
                    state => {
                        is_over.store(true, SeqCst);
                        panic!("{state}");
                    }
                }
            }
        }
        is_over.store(true, SeqCst);
        assert!(was_lent);
    });
    eventually("all are back", || count(&pool, |state| state == SlotState::Idle) == 4);
    assert_slots_agree_with_stats(&pool);
}

#[test]
fn a_connection_has_its_age_until_it_is_closed() {
    let (fake, (clock, hand)) = (Fake::new(), Clock::mock());
    let builder = Pool::builder(fake.clone()).max_size(1).min_size(1).clock(clock);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    fake.on_close(Mode::Hang);
    let conn = pool.get().unwrap();
    hand.advance(SECOND);
    pool.change(|settings| settings.min_size = 0).unwrap();
    drop(conn);
    pool.change(|settings| (settings.min_size, settings.max_size) = (0, 0)).unwrap();
    let slot = || pool.slots().remove(0);
    eventually("it is being closed", || slot().state == SlotState::Maintenance(Call::Close));
    let age = slot().age;
    fake.open_gate();
    assert_eq!(age, Some(SECOND));
    eventually("it is closed", || slot().state == SlotState::Retired);
    assert_eq!(slot().age, None);
}
