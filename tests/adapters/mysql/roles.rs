//! Servers tell a router which of them takes writes.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::eventually;
use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use caliburn::{Role, Router};

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_server_that_is_read_only_is_a_replica
}

async fn a_server_that_is_read_only_is_a_replica<A: Adapter>() {
    let servers = [MariaDb::start(&[]), MariaDb::start(&["--read-only=1"])];
    let mut builder = Router::builder();
    for (name, server) in ["one", "two"].iter().zip(&servers) {
        builder = builder.endpoint(*name, A::builder(A::manager(&server.url())));
    }
    let router = builder.build().unwrap();
    let roles = || {
        let endpoints = router.stats().endpoints;
        (endpoints[0].role, endpoints[1].role)
    };
    eventually("they are told", || roles() == (Role::Primary, Role::Replica));
    servers[0].ask("SET GLOBAL read_only = 1");
    servers[1].ask("SET GLOBAL read_only = 0");
    eventually("the change is noticed", || roles() == (Role::Replica, Role::Primary));
    for endpoint in router.stats().endpoints {
        let pool = endpoint.pool;
        assert_eq!((pool.closes, pool.resets, pool.ping_failures), (0, 0, 0), "{pool}");
    }
}
