//! Roles: told, changed, lied about; and lag.

use super::*;
use std::sync::{Arc, Mutex};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_target_gets_the_endpoints_of_its_role() {
    let group = Group::of(&[PRIMARY, REPLICA, REPLICA]);
    for _ in 0..50 {
        assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db1"));
        assert_ne!(group.sent_to(Target::Replica).as_deref(), Some("db1"));
        assert_ne!(group.sent_to(Target::PreferReplica).as_deref(), Some("db1"));
    }
    let any: std::collections::BTreeSet<_> =
        (0..100).filter_map(|_| group.sent_to(Target::Any)).collect();
    assert_eq!(any.len(), 3);
}

#[test]
fn without_replicas_only_those_that_prefer_one_get_the_primary() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    group.servers[1].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::PreferReplica).as_deref(), Some("db1"));
    assert_eq!(group.sent_to(Target::Replica), None);
}

#[test]
fn a_promotion_is_noticed_within_the_probe_interval() {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&changes);
    let group = Group::with(&[PRIMARY, REPLICA], |builder| {
        builder.observer(move |change| seen.lock().unwrap().push(change.to_string()))
    });
    group.servers[0].kill();
    group.servers[1].set_role(RoleReport::primary(None));
    group.pass(SECOND + 2 * STEP);
    assert_eq!(group.role("db2"), PRIMARY);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db2"));
    let changes = changes.lock().unwrap();
    assert!(changes.contains(&"db1 (primary) is out: refused".into()), "{changes:?}");
    assert!(changes.contains(&"db2 (primary) is up".into()), "{changes:?}");
}

#[test]
fn a_demotion_is_noticed_at_once_if_the_manager_sees_a_write_fail() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    group.servers[0].set_role(RoleReport::replica(None));
    group.servers[1].set_role(RoleReport::primary(None));
    group.router.maintain();
    assert_eq!(group.role("db1"), PRIMARY, "it was not asked");
    group.servers.iter().for_each(Fake::doubt_role);
    group.router.maintain();
    assert_eq!((group.role("db1"), group.role("db2")), (REPLICA, PRIMARY));
    group.servers[0].set_role(RoleReport::primary(None));
    group.servers[1].set_role(RoleReport::replica(None));
    group.router.recheck();
    group.step();
    assert_eq!((group.role("db1"), group.role("db2")), (PRIMARY, REPLICA));
}

#[test]
fn a_former_primary_that_comes_back_unaware_gets_no_writes() {
    let group = Group::of(&[PRIMARY, REPLICA]);
    group.servers[0].kill();
    group.servers[1].set_role(RoleReport::primary(None));
    group.pass(2 * SECOND);
    group.servers[0].revive();
    group.pass(2 * SECOND);
    assert_eq!((group.state("db1"), group.role("db1")), (EndpointState::Up, PRIMARY));
    for _ in 0..20 {
        assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db2"));
    }
    // It is all there is.
    group.servers[1].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db1"));
}

#[test]
fn a_primary_of_an_earlier_term_gets_no_writes_even_while_the_later_one_is_out() {
    let group = Group::of(&[PRIMARY, PRIMARY]);
    group.servers[0].set_role(RoleReport::primary(Some(3)));
    group.servers[1].set_role(RoleReport::primary(Some(2)));
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db1"));
    group.servers[0].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Primary), None);
    group.servers[1].set_role(RoleReport::primary(Some(4)));
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db2"));
}

#[test]
fn of_two_that_say_they_are_the_primary_one_gets_all_writes() {
    let group = Group::of(&[PRIMARY, PRIMARY]);
    for _ in 0..20 {
        assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db1"));
    }
    group.servers[0].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Primary).as_deref(), Some("db2"));
}

#[test]
fn a_role_that_changes_each_time_it_is_told_does_no_more_than_move_the_endpoint() {
    let group = Group::of(&[PRIMARY, REPLICA, REPLICA]);
    for n in 0..40 {
        let lie = if n % 2 == 0 { PRIMARY } else { REPLICA };
        group.servers[2].set_role(report(lie));
        group.pass(SECOND);
        assert_eq!(group.state("db3"), EndpointState::Up);
        let writer = group.sent_to(Target::Primary).unwrap();
        let reader = group.sent_to(Target::Replica).unwrap();
        assert!(writer != "db2" && reader != "db1", "{writer} {reader}");
    }
}

#[test]
fn a_declared_role_stands_until_the_manager_tells_another() {
    let (clock, _hand) = caliburn::Clock::mock();
    let servers = [Fake::new(), Fake::new()];
    let router = Router::builder()
        .clock(clock.clone())
        .manual_maintenance()
        .primary("one", pool_of(&servers[0], &clock))
        .replica("two", pool_of(&servers[1], &clock))
        .build()
        .unwrap();
    let role = |name: &str| router.stats().endpoint(name).unwrap().role;
    router.maintain();
    assert_eq!((role("one"), role("two")), (PRIMARY, REPLICA));
    servers[0].set_role(RoleReport::replica(None));
    servers[1].set_role(RoleReport::primary(None));
    for _ in 0..60 {
        _hand.advance(STEP);
        router.maintain();
    }
    assert_eq!((role("one"), role("two")), (REPLICA, PRIMARY));
}

#[test]
fn a_replica_that_lags_too_much_is_not_chosen_until_it_has_caught_up() {
    let limit = |builder: RouterBuilder<Fake>| builder.max_lag(10 * SECOND);
    let group = Group::with(&[PRIMARY, REPLICA, REPLICA], limit);
    group.servers[1].set_role(RoleReport::replica(Some(11 * SECOND)));
    group.servers[2].set_role(RoleReport::replica(Some(10 * SECOND)));
    group.pass(2 * SECOND);
    assert_eq!(group.state("db2"), EndpointState::Lagging);
    let stats = group.router.stats();
    assert_eq!(stats.endpoint("db2").unwrap().lag, Some(11 * SECOND));
    for _ in 0..20 {
        assert_eq!(group.sent_to(Target::Replica).as_deref(), Some("db3"));
        assert_ne!(group.sent_to(Target::Any).as_deref(), Some("db2"));
    }
    // Without a primary there is nothing to be behind of.
    group.servers[0].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.state("db2"), EndpointState::Up);
    group.servers[0].revive();
    group.pass(2 * SECOND);
    assert_eq!(group.state("db2"), EndpointState::Lagging);
    group.servers[2].kill();
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Replica), None);
    assert_eq!(group.sent_to(Target::PreferReplica).as_deref(), Some("db1"));
    group.servers[1].set_role(RoleReport::replica(Some(SECOND)));
    group.pass(2 * SECOND);
    assert_eq!(group.sent_to(Target::Replica).as_deref(), Some("db2"));
}
