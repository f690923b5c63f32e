//! Random operations on a pool and on a slow, obviously right model of it.

use crate::common::Fake;
use crate::model::spawners::{self, Way};
use crate::model::{Op, Setup, run};
use proptest::prelude::*;
use std::time::Duration;

/// With a strategy of those numbers and manners of those.
fn setups(
    strategies: std::ops::Range<u8>,
    manners: std::ops::Range<u8>,
) -> impl Strategy<Value = Setup> {
    let sizes = (0..4u8, 0..4u8, 0..4u8);
    (sizes, strategies, manners).prop_map(|((capacity, max_size, min_size), strategy, manner)| {
        Setup::of(capacity, max_size, min_size, Setup::kind(strategy, manner))
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = (0..Op::KINDS, 0..4u8).prop_map(|(kind, which)| Op::of(kind, which));
    proptest::collection::vec(op, 0..100)
}

fn ops_of_the_line() -> impl Strategy<Value = Vec<Op>> {
    let op = (proptest::sample::select(&Op::OF_THE_LINE[..]), 0..4u8);
    proptest::collection::vec(op.prop_map(|(kind, which)| Op::of(kind, which)), 0..100)
}

fn spawner_ops() -> impl Strategy<Value = Vec<spawners::Op>> {
    let op = (0..spawners::Op::KINDS, any::<u8>());
    proptest::collection::vec(op.prop_map(|(kind, n)| spawners::Op::of(kind, n)), 0..60)
}

/// Failures are printed in full, so no file of seeds is kept.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_pool_does_what_its_twin_does(
        setup in setups(Setup::THAT_JUDGE_NOTHING, Setup::EXACT), ops in ops()
    ) {
        run(setup, &ops);
    }

    #[test]
    fn the_accounts_agree_whatever_the_strategy(
        setup in setups(Setup::THAT_JUDGE, Setup::EXACT), ops in ops()
    ) {
        run(setup, &ops);
    }

    #[test]
    fn everybody_is_served_whoever_goes_first_sleeps_or_meets_the_dead(
        setup in setups(Setup::ALL, Setup::INEXACT), ops in ops()
    ) {
        run(setup, &ops);
    }

    #[test]
    fn who_sleeps_now_and_then_is_not_passed_over(
        setup in setups(Setup::THAT_JUDGE_NOTHING, Setup::SLEEPY), ops in ops_of_the_line()
    ) {
        run(setup, &ops);
    }

    #[test]
    fn settings_that_contradict_each_other_change_nothing(
        capacity in 1..6usize, max_size in 0..8usize, min_size in 0..8usize, min_idle in 0..8usize
    ) {
        let pool = caliburn::Pool::builder(Fake::new())
            .manual_maintenance()
            .capacity(capacity)
            .max_size(1)
            .build()
            .unwrap();
        let before = pool.settings();
        let mut after = before.clone();
        (after.max_size, after.min_size, after.min_idle) = (max_size, min_size, min_idle);
        let is_valid = max_size <= capacity && min_size <= max_size && min_idle <= max_size;
        prop_assert_eq!(pool.set(after.clone()).is_ok(), is_valid);
        prop_assert_eq!(pool.settings(), if is_valid { after } else { before });
    }

    #[test]
    fn the_quantiles_of_the_wait_time_rise_and_end_at_the_greatest(
        waits in proptest::collection::vec(0..1u64 << 40, 0..20)
    ) {
        let (clock, hand) = caliburn::Clock::mock();
        let builder = caliburn::Pool::builder(Fake::new()).manual_maintenance().clock(clock);
        let pool = builder.max_size(1).build().unwrap();
        // Each waits in line for a connection that is opened so much later.
        for nanos in &waits {
            let mut wait = Box::pin(pool.get_timeout_async(Duration::MAX));
            prop_assert!(crate::common::poll_once(&mut wait).is_pending());
            hand.advance(Duration::from_nanos(*nanos));
            pool.maintain();
            let std::task::Poll::Ready(Ok(conn)) = crate::common::poll_once(&mut wait) else {
                panic!("not served");
            };
            caliburn::PooledConnection::discard(conn);
            pool.maintain();
        }
        let histogram = pool.stats().wait_time;
        prop_assert_eq!(histogram.count(), waits.len() as u64);
        let greatest = waits.iter().max().copied().unwrap_or_default();
        prop_assert_eq!(histogram.max(), Duration::from_nanos(greatest));
        let quantiles: Vec<_> = (0..=20).map(|n| histogram.quantile(f64::from(n) / 20.0)).collect();
        prop_assert!(quantiles.is_sorted(), "{:?}", quantiles);
        prop_assert_eq!(quantiles[20], histogram.max());
        for (n, right) in [(10, 0.5), (18, 0.9)] {
            // At least that share of the waits is no longer than the quantile.
            let below = waits.iter().filter(|w| Duration::from_nanos(**w) <= quantiles[n]).count();
            prop_assert!(below as f64 >= (right * waits.len() as f64).floor());
        }
    }
}

proptest! {
    // A run that does not come to rest takes its time to say so.
    #![proptest_config(ProptestConfig { max_shrink_time: 120_000, ..config() })]

    #[test]
    fn everybody_is_served_whatever_the_spawner_does(
        setup in setups(Setup::ALL, Setup::ANY), way in any::<u8>(), ops in spawner_ops()
    ) {
        spawners::run(setup, Way::of(way), &ops);
    }
}
