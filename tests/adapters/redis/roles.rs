//! Servers tell a router which of them is the master.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::{Role, Router};
use redis::Pipeline;

for_threads_and_tasks! {
    #[ignore = "needs Redis (redis-server, redis-cli)"]
    a_server_that_follows_another_is_a_replica,
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
        assert_eq!((pool.connects, pool.resets, pool.ping_failures), (1, 0, 0), "{pool}");
    }
}
