//! Which endpoint is chosen.

use super::*;
use proptest::prelude::*;

/// What may happen to a server between two choices.
#[derive(Clone, Copy, Debug)]
enum Act {
    Kill(usize),
    Revive(usize),
    Promote(usize),
    Demote(usize),
    Lag(usize, u64),
    Drain(usize),
    Restore(usize),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let server = 0..3_usize;
    prop_oneof![
        server.clone().prop_map(Act::Kill),
        server.clone().prop_map(Act::Revive),
        server.clone().prop_map(Act::Promote),
        server.clone().prop_map(Act::Demote),
        (server.clone(), 0..20_u64).prop_map(|(server, lag)| Act::Lag(server, lag)),
        server.clone().prop_map(Act::Drain),
        server.prop_map(Act::Restore),
        (1..60_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_borrower_is_sent_to_an_endpoint_that_is_left_out(
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let limit = |builder: RouterBuilder<Fake>| builder.max_lag(Duration::from_secs(10));
        let group = Group::with(&[PRIMARY, REPLICA, REPLICA], limit);
        for act in acts {
            match act {
                Act::Kill(n) => group.servers[n].kill(),
                Act::Revive(n) => group.servers[n].revive(),
                Act::Promote(n) => group.servers[n].set_role(RoleReport::primary(None)),
                Act::Demote(n) => group.servers[n].set_role(RoleReport::replica(None)),
                Act::Lag(n, lag) => {
                    let lag = Some(Duration::from_secs(lag));
                    group.servers[n].set_role(RoleReport::replica(lag));
                }
                Act::Drain(n) => _ = group.router.drain(&format!("db{}", n + 1)),
                Act::Restore(n) => _ = group.router.restore(&format!("db{}", n + 1)),
                Act::Pass(steps) => (0..steps).for_each(|_| group.step()),
            }
            for target in [Target::Primary, Target::Replica, Target::PreferReplica, Target::Any] {
                // Nothing passes between the look and the choice.
                let stats = group.router.stats();
                let Ok(lent) = group.router.try_get(target) else { continue };
                let name = group.router.endpoint_of(&lent).unwrap();
                let chosen = stats.endpoint(&name).unwrap();
                let is_right = match target {
                    Target::Primary => chosen.role == PRIMARY,
                    Target::Replica => chosen.role == REPLICA,
                    _ => true,
                };
                prop_assert!(is_right, "{target} is sent to {chosen}");
                let is_up = |one: &&caliburn::router::EndpointStats| one.state == EndpointState::Up;
                let fits = |one: &&caliburn::router::EndpointStats| match target {
                    Target::Primary => one.role == PRIMARY,
                    Target::Replica => one.role == REPLICA,
                    _ => true,
                };
                let others = stats.endpoints.iter().filter(is_up).filter(fits).count();
                let may_serve = match chosen.state {
                    EndpointState::Up => true,
                    EndpointState::OnTrial | EndpointState::Out => others == 0,
                    _ => false,
                };
                prop_assert!(may_serve, "{target} is sent to {chosen}; {others} are up");
            }
        }
    }
}

#[test]
fn borrowers_spread_over_endpoints_that_are_equally_quick() {
    let group = Group::of(&[REPLICA, REPLICA, REPLICA]);
    let mut counts = [0; 3];
    for _ in 0..300 {
        let name = group.sent_to(Target::Replica).unwrap();
        counts[name[2..].parse::<usize>().unwrap() - 1] += 1;
    }
    assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
}

#[test]
fn newcomers_go_where_fewer_borrowers_are() {
    let group = Group::of(&[REPLICA, REPLICA]);
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(group.get(Target::Replica).unwrap());
        group.step();
    }
    let stats = group.router.stats();
    let lent: Vec<_> = stats.endpoints.iter().map(|one| one.pool.lent).collect();
    assert_eq!(lent, [3, 3]);
}
