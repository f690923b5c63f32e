//! What a loan of a Redis connection costs beyond the borrower's own commands, as counted on the
//! way to the server.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::relay::Relay;
use crate::common::servers::process::loopback;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::{Pool, PooledConnection};
use redis::{Cmd, Pipeline, pipe};

for_threads_and_tasks! {
    #[ignore = "needs Redis (redis-server, redis-cli)"]
    a_loan_that_left_nothing_open_costs_no_round_trip,
}

const LOANS: usize = 20;

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

/// How many more round trips it takes in so many loans than in one.
fn extra<A: Adapter>(relay: &Relay, pool: &Pool<A::Manager>, what: &str, deed: Deed<A>) -> usize {
    let get = || pool.get_timeout(PLENTY).unwrap();
    let at_rest = || eventually("it is home", || pool.stats().idle == 1);
    deed(&mut get());
    at_rest();
    let before = relay.round_trips();
    let mut held = get();
    (0..LOANS).for_each(|_| deed(&mut held));
    drop(held);
    at_rest();
    let in_one = relay.round_trips() - before;
    for _ in 0..LOANS {
        deed(&mut get());
        at_rest();
    }
    let in_many = relay.round_trips() - before - in_one;
    let each = in_one / LOANS;
    println!("{what}: {each} round trips, {} more in {LOANS} loans", in_many.abs_diff(in_one));
    in_many.saturating_sub(in_one)
}

fn a_loan_that_left_nothing_open_costs_no_round_trip<A: Adapter>() {
    let server = Redis::start(&[]);
    let relay = Relay::to(loopback(server.port));
    let url = format!("redis://127.0.0.1:{}/", relay.port());
    let manager = A::manager(&url, &Pipeline::new(), PLENTY).unwrap();
    let pool = A::builder(manager).max_size(1).build().unwrap();
    for (what, deed) in deeds::<A>() {
        assert_eq!(extra::<A>(&relay, &pool, what, deed), 0, "{what}");
    }
    assert_eq!((pool.stats().connects, pool.stats().resets), (1, 0));
}
