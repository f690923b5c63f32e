//! What a borrower of a Redis connection can leave, and what the next one finds of it: the table
//! that the guide shows.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::eventually;
use crate::common::redis_faces::*;
use crate::common::servers::redis::{Eye, Redis};
use caliburn::PooledConnection;
use redis::{Cmd, Value, pipe};

for_threads_and_tasks! {
    #[ignore = "needs Redis (redis-server)"]
    what_is_left_over_is_as_the_guide_says,
}

/// What it costs that nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Price {
    RoundTrip,
    Connection,
}

/// What it is, how it is left, and what it costs to be rid of it.
const LEFT: [(&str, &[&str], Price); 10] = [
    ("MULTI", &["MULTI"], Price::RoundTrip),
    ("WATCH", &["WATCH", "k"], Price::RoundTrip),
    ("SELECT", &["SELECT", "7"], Price::RoundTrip),
    ("SUBSCRIBE", &["SUBSCRIBE", "news"], Price::Connection),
    ("CLIENT SETNAME", &["CLIENT", "SETNAME", "me"], Price::Connection),
    ("CLIENT TRACKING", &["CLIENT", "TRACKING", "ON"], Price::Connection),
    ("CLIENT NO-EVICT", &["CLIENT", "NO-EVICT", "ON"], Price::Connection),
    ("CLIENT REPLY", &["CLIENT", "REPLY", "OFF"], Price::Connection),
    ("AUTH", &["AUTH", "singer", "secret"], Price::Connection),
    ("MONITOR", &["MONITOR"], Price::Connection),
];

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    // No answer ever comes to this one.
    command.set_no_response(words.contains(&"REPLY"));
    command
}

/// All that the server tells of a session but its counts and times, and whether a transaction that
/// reads `k` goes through though it has just been written.
fn state<A: Adapter>(conn: &mut PooledConnection<A::Manager>, eye: &mut Eye) -> String {
    let info = A::ask(conn, &command(&["CLIENT", "INFO"])).unwrap();
    let told = ["name=", "db=", "sub=", "psub=", "multi=", "flags=", "user=", "redir=", "resp="];
    let told = info.split_whitespace().filter(|word| told.iter().any(|it| word.starts_with(it)));
    let told = told.collect::<Vec<_>>().join(" ");
    eye.ask("SET k 1");
    let read = A::run_all(conn, pipe().atomic().cmd("GET").arg("k")).unwrap();
    format!("{told}; a transaction {}", if read == Value::Nil { "fails" } else { "goes through" })
}

fn what_is_left_over_is_as_the_guide_says<A: Adapter>() {
    let server = Redis::start(&[]);
    let mut eye = server.eye();
    eye.ask("ACL SETUSER singer on >secret allcommands allkeys allchannels");
    let pool = pool::<A>(&server, 1, |builder| builder);
    let at_rest = || eventually("it is home", || pool.stats().idle + pool.stats().vacant == 1);
    let usual = state::<A>(&mut pool.get().unwrap(), &mut eye);
    for (what, leave, price) in LEFT {
        at_rest();
        let before = pool.stats();
        let mut conn = pool.get().unwrap();
        let _ = A::run(&mut conn, &command(leave));
        drop(conn);
        let found = state::<A>(&mut pool.get().unwrap(), &mut eye);
        at_rest();
        let after = pool.stats();
        let paid = match (after.resets - before.resets, after.connects - before.connects) {
            (1, 0) => Some(Price::RoundTrip),
            (0, 1) => Some(Price::Connection),
            _ => None,
        };
        println!("| `{what}` | gone: {paid:?} |");
        assert_eq!((found, paid), (usual.clone(), Some(price)), "{what}");
    }
}
