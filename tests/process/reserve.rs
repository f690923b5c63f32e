//! A reserve in a forked child, and the threads that it does without.
#![cfg(target_os = "linux")]

use crate::common::fork::{LIMIT, in_a_child, require};
use crate::common::*;
use crate::threads::{assert_no_thread_is_left, threads_of_pools};
use caliburn::Pool;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(20);
const FORKS: usize = 20;

fn with_reserve(fake: &Fake) -> Pool<Fake> {
    let builder = Pool::builder(fake.clone()).max_size(2).min_size(2).reserved(2);
    builder.sweep_interval(Some(MOMENT / 10)).wait_ready(PLENTY).build().unwrap()
}

#[test]
fn an_inherited_reserve_lends_nothing_and_is_left_to_the_parent() {
    let _alone = crate::alone();
    for _ in 0..FORKS {
        let fake = Fake::new();
        let mut pool = Some(with_reserve(&fake));
        let mut reserve = pool.as_ref().unwrap().reserved().cloned();
        let mut held = vec![reserve.as_ref().unwrap().get_timeout(PLENTY).unwrap()];
        let calls = || {
            let books = fake.books();
            [&books.attempts, &books.resets, &books.dropped].map(|count| count.load(SeqCst))
        };
        let found = in_a_child(|| {
            let (before, begun) = (calls(), Instant::now());
            let both = (pool.take().unwrap(), reserve.take().unwrap());
            for part in [&both.0, &both.1] {
                let is_forked = |text: String| require(text.contains("forked"), text);
                is_forked(part.try_get().map(drop).unwrap_err().to_string())?;
                is_forked(part.get_timeout(5 * MOMENT).map(drop).unwrap_err().to_string())?;
                let Poll::Ready(Err(error)) = poll_once(&mut Box::pin(part.get_async())) else {
                    return Err("get_async: it waits, or lends".into());
                };
                is_forked(error.to_string())?;
                require(part.change(|settings| settings.max_waiters = 1).is_err(), "it changes")?;
                require(part.ready(5 * MOMENT).is_err(), "it is ready")?;
                require(part.invalidate(5 * MOMENT) == 0, "it invalidates")?;
                require(part.switch_manager(Fake::new(), 5 * MOMENT).is_err(), "it switches")?;
                part.sweep();
                part.close();
                let _ = part.close_within(5 * MOMENT);
                require(part.is_closed(), "it is open")?;
            }
            require(begun.elapsed() < LIMIT, "it takes long")?;
            held.iter_mut().for_each(|conn| conn.dirty = true);
            held.clear();
            drop(both);
            let own = Fake::new();
            let pool = with_reserve(&own);
            let reserve = pool.reserved().ok_or("no reserve of its own")?;
            drop(reserve.get_timeout(LIMIT).map_err(|error| error.to_string())?);
            let report = pool.close_within(LIMIT);
            require(report.is_complete() && own.books().alive() == 0, report)?;
            require(calls() == before, format!("before and after: {before:?}, {:?}", calls()))
        });
        found.unwrap();
        drop((held, reserve));
        let pool = pool.unwrap();
        drop(pool.reserved().unwrap().get_timeout(PLENTY).unwrap());
        let report = pool.close_within(PLENTY);
        assert!(report.is_complete() && fake.books().alive() == 0, "{report}");
    }
}

#[test]
fn a_reserve_at_rest_has_no_thread_of_its_own() {
    let _alone = crate::alone();
    in_child("a_reserve_at_rest_has_no_thread_of_its_own", 3 * PLENTY, || {
        let builder = Pool::builder(Fake::new()).max_size(2).min_size(2).reserved(2);
        let pool = builder.wait_ready(PLENTY).build().unwrap();
        eventually("one housekeeper is all there is", || threads_of_pools().len() == 1);
        drop(pool.reserved().unwrap().get_timeout(PLENTY).unwrap());
        let reserve = pool.reserved().unwrap().clone();
        drop(pool);
        assert!(reserve.is_closed());
        drop(reserve);
        assert_no_thread_is_left();
    });
}
