//! What a loan of a Redis connection costs beyond the borrower's own commands, as counted on the
//! way to the server.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::PLENTY;
use crate::common::redis_faces::*;
use crate::common::relay::Relay;
use crate::common::servers::process::loopback;
use crate::common::servers::redis::Redis;
use caliburn::PooledConnection;
use redis::{Cmd, Pipeline, pipe};

for_threads_and_tasks! {
    #[ignore = "needs Redis (redis-server, redis-cli)"]
    a_loan_that_left_nothing_open_costs_no_round_trip,
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

fn transaction() -> Pipeline {
    let mut transaction = pipe();
    transaction.atomic().incr("n", 1).get("n");
    transaction
}

/// What a borrower does.
type Deed<A> = fn(&mut PooledConnection<<A as Adapter>::Manager>);

fn deeds<A: Adapter>() -> [(&'static str, Deed<A>); 4] {
    [
        ("read", |conn| drop(A::run(conn, &command(&["GET", "n"])).unwrap())),
        ("write", |conn| drop(A::run(conn, &command(&["SET", "n", "1"])).unwrap())),
        ("committed transaction", |conn| drop(A::run_all(conn, &transaction()).unwrap())),
        ("script", |conn| drop(A::run(conn, &command(&["EVAL", "return 1", "0"])).unwrap())),
    ]
}

fn a_loan_that_left_nothing_open_costs_no_round_trip<A: Adapter>() {
    let server = Redis::start(&[]);
    let relay = Relay::to(loopback(server.port));
    let url = format!("redis://127.0.0.1:{}/", relay.port());
    let manager = A::manager(&url, &Pipeline::new(), PLENTY).unwrap();
    let pool = A::builder(manager).max_size(1).build().unwrap();
    for (what, deed) in deeds::<A>() {
        assert_eq!(relay.extra(&pool, what, deed), 0, "{what}");
    }
    assert_eq!((pool.stats().connects, pool.stats().resets), (1, 0));
}
