//! How many connections would do, and what borrowers wait for.

use crate::sim::{Load, Sim, ms, steady};
use caliburn::stats::{Advice, Bottleneck, Stats};
use caliburn::{GetError, Pool};
use std::time::Duration;

fn of_size(size: usize) -> Sim {
    Sim::ready(ms(5), |builder| builder.min_size(size).max_size(size).capacity(64))
}

/// What is to be said of the time in which `load` does this.
fn over<'a>(sim: &Sim, load: &mut Load<'a>, work: impl FnOnce(&mut Load<'a>)) -> Advice {
    let before = sim.pool.stats();
    work(load);
    sim.pool.stats().since(&before).advice()
}

#[test]
fn more_borrowers_than_connections_make_max_size_the_bottleneck_until_there_are_enough() {
    steady(|| {
        let sim = of_size(4);
        let mut load = sim.load(ms(10));
        load.come(16, || sim.pool.get_async());
        let advice = over(&sim, &mut load, |load| load.pass(ms(1_000), ms(10), true));
        let Advice { bottleneck, suggested_size, rate, hold_time, waiting, .. } = advice;
        assert_eq!(bottleneck, Bottleneck::MaxSize, "{advice}");
        assert!((380.0..420.0).contains(&rate), "{rate}");
        assert!((ms(9)..ms(12)).contains(&hold_time.unwrap()), "{hold_time:?}");
        assert!((10.0..13.0).contains(&waiting), "{waiting}");
        assert!((5..=8).contains(&suggested_size.unwrap()), "{suggested_size:?}");
        let start = "max_size is in the way: ";
        let text = advice.to_string();
        assert!(text.starts_with(start) && text.ends_with("and there may be 4"), "{text}");

        sim.pool.change(|settings| (settings.min_size, settings.max_size) = (24, 24)).unwrap();
        load.pass(ms(300), ms(10), true);
        let advice = over(&sim, &mut load, |load| load.pass(ms(1_000), ms(10), true));
        assert_eq!(advice.bottleneck, Bottleneck::None, "{advice}");
        let suggested = advice.suggested_size.unwrap();
        assert!((16..=24).contains(&suggested), "{advice}");
    });
}

#[test]
fn where_borrowers_hardly_wait_nothing_is_in_the_way() {
    steady(|| {
        let sim = Sim::ready(ms(5), |builder| builder.min_size(16).max_size(16).sample_use_time(1));
        let mut load = sim.load(ms(10));
        load.come(4, || sim.pool.get_async());
        let advice = over(&sim, &mut load, |load| load.pass(ms(1_000), ms(10), true));
        assert_eq!(
            (advice.bottleneck, advice.suggested_size),
            (Bottleneck::None, Some(6)),
            "{advice}"
        );
        let text = advice.to_string();
        assert!(text.starts_with("nothing is in the way: about 6 of the 16 connections"), "{text}");

        let unmeasured = of_size(16);
        let mut load = unmeasured.load(ms(10));
        load.come(4, || unmeasured.pool.get_async());
        let advice = over(&unmeasured, &mut load, |load| load.pass(ms(1_000), ms(10), true));
        assert_eq!(
            (advice.bottleneck, advice.suggested_size),
            (Bottleneck::None, None),
            "{advice}"
        );
        assert_eq!(of_size(1).pool.advice().bottleneck, Bottleneck::None);
    });
}

#[test]
fn those_that_wait_still_are_not_overlooked() {
    steady(|| {
        let sim = of_size(2);
        let mut load = sim.load(ms(600_000));
        load.come(100, || sim.pool.get_timeout_async(ms(600_000)));
        let advice = over(&sim, &mut load, |load| load.pass(ms(1_000), ms(600_000), false));
        assert_eq!(advice.bottleneck, Bottleneck::MaxSize, "{advice}");
        assert_eq!(advice.waiting, 98.0);
    });
}

/// The server does one query at a time: with each connection that is in use all take longer.
#[test]
fn if_loans_take_longer_the_more_are_lent_the_server_is_the_bottleneck() {
    steady(|| {
        let sim = of_size(2);
        let mut load = sim.load(ms(5));
        load.come(40, || sim.pool.get_async());
        load.pass(ms(500), ms(5), true);
        sim.pool.change(|settings| (settings.min_size, settings.max_size) = (16, 16)).unwrap();
        load.pass(ms(500), ms(40), true);
        let advice = over(&sim, &mut load, |load| load.pass(ms(2_000), ms(40), true));
        assert_eq!(advice.bottleneck, Bottleneck::Server, "{advice}");
        assert!((2..=5).contains(&advice.suggested_size.unwrap()), "{advice}");
        let text = advice.to_string();
        assert!(text.contains(" at best; about ") && text.contains("of the 16 conn"), "{text}");
        let shortest = advice.shortest_hold_time.unwrap();
        assert!((ms(4)..ms(6)).contains(&shortest), "{text}");
    });
}

#[test]
fn a_cold_start_does_not_make_the_server_the_bottleneck() {
    steady(|| {
        let sim = Sim::new(ms(100), |builder| builder.max_size(8));
        let mut load = sim.load(ms(1));
        load.come(40, || sim.pool.get_async());
        // The first loans of each connection are short, and most of the time there are few.
        load.pass(ms(600), ms(1), true);
        let starting = sim.pool.stats();
        assert!(starting.size == 8, "{starting}");
        let same = |advice: Advice| assert_eq!(advice.bottleneck, Bottleneck::MaxSize, "{advice}");
        same(over(&sim, &mut load, |load| load.pass(ms(1_000), ms(1), true)));

        // A pool that was never seen with a line while it grew has learnt nothing from that.
        let sim = Sim::new(ms(100), |builder| builder.max_size(8));
        let mut load = sim.load(ms(10));
        load.come(40, || sim.pool.get_async());
        load.pass(ms(450), ms(10), true);
        same(over(&sim, &mut load, |load| load.pass(ms(1_000), ms(10), true)));
    });
}

#[test]
fn neither_a_pause_nor_a_stall_passes_for_slow_loans() {
    steady(|| {
        let sim = of_size(4);
        let mut load = sim.load(ms(10));
        load.come(16, || sim.pool.get_async());
        load.pass(ms(500), ms(10), true);
        let advice = over(&sim, &mut load, |load| {
            sim.pool.pause();
            load.pass(ms(3_000), ms(10), true);
            sim.pool.resume();
            load.pass(ms(500), ms(10), true);
        });
        assert!(
            advice.bottleneck == Bottleneck::MaxSize && advice.hold_time < Some(ms(12)),
            "{advice}"
        );
        let advice = over(&sim, &mut load, |load| {
            load.pass(ms(20), ms(3_000), true);
            load.pass(ms(3_000), ms(10), true);
            load.pass(ms(500), ms(10), true);
        });
        assert!(
            advice.bottleneck == Bottleneck::MaxSize && advice.hold_time < Some(ms(12)),
            "{advice}"
        );
    });
}

#[test]
fn in_an_outage_it_is_connects_that_borrowers_wait_for_in_vain() {
    steady(|| {
        let sim = of_size(4);
        let mut load = sim.load(ms(10));
        load.come(4, || sim.pool.get_async());
        sim.step();
        sim.breaks(true);
        load.break_all();
        let advice = over(&sim, &mut load, |load| {
            for _ in 0..20 {
                load.come(5, || sim.pool.get_timeout_async(ms(100)));
                load.pass(ms(120), ms(10), false);
            }
        });
        assert!(load.errors.iter().all(|error| matches!(error, GetError::TimedOut { .. })));
        assert!(!load.errors.is_empty());
        assert_eq!(advice.bottleneck, Bottleneck::Connects, "{advice}");
        assert!(advice.to_string().starts_with("connects are in the way: "), "{advice}");
    });
}

#[test]
fn the_pools_own_advice_is_about_what_happened_lately() {
    steady(|| {
        let sim = of_size(4);
        let ask = || sim.pool.advice();
        let mut load = sim.load(ms(10));
        load.come(16, || sim.pool.get_async());
        load.pass(ms(500), ms(10), true);
        assert_eq!(ask().bottleneck, Bottleneck::MaxSize, "since the pool was built");
        drop(load);
        let quiet = |pool: &Pool<_>, time: Duration| {
            sim.hand.advance(time);
            pool.maintain();
        };
        quiet(&sim.pool, ms(10_000));
        ask();
        quiet(&sim.pool, ms(10_000));
        let advice = ask();
        assert!(advice.bottleneck == Bottleneck::None && advice.rate < 1.0, "{advice}");
        let whole: Stats = sim.pool.stats();
        assert!(whole.advice().rate > 5.0);
    });
}
