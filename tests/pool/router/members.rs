//! Endpoints that come and go.

use super::*;
use crate::common::{Ends, FakeError, eventually};
use caliburn::router::RouterError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

#[test]
fn an_endpoint_that_is_added_serves_and_one_that_is_removed_does_not() {
    let group = Group::of(&[PRIMARY]);
    let (clock, _) = Clock::mock();
    let fresh = Fake::new();
    group.router.add("db2", REPLICA, pool_of(&fresh, &clock)).unwrap();
    assert_eq!(group.state("db2"), EndpointState::Up);
    let twice = group.router.add("db2", REPLICA, pool_of(&fresh, &clock));
    assert!(matches!(twice, Err(RouterError::<FakeError>::DuplicateName(name)) if &*name == "db2"));
    let pool = group.router.remove("db2").unwrap();
    assert!(group.router.pool("db2").is_none() && group.router.remove("db2").is_none());
    assert!(!pool.is_closed(), "it is the caller's now");
}

#[test]
fn a_removed_pool_is_closed_with_its_last_handle_and_so_are_all_with_the_router() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    let watched = group.router.pool("db2").unwrap();
    let closed = watched.until_closed();
    drop(watched);
    drop(group.router.remove("db2"));
    let mut closed = Box::pin(closed);
    assert!(crate::common::poll_once(&mut closed).is_ready());
    let rest = Box::pin(group.router.pool("db1").unwrap().until_closed());
    drop(group.router);
    let mut rest = rest;
    assert!(crate::common::poll_once(&mut rest).is_ready());
}

#[test]
fn a_drained_endpoint_keeps_its_loans_and_gets_no_more() {
    let group = Group::of(&[PRIMARY, REPLICA, REPLICA]);
    let held = loop {
        let lent = group.get(Target::Replica).unwrap();
        if group.router.endpoint_of(&lent).as_deref() == Some("db2") {
            break lent;
        }
    };
    assert!(group.router.drain("db2"));
    assert_eq!(group.state("db2"), EndpointState::Draining);
    for _ in 0..20 {
        assert_eq!(group.sent_to(Target::Replica).as_deref(), Some("db3"));
    }
    assert_eq!(group.router.stats().endpoint("db2").unwrap().pool.lent, 1);
    drop(held);
    assert_eq!(group.router.stats().endpoint("db2").unwrap().pool.lent, 0);
    assert!(group.router.restore("db2") && !group.router.drain("db9"));
    assert_eq!(group.state("db2"), EndpointState::Up);
}

#[test]
fn nothing_fails_while_endpoints_are_added_drained_and_removed_under_load() {
    let servers: Vec<_> = (0..3).map(|_| (REPLICA, Fake::new())).collect();
    let router = live(servers, 2).build().unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = Ends(&stop);
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    drop(router.get(Target::Replica).unwrap());
                    done.fetch_add(1, SeqCst);
                }
            });
        }
        for n in 0..60 {
            let (old, new) = (format!("db{}", n % 3 + 1), Pool::builder(Fake::new()).max_size(2));
            router.drain(&old);
            let so_far = done.load(SeqCst);
            eventually("others go on", || done.load(SeqCst) > so_far + 10);
            let removed = router.remove(&old).unwrap();
            router.add(old, REPLICA, new).unwrap();
            assert!(removed.close_within(PLENTY).is_complete());
        }
        stop.store(true, SeqCst);
    });
    let stats = router.stats();
    assert_eq!(stats.endpoints.len(), 3);
    assert!(stats.endpoints.iter().all(|endpoint| endpoint.pool.lent == 0), "{stats}");
}

#[test]
fn a_manager_is_let_go_with_its_router() {
    let servers = [Fake::new(), Fake::new()];
    let router = live(servers.iter().map(|one| (REPLICA, one.clone())).collect(), 2);
    let router = router.build().unwrap();
    drop(router.get(Target::Any).unwrap());
    let pools = ["db1", "db2"].map(|name| router.pool(name).unwrap());
    let mut closed = pools.each_ref().map(|pool| Box::pin(pool.until_closed()));
    drop(pools);
    let other = router.clone();
    drop(router);
    drop(other.get(Target::Any).unwrap());
    drop(other);
    // Whatever the upkeep is at.
    assert!(closed.iter_mut().all(|closed| crate::common::poll_once(closed).is_ready()));
    eventually("nobody has the managers", || servers.iter().all(Fake::is_alone));
}

#[test]
fn an_observer_that_panics_or_uses_the_router_does_no_harm() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let slot: Arc<std::sync::OnceLock<Router<Fake>>> = Arc::default();
    let inner = Arc::clone(&slot);
    let group = Group::with(&[PRIMARY, REPLICA], |builder| {
        builder.observer(|_| panic!("an observer panics")).observer(move |_| {
            count.fetch_add(1, SeqCst);
            if let Some(router) = inner.get() {
                let _ = (router.stats().to_string(), router.pool("db1"));
                router.restore("db1");
            }
        })
    });
    let _ = slot.set(group.router.clone());
    let before = seen.load(SeqCst);
    group.servers[1].kill();
    group.pass(Duration::from_secs(1));
    assert!(seen.load(SeqCst) > before);
    assert_eq!(group.state("db2"), EndpointState::Out);
}
