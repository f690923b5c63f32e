//! What counts as a connect, and what is told of it.

use super::*;
use caliburn::observe::EventKind;

#[test]
fn every_connect_counts_whatever_it_is_for() {
    let (governor, _) = timeless(8);
    let (old, new) = (Fake::new(), Fake::new());
    let granted = || governor.stats().granted as usize;
    let attempts = |fake: &Fake| fake.books().attempts.load(SeqCst);
    let (builder, _) = by_hand(&old, &governor);
    let pool = builder.max_size(6).capacity(6).min_size(2).reserved(2).build().unwrap();
    pool.maintain();
    assert_eq!((granted(), attempts(&old)), (4, 4), "the minimum and the reserve");
    let mut lent = vec![pool.try_get().unwrap(), pool.try_get().unwrap()];
    pool.try_get().unwrap_err();
    (0..2).for_each(|_| pool.maintain());
    lent.push(pool.try_get().unwrap());
    assert_eq!((granted(), attempts(&old)), (5, 5), "attempts");
    drop(lent);
    pool.invalidate(SECOND);
    assert_eq!(granted(), attempts(&old), "replacements");
    assert!(granted() > 5);
    pool.switch_manager(new.clone(), SECOND).unwrap();
    assert_eq!(granted(), attempts(&old) + attempts(&new), "the trial and what followed");
    pool.add(Fake::connect(&new, &Deadline::after(SECOND)).unwrap()).unwrap();
    assert_eq!(granted() + 1, attempts(&old) + attempts(&new), "what is opened elsewhere is not");
    assert_at_rest(&governor);
}

#[test]
fn a_trial_of_another_manager_is_not_held() {
    let (governor, _) = timeless(1);
    let (old, new) = (Fake::new(), Fake::new());
    let pool = by_hand(&old, &governor).0.max_size(1).build().unwrap();
    let occupant = Occupant::new(&governor);
    pool.switch_manager(new.clone(), SECOND).unwrap();
    assert_eq!(new.books().attempts.load(SeqCst), 1);
    assert_eq!(governor.stats().connecting, 1);
    drop(occupant);
}

#[test]
fn what_is_held_is_done_when_there_is_room() {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    let pool = by_hand(&fake, &governor).0.max_size(3).build().unwrap();
    pool.try_get().unwrap_err();
    let occupant = Occupant::new(&governor);
    (0..3).for_each(|_| pool.maintain());
    assert_eq!((pool.stats().size, pool.stats().connects_held), (0, 1), "an attempt");
    occupant.leave();
    (0..3).for_each(|_| pool.maintain());
    assert_eq!(pool.stats().size, 1);

    let occupant = Occupant::new(&governor);
    pool.invalidate(Duration::ZERO);
    assert_eq!((pool.stats().size, fake.books().attempts.load(SeqCst)), (0, 1));
    pool.change(|settings| settings.min_size = 1).unwrap();
    pool.maintain();
    assert_eq!((pool.stats().size, pool.stats().connects_held), (0, 2), "the minimum");
    occupant.leave();
    pool.maintain();
    assert_eq!((pool.stats().size, pool.stats().idle), (1, 1));
    assert_at_rest(&governor);
}

#[test]
fn a_pool_that_is_held_says_so_once_for_each_time() {
    let (governor, _) = timeless(1);
    let occupant = Occupant::new(&governor);
    let fake = Fake::new();
    let first = by_hand(&fake, &governor).0.max_size(4).min_size(4).build().unwrap();
    let builder = by_hand(&fake, &governor).0.max_size(4).min_size(4).record_events(99);
    let second = builder.build().unwrap();
    (0..5).for_each(|_| second.maintain());
    let held: Vec<_> = second.recent_events().into_iter().map(|event| event.kind).collect();
    let [EventKind::ConnectHeld { ahead: 1 }] = held[..] else { panic!("{held:?}") };
    assert_eq!((first.stats().connects_held, second.stats().connects_held), (1, 1));
    let stats = governor.stats();
    assert_eq!((stats.connecting, stats.waiting, stats.held, stats.granted), (1, 2, 2, 1));
    drop(occupant);
}
