//! Many pools at once.

use super::*;
use std::thread;

#[test]
fn forty_pools_that_start_at_once_open_no_more_than_the_governor_allows() {
    const POOLS: usize = 40;
    const SIZE: usize = 8;
    let (server, (governor, _)) = (Arc::new(Server::default()), timeless(8));
    let pools: Vec<_> = (0..POOLS)
        .map(|number| {
            let pool = guest(&server, number, SIZE, Some(&governor));
            // The next one comes after it.
            eventually("it has asked", || {
                let stats = governor.stats();
                let asked = (8.min(4 * (number + 1)), (number + 1).saturating_sub(2));
                (stats.connecting, stats.waiting) == asked
            });
            pool
        })
        .collect();
    // The first two pools have four places each. With each that is freed it goes round.
    eventually("those have come", || server.came().len() == 8);
    let firsts: Vec<_> = (2..POOLS).collect();
    for n in 1..=firsts.len() {
        server.let_in(1);
        eventually("the next comes", || server.came().len() == 8 + n);
    }
    assert_eq!(server.came()[8..], firsts, "each has its first before any has another");
    server.let_in(usize::MAX);
    pools.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
    assert_eq!((server.door(|door| door.most), server.came().len()), (8, POOLS * SIZE));
    assert_at_rest(&governor);
    assert!(governor.stats().granted >= (POOLS * SIZE) as u64);
}

#[test]
fn without_a_governor_each_pool_minds_its_own_limit_only() {
    let server = Arc::new(Server::default());
    let pools: Vec<_> = (0..10).map(|number| guest(&server, number, 8, None)).collect();
    eventually("all connect", || server.door(|door| door.inside) >= 10 * 4);
    server.let_in(usize::MAX);
    pools.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
}

#[test]
fn a_pool_that_wants_many_does_not_keep_others_from_their_turn() {
    let (server, (governor, _)) = (Arc::new(Server::default()), timeless(1));
    let busy = guest(&server, 0, 30, Some(&governor));
    eventually("it has asked for more", || governor.stats().waiting == 1);
    let others = [1, 2, 3].map(|number| {
        let pool = guest(&server, number, 2, Some(&governor));
        eventually("it has asked", || governor.stats().waiting == 1 + number);
        pool
    });
    server.let_in(usize::MAX);
    busy.ready(PLENTY).unwrap();
    others.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
    assert_eq!(server.came()[..5], [0, 0, 1, 2, 3]);
}

/// A lost wake-up would show: no clock moves, and a held pool at rest is visited by none.
#[test]
fn no_wake_up_is_lost_though_pools_come_and_go_all_the_time() {
    let (governor, _) = timeless(2);
    let fake = Fake::new();
    thread::scope(|scope| {
        for thread in 0..6 {
            let (governor, fake) = (&governor, &fake);
            scope.spawn(move || {
                for round in 0..40 {
                    let size = 1 + (round + thread) % 4;
                    let builder = Pool::builder(fake.clone()).max_size(size).min_size(size);
                    let pool = builder.connect_governor(governor).build().unwrap();
                    if round % 4 == 3 {
                        // It goes in the middle of it.
                        continue;
                    }
                    pool.ready(PLENTY).unwrap();
                    let held = pool.get_timeout(PLENTY).unwrap();
                    assert_eq!(pool.invalidate(Duration::ZERO), 1);
                    drop(held);
                }
            });
        }
    });
    eventually("all are closed", || fake.books().alive() == 0);
    assert_free(&governor);
}

#[test]
fn with_so_many_per_second_connects_are_spread_over_the_seconds() {
    let governor = ConnectGovernor::builder().per_second(100).burst(5).build().unwrap();
    let fake = Fake::new();
    let begun = std::time::Instant::now();
    let pools: Vec<_> = (0..10)
        .map(|_| {
            let builder = Pool::builder(fake.clone()).max_size(5).min_size(5);
            builder.connect_governor(&governor).build().unwrap()
        })
        .collect();
    pools.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(440),
        "{took:?}: fifty, less five, at a hundred a second"
    );
    assert!(took < Duration::from_millis(450) + ROOM, "{took:?}");
    assert!(governor.stats().held >= 9);
}
