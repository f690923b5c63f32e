//! A governor in a process: forks of it, and its threads.

use crate::common::*;
use caliburn::{ConnectGovernor, Pool};
use std::sync::atomic::Ordering::SeqCst;

/// In a child the parent's connects are under way for ever, and its pools stand in line for ever,
/// and a lock may be held for ever: none of that counts there.
#[cfg(unix)]
#[test]
fn in_a_child_the_places_and_the_line_of_the_parent_mean_nothing() {
    use crate::common::fork::{in_a_child, require};
    const KEY: &str = "of both processes";
    let _alone = crate::alone();
    let governor = ConnectGovernor::builder().max_concurrent(1).shared(KEY).unwrap();
    let (hanging, fake) = (Fake::new(), Fake::new());
    hanging.on_connect(Mode::Hang);
    let build = |fake: &Fake, governor: &ConnectGovernor| {
        let builder = Pool::builder(fake.clone()).max_size(2).min_size(2);
        builder.connect_governor(governor).build().unwrap()
    };
    let connecting = build(&hanging, &governor);
    eventually("it connects", || hanging.books().attempts.load(SeqCst) == 1);
    let held = build(&fake, &governor);
    for _ in 0..5 {
        let mut inherited = Some((build(&fake, &governor), build(&fake, &governor)));
        let found = in_a_child(|| {
            let before = governor.stats();
            require(before.granted + before.held == 0, format!("inherited: {before:?}"))?;
            let own = Fake::new();
            let pools = [0; 2].map(|_| build(&own, &governor));
            drop(inherited.take());
            for pool in &pools {
                pool.ready(PLENTY).map_err(|error| error.to_string())?;
            }
            require(own.books().alive() == 4, "the pools are not whole")?;
            let anew = ConnectGovernor::builder().max_concurrent(2).shared(KEY);
            require(anew.is_ok(), "the key is the parent's")?;
            require(governor.stats().granted == 4, format!("{:?}", governor.stats()))
        });
        drop(inherited);
        found.unwrap();
    }
    hanging.open_gate();
    connecting.ready(PLENTY).unwrap();
    held.ready(PLENTY).unwrap();
}

/// The thread that changes the limits has a lock that is held for ever in a child.
#[cfg(unix)]
#[test]
fn a_child_has_the_changed_limits_and_may_change_them_in_the_midst_of_a_change() {
    use crate::common::fork::{in_a_child, require};
    let _alone = crate::alone();
    let governor = ConnectGovernor::builder().max_concurrent(1).build().unwrap();
    governor.change(|limits| limits.max_concurrent(7)).unwrap();
    let (changes, forked) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let change = governor.change(|limits| {
                changes.wait();
                forked.wait();
                limits.max_concurrent(8)
            });
            change.unwrap();
        });
        changes.wait();
        let found = in_a_child(|| {
            let said = format!("{governor:?}");
            require(said.contains("max_concurrent: 7,"), said)?;
            let change = governor.change(|limits| limits.max_concurrent(2));
            change.map_err(|error| error.to_string())?;
            let builder = Pool::builder(Fake::new()).max_size(2).min_size(2);
            let pool = builder.connect_governor(&governor).build().unwrap();
            pool.ready(PLENTY).map_err(|error| error.to_string())
        });
        forked.wait();
        found.unwrap();
    });
    assert!(format!("{governor:?}").contains("max_concurrent: 8,"));
}

/// A handle alone keeps no housekeeper.
#[cfg(target_os = "linux")]
#[test]
fn the_threads_end_with_the_last_pool_though_its_governor_lives_on() {
    let _alone = crate::alone();
    let test = "the_threads_end_with_the_last_pool_though_its_governor_lives_on";
    in_child(test, 3 * PLENTY, || {
        let governor = ConnectGovernor::builder().max_concurrent(1).build().unwrap();
        for round in 1..4 {
            let builder = Pool::builder(Fake::new()).max_size(3).min_size(3);
            let pool = builder.connect_governor(&governor).build().unwrap();
            pool.ready(PLENTY).unwrap();
            drop(pool);
            crate::threads::assert_no_thread_is_left();
            assert_eq!(governor.stats().granted, 3 * round, "it remembers");
        }
    });
}
