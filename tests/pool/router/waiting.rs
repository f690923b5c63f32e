//! Borrowers that wait: while their endpoint fails, while all are down, until they give up.

use super::*;
use crate::common::{AsyncFake, assert_settled, eventually, poll_once};
use std::task::Poll;
use std::thread;
use std::time::Instant;

#[test]
fn a_borrower_that_waits_where_the_server_dies_is_sent_elsewhere() {
    let group = Group::of(&[REPLICA, REPLICA]);
    group.router.drain("db2");
    let held: Vec<_> = (0..4).map(|_| group.get(Target::Replica).unwrap()).collect();
    let mut waiting = Box::pin(group.router.get_async(Target::Replica));
    assert!(poll_once(&mut waiting).is_pending());
    assert_eq!(group.router.stats().endpoint("db1").unwrap().pool.waiting, 1);
    group.router.restore("db2");
    group.servers[0].kill();
    // Their borrowers learn of it, and nobody is served with these.
    drop(held);
    let mut lent = None;
    for _ in 0..80 {
        group.step();
        if let Poll::Ready(routed) = poll_once(&mut waiting) {
            lent = Some(routed.unwrap());
            break;
        }
    }
    let lent = lent.expect("it is served within two seconds");
    assert_eq!(group.router.endpoint_of(&lent).as_deref(), Some("db2"));
    assert_eq!(group.router.stats().endpoint("db1").unwrap().pool.waiting, 0);
}

#[test]
fn a_borrower_that_waits_where_it_drains_is_sent_elsewhere() {
    let group = Group::of(&[REPLICA, REPLICA]);
    group.router.drain("db2");
    let held: Vec<_> = (0..4).map(|_| group.get(Target::Replica).unwrap()).collect();
    let mut waiting = Box::pin(group.router.get_async(Target::Replica));
    assert!(poll_once(&mut waiting).is_pending());
    group.router.restore("db2");
    group.router.drain("db1");
    let mut served = None;
    eventually("it is served", || {
        group.step();
        match poll_once(&mut waiting) {
            Poll::Ready(routed) => served = Some(routed.unwrap()),
            Poll::Pending => {}
        }
        served.is_some()
    });
    assert_eq!(group.router.endpoint_of(&served.unwrap()).as_deref(), Some("db2"));
    drop(held);
}

#[test]
fn a_borrower_waits_for_the_first_endpoint_that_comes_back() {
    let servers: Vec<_> = (0..2).map(|_| (REPLICA, Fake::new())).collect();
    let fakes: Vec<_> = servers.iter().map(|(_, fake)| fake.clone()).collect();
    fakes.iter().for_each(Fake::kill);
    let router = live(servers, 2).build().unwrap();
    eventually("both are out", || {
        router.stats().endpoints.iter().all(|one| one.state == EndpointState::Out)
    });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| router.get(Target::Replica));
        fakes[1].revive();
        let lent = waiting.join().unwrap().unwrap();
        assert_eq!(router.endpoint_of(&lent).as_deref(), Some("db2"));
    });
}

#[test]
fn threads_and_tasks_wait_no_longer_than_their_limit() {
    let fake = Fake::new();
    fake.kill();
    let router = live(vec![(REPLICA, fake.clone())], 2).build().unwrap();
    let limit = Duration::from_millis(80);
    for _ in 0..3 {
        let begun = Instant::now();
        let error = router.get_timeout(Target::Replica, limit).unwrap_err();
        assert!(matches!(error, RouteError::TimedOut { .. }), "{error}");
        assert!(begun.elapsed() >= limit);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(router.get_timeout_async(Target::Replica, limit)).unwrap_err();
    assert!(matches!(error, RouteError::TimedOut { .. }), "{error}");
    // In line at an endpoint that is up.
    fake.revive();
    let held: Vec<_> = (0..2).map(|_| router.get(Target::Replica).unwrap()).collect();
    let error = router.get_timeout(Target::Replica, limit).unwrap_err();
    assert!(error.to_string().contains("all are lent"), "{error}");
    let error = runtime.block_on(router.get_timeout_async(Target::Replica, limit)).unwrap_err();
    assert!(error.to_string().contains("all are lent"), "{error}");
    drop(held);
}

#[test]
fn a_future_that_is_dropped_leaves_nothing_behind() {
    let group = Group::of(&[REPLICA, REPLICA]);
    let held: Vec<_> = (0..8).map(|_| group.get(Target::Replica).unwrap()).collect();
    for polls in 0..40 {
        let mut waiting: Vec<_> =
            (0..4).map(|_| Box::pin(group.router.get_async(Target::Replica))).collect();
        for _ in 0..polls % 4 {
            waiting.iter_mut().for_each(|one| assert!(poll_once(one).is_pending()));
        }
        if polls % 2 == 0 {
            group.router.drain("db1");
            group.router.restore("db1");
        }
    }
    drop(held);
    group.step();
    for (name, server) in ["db1", "db2"].iter().zip(&group.servers) {
        assert_settled(&group.router.pool(name).unwrap(), server.books());
    }
}

#[test]
fn an_endpoint_with_too_long_a_line_sends_borrowers_to_the_other() {
    let group = Group::of(&[REPLICA, REPLICA]);
    for name in ["db1", "db2"] {
        group.router.pool(name).unwrap().change(|settings| settings.max_waiters = 0).unwrap();
    }
    let held: Vec<_> = (0..8)
        .map(|_| {
            loop {
                if let Ok(lent) = group.router.try_get(Target::Replica) {
                    break lent;
                }
                group.step();
            }
        })
        .collect();
    let error = group.router.get(Target::Replica).unwrap_err();
    let RouteError::Unavailable { ref endpoints, .. } = error else { panic!("{error}") };
    assert!(endpoints.iter().all(|endpoint| endpoint.refusal.is_some()), "{error}");
    drop(held);
}

#[test]
fn pools_of_async_managers_are_routed_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let fakes = [Fake::new(), Fake::new()];
    let pool = |fake: &Fake| {
        let handle = runtime.handle().clone();
        Pool::builder_async(AsyncFake(fake.clone())).max_size(2).spawner(move |task| {
            handle.spawn(task);
        })
    };
    fakes[0].set_role(RoleReport::primary(None));
    fakes[1].set_role(RoleReport::replica(None));
    let router = Router::builder()
        .endpoint("one", pool(&fakes[0]))
        .endpoint("two", pool(&fakes[1]))
        .checkout_timeout(PLENTY)
        .build()
        .unwrap();
    let name = |target| {
        let lent = runtime.block_on(router.get_async(target)).unwrap();
        router.endpoint_of(&lent).unwrap().to_string()
    };
    assert_eq!((name(Target::Primary), name(Target::Replica)), ("one".into(), "two".into()));
    fakes[0].kill();
    fakes[1].set_role(RoleReport::primary(None));
    eventually("the other is the primary", || name(Target::Primary) == "two");
}

#[test]
fn limits_that_make_no_sense_do_no_harm() {
    for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let fake = Fake::new();
        let router = live(vec![(REPLICA, fake.clone())], 2)
            .probe_interval(limit)
            .probe_timeout(limit)
            .max_lag(limit)
            .checkout_timeout(limit)
            .build()
            .unwrap();
        eventually("it is served", || router.try_get(Target::Replica).is_ok());
        let held: Vec<_> =
            (0..2).map(|_| router.get_timeout(Target::Replica, Duration::MAX).unwrap()).collect();
        let tried = router.get_timeout(Target::Replica, Duration::ZERO);
        assert!(matches!(tried, Err(RouteError::TimedOut { .. })), "{tried:?}");
        drop(held);
        drop(router.get_timeout(Target::Any, Duration::MAX).unwrap());
    }
}
