//! The states of an endpoint: out and back, on trial, paused, closed.

use super::*;
use crate::common::Mode;
use caliburn::TryGetError;
use std::error::Error;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_endpoint_whose_server_is_killed_is_left_out_and_taken_back() {
    let group = Group::of(&[PRIMARY, REPLICA, REPLICA]);
    assert_eq!(group.state("db2"), EndpointState::Up);
    group.servers[1].kill();
    group.pass(SECOND);
    assert_eq!(group.state("db2"), EndpointState::Out);
    let stats = group.router.stats();
    let out = stats.endpoint("db2").unwrap();
    assert_eq!(out.cause.as_deref(), Some("refused"));
    assert!(out.to_string().contains("db2 (replica): out for"), "{out}");
    for _ in 0..50 {
        assert_eq!(group.sent_to(Target::Replica).as_deref(), Some("db3"));
    }
    group.servers[1].revive();
    group.pass(2 * SECOND);
    assert_eq!(group.state("db2"), EndpointState::Up);
    assert!(group.router.stats().endpoint("db2").unwrap().cause.is_none());
    let mut sent = (0..50).filter_map(|_| group.sent_to(Target::Replica));
    assert!(sent.any(|name| name == "db2"));
}

#[test]
fn nobody_need_borrow_for_an_endpoint_to_be_found_dead() {
    let group = Group::of(&[PRIMARY]);
    group.servers[0].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Out);
    group.servers[0].revive();
    group.pass(2 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Up);
}

#[test]
fn an_endpoint_that_flaps_each_100_ms_is_taken_back_less_and_less_often() {
    let group = Group::of(&[PRIMARY, REPLICA, REPLICA]);
    let (mut returns, mut was, mut sent) = (0, EndpointState::Up, 0);
    let minute = 600;
    for tenth in 0..minute {
        match tenth % 2 {
            0 => group.servers[1].kill(),
            _ => group.servers[1].revive(),
        }
        for _ in 0..4 {
            group.step();
            let state = group.state("db2");
            returns += u32::from(state == EndpointState::Up && was != state);
            was = state;
            sent += u32::from(group.sent_to(Target::Replica).as_deref() == Some("db2"));
        }
    }
    assert!(returns <= 6, "taken back {returns} times in a minute");
    assert!(sent <= 24, "chosen {sent} times of {}", 4 * minute);
    // It calms down.
    group.servers[1].revive();
    group.pass(40 * SECOND);
    assert_eq!(group.state("db2"), EndpointState::Up);
}

#[test]
fn an_endpoint_on_trial_serves_if_no_other_can() {
    let group = Group::of(&[PRIMARY]);
    for _ in 0..2 {
        group.servers[0].kill();
        while group.state("db1") != EndpointState::Out {
            group.step();
        }
        group.servers[0].revive();
        while group.state("db1") == EndpointState::Out {
            group.step();
        }
    }
    assert_eq!(group.state("db1"), EndpointState::OnTrial);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db1"));
    group.pass(2 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Up);
}

#[test]
fn an_endpoint_that_can_open_no_more_connections_serves_with_those_it_has_if_no_other_can() {
    let group = Group::of(&[PRIMARY]);
    let held = group.get(Target::Primary).unwrap();
    drop(held);
    group.servers[0].on_connect(Mode::Fail);
    let _first = group.get(Target::Primary).unwrap();
    let second = group.router.get_timeout(Target::Primary, Duration::ZERO);
    assert!(second.is_err());
    group.pass(SECOND);
    assert_eq!(group.state("db1"), EndpointState::Out);
    drop(_first);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db1"));
}

#[test]
fn when_all_are_down_the_error_names_each_with_its_cause() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    group.servers.iter().for_each(Fake::kill);
    group.pass(2 * SECOND);
    let error = group.router.get_timeout(Target::Any, Duration::ZERO).unwrap_err();
    let RouteError::TimedOut { target: Target::Any, ref endpoints, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(endpoints.len(), 2);
    for (endpoint, name) in endpoints.iter().zip(["db1", "db2"]) {
        assert_eq!((&*endpoint.name, endpoint.state), (name, EndpointState::Out));
        assert!(endpoint.to_string().contains("is out: refused"), "{endpoint}");
    }
    let text = error.to_string();
    assert!(
        text.contains("waiting for any endpoint: db1 (primary) is out: refused; db2"),
        "{text}"
    );
    assert!(error.source().is_some());
    assert_eq!(group.router.try_get(Target::Any).unwrap_err(), TryGetError::Empty);
}

#[test]
fn if_all_fail_for_good_nobody_waits() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    for server in &group.servers {
        server.kill();
        server.on_connect(Mode::FailForGood);
    }
    group.pass(2 * SECOND);
    let error = group.router.get(Target::Any).unwrap_err();
    assert!(matches!(error, RouteError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("wrong password"), "{error}");
    let error = group.router.get(Target::Primary).unwrap_err();
    assert!(matches!(error, RouteError::Unavailable { .. }), "{error}");
}

#[test]
fn a_router_without_endpoints_says_so_at_once() {
    let router = Router::<Fake>::builder().manual_maintenance().build().unwrap();
    let error = router.get(Target::Any).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no connection to any endpoint can be had: the router has no endpoints"
    );
    assert!(router.stats().endpoints.is_empty());
}

#[test]
fn a_paused_pool_gets_no_borrowers_while_others_can_serve() {
    let group = Group::of(&[PRIMARY, REPLICA, REPLICA]);
    group.router.pool("db2").unwrap().pause();
    group.step();
    assert_eq!(group.state("db2"), EndpointState::Paused);
    for _ in 0..20 {
        assert_eq!(group.sent_to(Target::Replica).as_deref(), Some("db3"));
    }
    group.router.pool("db2").unwrap().resume();
    group.step();
    assert_eq!(group.state("db2"), EndpointState::Up);
}

#[test]
fn a_pool_that_was_closed_by_another_handle_is_left_out_for_good() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    group.router.pool("db2").unwrap().close();
    group.pass(SECOND);
    assert_eq!(group.state("db2"), EndpointState::Closed);
    assert_eq!(group.sent_to(Target::PreferReplica).as_deref(), Some("db1"));
    group.router.close();
    group.step();
    assert!(matches!(group.router.get(Target::Any), Err(RouteError::Unavailable { .. })));
}

#[test]
fn one_failed_answer_is_that_of_a_connection_and_two_are_that_of_the_endpoint() {
    let group = Group::of(&[PRIMARY]);
    group.servers[0].kill_all();
    group.pass(3 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Up, "its one connection was dead");
    group.servers[0].on_role(Mode::Fail);
    group.pass(3 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Out);
    group.servers[0].on_role(Mode::Panic);
    group.pass(3 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Out);
    let stats = group.router.stats();
    let cause = stats.endpoint("db1").unwrap().cause.clone().unwrap();
    assert_eq!(&*cause, "the manager panicked: the fake panics");
    group.servers[0].on_role(Mode::Ok);
    group.pass(2 * SECOND);
    assert_eq!(group.state("db1"), EndpointState::Up);
}
