//! Limits that make sense or do not, and keys.

use super::*;
use caliburn::ConnectGovernorBuilder;
use caliburn::error::Problem;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// It may be kept anywhere, such as in a static.
const _: fn() = || {
    fn is_of_use<T: Send + Sync + UnwindSafe + RefUnwindSafe + Clone + 'static>() {}
    is_of_use::<ConnectGovernor>();
};

fn problems(set: impl FnOnce(ConnectGovernorBuilder) -> ConnectGovernorBuilder) -> Vec<Problem> {
    let error = set(ConnectGovernor::builder()).build().unwrap_err();
    error.problems().to_vec()
}

#[test]
fn limits_that_make_no_sense_are_refused_all_at_once() {
    let all = problems(|builder| builder.max_concurrent(0).per_second(0).burst(0));
    let zero = ["max_concurrent", "per_second", "burst"].map(Problem::Zero);
    assert_eq!(all, zero);
    assert_eq!(problems(|builder| builder.per_second(-0.0)), [Problem::Zero("per_second")]);
    for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let found = problems(|builder| builder.per_second(rate));
        assert!(
            matches!(&found[..], [Problem::Invalid { setting, .. }] if setting == "per_second")
        );
        ConnectGovernor::builder().per_second(rate).shared("nonsense").unwrap_err();
    }
    assert!(ConnectGovernor::find("nonsense").is_none());
}

#[test]
fn the_greatest_and_least_limits_are_limits_like_others() {
    let fake = Fake::new();
    for rate in [1e6, f64::MAX, f64::MIN_POSITIVE, 1e-9] {
        let (clock, _) = Clock::mock();
        let builder = ConnectGovernor::builder().max_concurrent(usize::MAX).burst(usize::MAX);
        let governor = builder.per_second(rate).clock(clock).build().unwrap();
        let pool = by_hand(&fake, &governor).0.max_size(3).min_size(3).build().unwrap();
        pool.maintain();
        assert_eq!(pool.stats().size, 3, "{rate}");
    }
    let governor = ConnectGovernor::builder().build().unwrap();
    let pool = by_hand(&fake, &governor).0.max_size(3).min_size(3).build().unwrap();
    pool.maintain();
    assert_eq!((pool.stats().size, governor.stats().granted), (3, 3), "without limits it counts");
}

#[test]
fn a_governor_whose_clock_stands_still_gives_what_was_saved_up_and_no_more() {
    let (clock, hand) = Clock::mock();
    let builder = ConnectGovernor::builder().per_second(2).burst(3);
    let governor = builder.clock(clock).build().unwrap();
    let fake = Fake::new();
    let (builder, pools_hand) = by_hand(&fake, &governor);
    let pool = builder.max_size(8).min_size(8).connect_concurrency(8).build().unwrap();
    let size = || {
        pool.maintain();
        pool.stats().size
    };
    assert_eq!(size(), 3);
    pools_hand.advance(100 * SECOND);
    assert_eq!(size(), 3, "the pool's own time does not matter");
    hand.advance(SECOND);
    assert_eq!(size(), 5);
    hand.advance(SECOND / 2);
    assert_eq!(size(), 6);
}

#[test]
fn pools_that_name_the_same_key_share_one_governor() {
    let key = "shared by two";
    let shared = || ConnectGovernor::builder().max_concurrent(3).per_second(10).shared(key);
    let one = shared().unwrap();
    let fake = Fake::new();
    let pool = by_hand(&fake, &one).0.max_size(3).min_size(3).build().unwrap();
    pool.maintain();
    assert_eq!(shared().unwrap().stats().granted, 1, "a burst of one");
    assert_eq!(ConnectGovernor::find(key).unwrap().stats().waiting, 1);
    let differs = ConnectGovernor::builder().max_concurrent(4).per_second(9).burst(9).shared(key);
    let expected = ["max_concurrent", "per_second", "burst"].map(Problem::Differs);
    assert_eq!(differs.unwrap_err().problems(), expected);
    let (clock, _) = Clock::mock();
    let builder = ConnectGovernor::builder().max_concurrent(3).per_second(10).clock(clock);
    assert_eq!(builder.shared(key).unwrap_err().problems(), [Problem::Differs("clock")]);
    assert!(ConnectGovernor::find("another").is_none());

    drop(one);
    assert!(ConnectGovernor::find(key).is_some(), "the pool has it");
    drop(pool);
    assert!(ConnectGovernor::find(key).is_none());
    let anew = ConnectGovernor::builder().max_concurrent(7).shared(key).unwrap();
    assert_eq!(anew.stats().granted, 0);
}
