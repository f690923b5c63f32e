//! Servers tell a router which of them is the master.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::{Role, Router, Target};
use redis::{Cmd, Pipeline};
use std::time::Duration;

for_threads_and_tasks! {
    #[ignore = "needs Redis (redis-server, redis-cli)"]
    a_server_that_follows_another_is_a_replica,
    #[ignore = "needs Redis (redis-server, redis-cli)"]
    a_refused_write_has_the_roles_asked_at_once,
}

fn a_server_that_follows_another_is_a_replica<A: Adapter>() {
    let servers = [Redis::start(&[]), Redis::start(&[])];
    let follow = |one: usize, other: usize| {
        let command = format!("REPLICAOF 127.0.0.1 {}", servers[other].port);
        servers[one].eye().ask(&command);
    };
    follow(1, 0);
    let mut builder = Router::builder();
    for (name, server) in ["one", "two"].iter().zip(&servers) {
        let manager = A::manager(&server.url(), &Pipeline::new(), PLENTY).unwrap();
        builder = builder.endpoint(*name, A::builder(manager));
    }
    let router = builder.build().unwrap();
    let roles = || {
        let endpoints = router.stats().endpoints;
        (endpoints[0].role, endpoints[1].role)
    };
    eventually("they are told", || roles() == (Role::Primary, Role::Replica));
    servers[1].eye().ask("REPLICAOF NO ONE");
    follow(0, 1);
    eventually("the change is noticed", || roles() == (Role::Replica, Role::Primary));
    for endpoint in router.stats().endpoints {
        let pool = endpoint.pool;
        assert_eq!((pool.closes, pool.resets, pool.ping_failures), (0, 0, 0), "{pool}");
    }
}

fn a_refused_write_has_the_roles_asked_at_once<A: Adapter>() {
    let servers = [Redis::start(&[]), Redis::start(&[])];
    let manager = |server: &Redis| A::manager(&server.url(), &Pipeline::new(), PLENTY).unwrap();
    let router = Router::builder()
        .primary("one", A::builder(manager(&servers[0])))
        .replica("two", A::builder(manager(&servers[1])))
        // By itself it would ask tomorrow.
        .probe_interval(Duration::from_secs(24 * 60 * 60))
        .build()
        .unwrap();
    eventually("they are asked", || {
        router.stats().endpoints.iter().all(|endpoint| endpoint.pool.returns > 0)
    });
    servers[0].eye().ask(&format!("REPLICAOF 127.0.0.1 {}", servers[1].port));
    let mut write = Cmd::new();
    write.arg(&["SET", "n", "1"]);
    let refused = A::run(&mut router.get_timeout(Target::Primary, PLENTY).unwrap(), &write);
    let refused = refused.is_err() || matches!(refused, Ok(redis::Value::ServerError(_)));
    assert!(refused, "it is a replica now");
    eventually("it is asked", || router.stats().endpoints[0].role == Role::Replica);
}
