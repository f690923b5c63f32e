//! How many connections are opened for a line of waiters, and when.

use crate::sim::{Sim, ms, steady};
use caliburn::observe::EventKind;
use std::time::Duration;

const MICRO: Duration = Duration::from_micros(1);

/// A pool of five, open, with room for 50.
fn of_five(connect: Duration) -> Sim {
    Sim::ready(connect, |builder| builder.min_size(5).max_size(50).record_events(1_024))
}

#[test]
fn the_speed_of_the_line_and_of_connects_is_known_after_a_burst() {
    steady(|| {
        let sim = of_five(ms(20));
        let before = sim.pool.stats();
        assert_eq!((before.hand_over_interval, before.usual_hold_time), (None, None));
        assert_eq!(before.hand_over_rate(), None);
        assert_eq!(before.usual_connect_time, Some(ms(20)));
        sim.burst(50, ms(2));
        sim.pass(ms(500));
        let stats = sim.pool.stats();
        let hold = stats.usual_hold_time.unwrap();
        assert!(hold > ms(2) * 9 / 10 && hold < ms(2) * 13 / 10, "{hold:?}");
        let rate = stats.hand_over_rate().unwrap() / stats.size as f64;
        assert!((380.0..560.0).contains(&rate), "{rate} per second and connection");
        assert_eq!(stats.uptime, sim.now());
    });
}

#[test]
fn a_burst_that_is_served_before_a_connect_is_over_opens_none_once_that_is_known() {
    steady(|| {
        for (connect, first) in [(ms(20), 3), (ms(150), 1)] {
            let sim = of_five(connect);
            let burst = |most: usize| {
                let before = sim.begun();
                let took = sim.burst(50, ms(2));
                sim.pass(ms(400));
                let begun = sim.begun() - before;
                assert!(begun <= most, "{begun} begun, {took:?}");
                assert!(took <= ms(24), "{took:?}");
            };
            burst(first);
            let open = sim.pool.stats().size;
            (0..3).for_each(|_| burst(0));
            assert_eq!(sim.pool.stats().size, open);
        }
    });
}

/// Each has left before its line is as old as a connect, and the next begins a new one.
#[test]
fn borrowers_with_little_time_that_leave_unserved_do_not_hold_growth_back_for_ever() {
    steady(|| {
        for (connect, limit) in [(ms(20), ms(10)), (ms(400), ms(200)), (ms(1_000), ms(150))] {
            let sim = Sim::ready(connect, |builder| builder.min_size(2).max_size(8));
            sim.burst(40, ms(2));
            sim.pass(ms(500));
            let mut load = sim.load(ms(60_000));
            let open = sim.pool.stats().size;
            load.come(open, || sim.pool.get_async());
            let before = sim.begun();
            load.hold = ms(1);
            for _ in 0..6 {
                load.come(1, || sim.pool.get_timeout_async(limit));
                load.pass(ms(500), ms(1), false);
            }
            let stats = sim.pool.stats();
            assert!(sim.begun() > before && load.served >= 2, "{connect:?} {limit:?}: {stats}");
        }
    });
}

/// A burst now and then may be served by what there is; one after the other may not.
#[test]
fn bursts_that_come_again_and_again_make_the_pool_grow() {
    steady(|| {
        let sim = of_five(ms(250));
        let mut load = sim.load(ms(10));
        for _ in 0..30 {
            load.come(100, || sim.pool.get_async());
            load.pass(ms(500), ms(10), false);
        }
        let stats = sim.pool.stats();
        assert!(stats.size > 25, "{stats}");
    });
}

/// Those that have been served come again, so no line drains: a forecast that takes it for a burst
/// would hold growth back.
#[test]
fn under_steady_overload_a_pool_grows_as_fast_as_connects_allow() {
    steady(|| {
        for hold in [ms(20), ms(2), 500 * MICRO] {
            let sim = Sim::ready(ms(50), |builder| builder.min_size(1).max_size(16));
            for is_known in [false, true] {
                let mut load = sim.load(hold);
                load.come(64, || sim.pool.get_async());
                let begun = sim.now();
                while sim.pool.stats().size < 16 {
                    load.step(true);
                    let limit = if is_known { ms(310) } else { ms(260) };
                    let stats = sim.pool.stats();
                    assert!(sim.now() - begun < limit, "{hold:?}, {is_known}: {stats}");
                }
                drop(load);
                sim.pool.change(|settings| settings.max_size = 1).unwrap();
                sim.until(ms(60_000), || sim.pool.stats().size == 1);
                sim.pool.change(|settings| settings.max_size = 16).unwrap();
                sim.pass(ms(1_000));
            }
        }
    });
}

/// Each line is gone after a moment, and the next is there at once.
#[test]
fn two_that_always_want_the_one_connection_get_another() {
    steady(|| {
        let sim = Sim::ready(ms(50), |builder| builder.min_size(1).max_size(4));
        sim.burst(40, ms(1));
        sim.pool.change(|settings| settings.max_size = 1).unwrap();
        sim.until(ms(60_000), || sim.pool.stats().size == 1);
        sim.pool.change(|settings| settings.max_size = 4).unwrap();
        sim.pass(ms(1_000));
        let mut load = sim.load(ms(1));
        load.come(2, || sim.pool.get_async());
        let begun = sim.now();
        while sim.pool.stats().size < 2 {
            load.step(true);
            assert!(sim.now() - begun < ms(110), "{}", sim.pool.stats());
        }
    });
}

#[test]
fn a_long_line_that_is_no_longer_young_does_not_wait_for_the_ramp() {
    steady(|| {
        let sim = Sim::ready(ms(20), |builder| builder.min_size(5).max_size(16));
        let mut load = sim.load(ms(2));
        load.come(200, || sim.pool.get_async());
        load.pass(ms(21), ms(2), true);
        let stats = sim.pool.stats();
        assert_eq!((stats.size, stats.opening), (6, 4), "{stats}");
    });
}

#[test]
fn connects_that_take_long_keep_no_others_from_being_begun() {
    steady(|| {
        let sim = of_five(ms(20));
        sim.burst(50, ms(2));
        sim.pass(ms(500));
        sim.connects_take(ms(3_000));
        let before = sim.begun();
        let mut load = sim.load(ms(2_000));
        load.come(400, || sim.pool.get_async());
        load.pass(ms(255), ms(2_000), true);
        assert!(sim.begun() > before + 1, "{}", sim.pool.stats());
    });
}

/// What was known came from connections that are no more.
#[test]
fn a_pool_with_nothing_open_opens_one_at_once_whatever_is_known() {
    steady(|| {
        let sim = of_five(ms(150));
        sim.burst(50, ms(2));
        sim.pass(ms(500));
        sim.pool.change(|settings| (settings.min_size, settings.max_size) = (0, 0)).unwrap();
        sim.pass(ms(10));
        assert_eq!(sim.pool.stats().size, 0);
        sim.pool.change(|settings| settings.max_size = 50).unwrap();
        let before = sim.begun();
        let mut load = sim.load(ms(2));
        load.come(3, || sim.pool.get_async());
        sim.settle();
        assert_eq!(sim.begun(), before + 1);
    });
}

#[test]
fn a_server_that_has_stopped_answering_does_not_hold_growth_back() {
    steady(|| {
        let sim = of_five(ms(150));
        sim.burst(50, ms(2));
        sim.pass(ms(1_000));
        let before = sim.begun();
        let mut load = sim.load(ms(60_000));
        // What was lent does not come back.
        load.come(50, || sim.pool.get_async());
        load.pass(ms(140), ms(60_000), true);
        assert!(sim.begun() > before, "{}", sim.pool.stats());
    });
}

#[test]
fn each_decision_is_told_once_with_its_reasons() {
    steady(|| {
        let sim = of_five(ms(20));
        let decided = || {
            let events = sim.pool.recent_events().into_iter().map(|event| event.kind);
            let decided = events.filter(|kind| matches!(kind, EventKind::GrowthDecided { .. }));
            decided.collect::<Vec<_>>()
        };
        assert_eq!(sim.pool.stats().growth_decisions, 0, "the minimum is no shortage");
        let mut load = sim.load(ms(2));
        load.come(200, || sim.pool.get_async());
        load.pass(ms(21), ms(2), true);
        let told = decided();
        let EventKind::GrowthDecided { waiting, rate, connect_time, connects } = told[0] else {
            panic!()
        };
        assert_eq!((waiting, rate, connect_time, connects), (1, None, Some(ms(20)), 1));
        let EventKind::GrowthDecided { waiting, rate, connects, .. } = told[1] else { panic!() };
        assert!((190..=195).contains(&waiting) && (3..=4).contains(&connects), "{told:?}");
        assert!(rate.is_some_and(|rate| (1_500.0..3_500.0).contains(&rate)), "{rate:?}");
        let text = told[1].to_string();
        assert!(
            text.contains(" connects are asked for, as 19")
                && text.contains("; a connect takes 20")
        );
        let asked = told.iter().map(|kind| match kind {
            EventKind::GrowthDecided { connects, .. } => *connects,
            _ => 0,
        });
        let stats = sim.pool.stats();
        assert_eq!(asked.sum::<usize>(), stats.connects as usize - 5 + stats.opening, "{told:?}");
        assert_eq!(stats.growth_decisions, told.len() as u64);
    });
}

#[test]
fn a_pause_and_another_manager_make_the_pool_forget() {
    steady(|| {
        let sim = of_five(ms(20));
        let learn = || {
            sim.burst(50, ms(2));
            sim.pass(ms(100));
            assert!(sim.pool.stats().usual_hold_time.is_some());
        };
        learn();
        sim.pool.pause();
        sim.pass(ms(3_000));
        sim.pool.resume();
        let stats = sim.pool.stats();
        assert_eq!((stats.usual_hold_time, stats.hand_over_interval), (None, None));
        assert!(stats.usual_connect_time.is_some() && stats.shortest_hold_time.is_some());
        learn();
        let hold = sim.pool.stats().usual_hold_time.unwrap();
        assert!(hold < ms(3), "the pause is no loan time: {hold:?}");

        let mut switch = Box::pin(sim.pool.switch_manager_async(sim.server.clone(), ms(10_000)));
        let mut is_over = false;
        sim.until(ms(5_000), || {
            is_over = is_over || crate::common::poll_once(&mut switch).is_ready();
            is_over
        });
        let stats = sim.pool.stats();
        assert_eq!((stats.usual_hold_time, stats.shortest_hold_time), (None, None));
    });
}
