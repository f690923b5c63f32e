//! A borrower that cannot be served in time is refused at once, if the pool is set so.

use crate::common::poll_once;
use crate::sim::{Sim, Slow, ms, steady};
use caliburn::{Builder, Fairness, GetError};
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

/// A pool of so many connections, all open, that refuses who is hopeless.
fn strict(size: usize, more: impl FnOnce(Builder<Slow>) -> Builder<Slow>) -> Sim {
    let admission = |builder: Builder<Slow>| builder.deadline_admission(true);
    Sim::ready(ms(5), |builder| more(admission(builder.min_size(size).max_size(size))))
}

/// Loans of 10 ms are known, and so many stand in line behind one that is held.
fn known(sim: &Sim, line: usize) -> crate::sim::Load<'_> {
    sim.burst(40, ms(10));
    let mut load = sim.load(ms(10));
    load.come(1, || sim.pool.get_async());
    load.come(line, || sim.pool.get_timeout_async(ms(60_000)));
    load
}

fn is_refused(get: impl Future<Output = crate::sim::Got>) -> bool {
    match poll_once(&mut Box::pin(get)) {
        Poll::Ready(Err(GetError::Hopeless { .. })) => true,
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Ready(Ok(_)) | Poll::Pending => false,
    }
}

#[test]
fn who_cannot_be_served_in_time_is_refused_at_once_and_told_why() {
    steady(|| {
        let sim = strict(1, |builder| builder.record_events(512));
        let load = known(&sim, 20);
        assert!(!is_refused(sim.pool.get_timeout_async(ms(600))));
        let Poll::Ready(Err(error)) = poll_once(&mut Box::pin(sim.pool.get_timeout_async(ms(300))))
        else {
            panic!("it waits")
        };
        let text = error.to_string();
        let GetError::Hopeless { expected_wait, limit, counts } = error else { panic!("{error}") };
        assert!((ms(190)..ms(260)).contains(&expected_wait), "{expected_wait:?}");
        assert_eq!((limit, counts.waiting), (ms(300), 20));
        let rest =
            ["refused at once: a wait of 2", "limit of 300.0ms", "raise max_size", "20 waiting"];
        assert!(rest.iter().all(|part| text.contains(part)), "{text}");
        let stats = sim.pool.stats();
        assert_eq!((stats.hopeless, stats.waits_in_vain, stats.timeouts), (1, 1, 0));
        let events = sim.pool.recent_events();
        let told = events.iter().find(|event| event.kind.as_str() == "hopeless").unwrap();
        assert!(told.to_string().ends_with("is too long for a limit of 300.0ms"), "{told}");
        assert_eq!(load.waiting(), 20);
    });
}

#[test]
fn it_is_off_unless_it_is_turned_on_and_can_be_turned_off_again() {
    steady(|| {
        let sim = Sim::ready(ms(5), |builder| builder.min_size(1).max_size(1));
        let _load = known(&sim, 20);
        let hopeless = || is_refused(sim.pool.get_timeout_async(ms(20)));
        assert!(!hopeless());
        for is_on in [true, false] {
            sim.pool.change(|settings| settings.deadline_admission = is_on).unwrap();
            assert_eq!(hopeless(), is_on);
        }
    });
}

/// Callers that bear 100 ms come three times as fast as they can be served, for three seconds.
#[test]
fn in_an_overload_the_pool_is_busy_and_those_that_are_let_in_are_served_in_time() {
    steady(|| {
        for fairness in [Fairness::Fifo, Fairness::BoundedBarging(ms(20))] {
            let sim = strict(4, |builder| builder.fairness(fairness));
            let mut load = sim.load(ms(10));
            for _ in 0..3_000 {
                // Four connections, 10 ms each: 400 per second.
                load.come(1, || sim.pool.get_timeout_async(ms(100)));
                load.pass(Duration::from_micros(750), ms(10), false);
            }
            let (stats, served) = (sim.pool.stats(), load.served);
            let could = sim.now().as_millis() as usize * 4 / 10;
            assert!(served > could * 85 / 100, "{fairness:?}: {served} of {could}; {stats}");
            assert!(stats.timeouts < 20, "{fairness:?}: {stats}");
            assert!(stats.hopeless > 1_000, "{fairness:?}: {stats}");
            load.pass(ms(300), ms(10), false);
            assert!(!is_refused(sim.pool.get_timeout_async(ms(15))), "the line is empty");
        }
    });
}

#[test]
fn if_all_are_refused_the_line_empties_and_the_pool_admits_again() {
    steady(|| {
        let sim = strict(1, |builder| builder);
        let mut load = known(&sim, 30);
        let mut admitted = 0;
        for _ in 0..100 {
            load.come(1, || sim.pool.get_timeout_async(ms(50)));
            admitted += usize::from(load.errors.pop().is_none());
            load.pass(ms(10), ms(10), false);
        }
        assert!(admitted > 50, "{admitted}: {}", sim.pool.stats());
    });
}

#[test]
fn as_long_as_nothing_is_known_nobody_is_refused() {
    steady(|| {
        let sim = strict(1, |builder| builder);
        let mut load = sim.load(ms(10));
        load.come(200, || sim.pool.get_timeout_async(ms(1)));
        assert!(load.errors.is_empty());
    });
}

#[test]
fn the_connections_of_a_cold_start_teach_no_false_rate() {
    steady(|| {
        let sim = Sim::new(ms(200), |builder| builder.max_size(8).deadline_admission(true));
        let mut load = sim.load(ms(1));
        for _ in 0..40 {
            load.come(5, || sim.pool.get_timeout_async(ms(2_000)));
            load.pass(ms(20), ms(1), false);
        }
        assert_eq!(sim.pool.stats().hopeless, 0);
        load.pass(ms(1_000), ms(1), false);
        assert_eq!((load.served, load.errors.len()), (200, 0));
    });
}

#[test]
fn a_pool_that_may_still_grow_is_taken_for_grown() {
    steady(|| {
        let sim =
            Sim::ready(ms(5), |builder| builder.min_size(1).max_size(16).deadline_admission(true));
        sim.burst(8, ms(10));
        sim.pool.change(|settings| settings.max_size = 1).unwrap();
        sim.pass(ms(50));
        let _load = known(&sim, 20);
        assert!(is_refused(sim.pool.get_timeout_async(ms(100))));
        sim.pool.change(|settings| settings.max_size = 16).unwrap();
        assert!(!is_refused(sim.pool.get_timeout_async(ms(100))));
    });
}

/// A connect takes longer than any of them can wait; what is open serves them in no time.
#[test]
fn a_pool_that_may_still_grow_refuses_nobody_whom_it_can_serve_as_it_is() {
    steady(|| {
        let sim = Sim::ready(ms(300), |builder| {
            builder.min_size(4).max_size(16).deadline_admission(true)
        });
        let mut load = sim.load(ms(10));
        for _ in 0..20 {
            load.come(20, || sim.pool.get_timeout_async(ms(300)));
            load.pass(ms(500), ms(10), false);
        }
        assert_eq!((load.served, load.errors.len()), (400, 0), "{}", sim.pool.stats());
    });
}

#[test]
fn what_loans_took_before_a_long_rest_is_forgotten() {
    steady(|| {
        let sim = strict(4, |builder| builder);
        let mut load = sim.load(ms(2_000));
        load.come(16, || sim.pool.get_async());
        load.pass(ms(10_000), ms(2_000), false);
        assert!(sim.pool.stats().usual_hold_time > Some(ms(1_000)), "{}", sim.pool.stats());
        sim.hand.advance(Duration::from_secs(3_600));
        load.hold = ms(2);
        for _ in 0..10 {
            load.come(20, || sim.pool.get_timeout_async(ms(1_000)));
            load.pass(ms(500), ms(2), false);
        }
        assert_eq!(load.errors.len(), 0, "{}", sim.pool.stats());
    });
}

#[test]
fn in_a_pause_and_in_an_outage_nobody_is_refused() {
    steady(|| {
        let sim = strict(1, |builder| builder);
        let mut load = known(&sim, 20);
        let hopeless = || is_refused(sim.pool.get_timeout_async(ms(50)));
        assert!(hopeless());
        sim.pool.pause();
        assert!(!hopeless());
        sim.pass(ms(2_000));
        sim.pool.resume();
        assert!(!hopeless(), "the pause says nothing of loans");
        load.pass(ms(100), ms(10), false);
        assert!(hopeless(), "it has learnt again");

        sim.breaks(true);
        load.break_all();
        sim.pass(ms(100));
        assert!(sim.pool.stats().outages > 0 && !hopeless(), "{}", sim.pool.stats());
        load.pass(ms(2_000), ms(10), false);
        sim.breaks(false);
        load.pass(ms(1_100), ms(10), false);
        assert!(!hopeless() || load.served > 10, "the outage says nothing of loans");
    });
}

#[test]
fn a_stall_is_not_taken_for_slow_loans() {
    steady(|| {
        let sim = strict(2, |builder| builder);
        let mut load = known(&sim, 10);
        load.pass(ms(20), ms(3_000), false);
        // All is held for three seconds, and then goes on as before.
        load.pass(ms(3_100), ms(10), false);
        load.come(6, || sim.pool.get_timeout_async(ms(60_000)));
        assert!(!is_refused(sim.pool.get_timeout_async(ms(200))), "{:#?}", sim.pool.stats());
    });
}

#[test]
fn each_class_is_judged_by_its_own_queue_and_share() {
    steady(|| {
        let sim = strict(1, |builder| builder.class("urgent", 9));
        let mut load = known(&sim, 100);
        let urgent = sim.pool.class("urgent").unwrap();
        let limit = ms(300);
        assert!(is_refused(sim.pool.get_timeout_async(limit)));
        assert!(!is_refused(urgent.get_timeout_async(limit)), "it would be the first");
        load.come(5, || urgent.get_timeout_async(ms(60_000)));
        assert!(!is_refused(urgent.get_timeout_async(limit)), "a tenth goes to the others");
        load.come(20, || urgent.get_timeout_async(ms(60_000)));
        assert!(is_refused(urgent.get_timeout_async(limit)));
    });
}

#[test]
fn a_reserve_refuses_nobody_for_it() {
    steady(|| {
        let sim = strict(1, |builder| builder.reserved(1));
        let reserve = sim.pool.reserved().unwrap();
        let is_off = || !reserve.settings().deadline_admission;
        assert!(is_off());
        sim.pool.change(|settings| settings.max_waiters = 1_000).unwrap();
        assert!(is_off() && sim.pool.settings().deadline_admission);
    });
}
