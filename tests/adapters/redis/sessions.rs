//! What a borrower leaves behind on a session of Redis, and what the next one finds.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::redis_faces::*;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, ROOM, eventually};
use caliburn::{EvictionCause, GetError};
use redis::{ConnectionLike as _, Pipeline, Value, cmd, pipe};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::Instant;

for_threads_and_tasks!(
    #[ignore = "needs Redis (redis-server)"]
    wrong_credentials_and_databases_are_told_at_once_and_right_ones_work,
    #[ignore = "needs Redis (redis-server)"]
    what_a_borrower_leaves_behind_is_undone_before_the_next_loan,
    #[ignore = "needs Redis (redis-server)"]
    clean_loans_cost_no_round_trip_on_return,
    #[ignore = "needs Redis (redis-server)"]
    what_cannot_be_undone_costs_the_connection,
    #[ignore = "needs Redis (redis-server)"]
    no_late_answer_reaches_the_next_borrower,
);

fn wrong_credentials_and_databases_are_told_at_once_and_right_ones_work<A: Adapter>() {
    let server = Redis::start(&["--requirepass", "hush"]);
    let mut eye = server.eye();
    eye.ask("ACL SETUSER bob on >sesame ~* +@all");
    eye.ask("ACL SETUSER eve on >sesame ~* +@all -ping");
    let place = format!("127.0.0.1:{}", server.port);
    let wrong = [
        ("", "/"),
        (":knock@", "/"),
        ("bob:knock@", "/"),
        ("nobody:hush@", "/"),
        ("eve:sesame@", "/"),
        (":hush@", "/99"),
        (":hush@", "/-1"),
    ];
    for (who, database) in wrong {
        for protocol in ["resp2", "resp3"] {
            let url = format!("redis://{who}{place}{database}?protocol={protocol}");
            let manager = A::manager(&url, &nothing(), PLENTY).unwrap();
            let pool = A::builder(manager).build().unwrap();
            let begun = Instant::now();
            let error = pool.get_timeout(PLENTY).unwrap_err();
            assert!(matches!(error, GetError::Connect { .. }), "{url}: {error}");
            assert!(begun.elapsed() < AT_ONCE, "{url}: {:?}", begun.elapsed());
            let text = format!("{error} {error:?}");
            let is_told = ["knock", "sesame", "hush"].iter().any(|word| text.contains(word));
            assert!(!is_told, "{text}");
            let says = if database == "/" { "NO|WRONGPASS|Perm" } else { "DB index" };
            assert!(says.split('|').any(|part| text.contains(part)), "{url}: {text}");
        }
    }
    for who in [":hush@", "default:hush@", "bob:sesame@"] {
        for protocol in ["resp2", "resp3"] {
            let url = format!("redis://{who}{place}/2?protocol={protocol}");
            let greeting = pipe().cmd("SET").arg("greeted").arg(who).clone();
            let manager = A::manager(&url, &greeting, PLENTY).unwrap();
            let pool = A::builder(manager).build().unwrap();
            let mut conn = pool.get().unwrap();
            let info = A::run(&mut conn, cmd("CLIENT").arg("INFO")).unwrap();
            let info: String = redis::from_redis_value(info).unwrap();
            assert!(info.contains(" db=2 "), "{info}");
            let greeted = A::run(&mut conn, cmd("GET").arg("greeted")).unwrap();
            assert_eq!(greeted, Value::BulkString(who.into()));
        }
    }
    // Who brings a password where none is asked for should know.
    let open = Redis::start(&[]);
    let url = format!("redis://:hush@127.0.0.1:{}/", open.port);
    let pool = A::builder(A::manager(&url, &nothing(), PLENTY).unwrap()).build().unwrap();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
}

fn what_a_borrower_leaves_behind_is_undone_before_the_next_loan<A: Adapter>() {
    let server = Redis::start(&[]);
    let mut eye = server.eye();
    let pool = pool::<A>(&server, 1, |builder| builder);
    let one = |name: &str, argument: &str| {
        let mut one = cmd(name);
        if !argument.is_empty() {
            one.arg(argument);
        }
        pipe().add_command(one).clone()
    };
    let leave: [Pipeline; 10] = [
        one("MULTI", ""),
        one("multi", ""),
        one("WATCH", "k"),
        one("SELECT", "7"),
        pipe().cmd("MULTI").cmd("SET").arg("k").arg("lost").cmd("SELECT").arg(7).clone(),
        pipe().cmd("WATCH").arg("k").cmd("MULTI").cmd("DISCARD").cmd("WATCH").arg("k").clone(),
        // Refused where it stands, so what is watched stays so.
        pipe().cmd("WATCH").arg("k").cmd("EXEC").ignore_errors().clone(),
        pipe().cmd("MULTI").cmd("NOSUCHCOMMAND").ignore_errors().clone(),
        pipe().atomic().cmd("SELECT").arg(7).clone(),
        pipe().atomic().cmd("NOSUCHCOMMAND").clone(),
    ];
    for (n, pipeline) in leave.iter().enumerate() {
        let mut conn = pool.get().unwrap();
        let _ = A::run_all(&mut conn, pipeline);
        drop(conn);
        assert_eq!(eye.ask(&format!("SET k {n}")), "+OK");
        let mut conn = pool.get().unwrap();
        // Neither queued, nor thwarted by what was watched, nor elsewhere.
        let taken = A::run_all(&mut conn, pipe().atomic().cmd("GET").arg("k")).unwrap();
        let taken: Option<(usize,)> = redis::from_redis_value(taken).unwrap();
        assert_eq!(taken, Some((n,)), "after {n}");
        drop(conn);
        let stats = pool.stats();
        assert_eq!((stats.resets, stats.connects), (n as u64 + 1, 1), "after {n}: {stats}");
    }

    let mut conn = pool.get().unwrap();
    A::set_timeout(&mut conn, ms(50));
    drop(conn);
    let mut conn = pool.get().unwrap();
    A::run(&mut conn, cmd("BLPOP").arg("none").arg(0.2)).unwrap();
    assert_eq!(pool.stats().connects, 1);
}

fn clean_loans_cost_no_round_trip_on_return<A: Adapter>() {
    let server = Redis::start(&[]);
    let pool = pool::<A>(&server, 1, |builder| builder);
    let clean = [
        pipe().cmd("SET").arg("k").arg(1).cmd("GET").arg("k").clone(),
        pipe().atomic().cmd("INCR").arg("k").cmd("GET").arg("k").clone(),
        pipe().cmd("WATCH").arg("k").cmd("UNWATCH").clone(),
        pipe().cmd("WATCH").arg("k").cmd("MULTI").cmd("GET").arg("k").cmd("EXEC").clone(),
        pipe().cmd("MULTI").cmd("GET").arg("k").cmd("DISCARD").clone(),
        pipe().cmd("CLIENT").arg("ID").cmd("SCRIPT").arg("LOAD").arg("return 1").clone(),
        // Refused, and yet of no effect on the session.
        pipe().cmd("LPUSH").arg("k").arg(1).cmd("NOSUCHCOMMAND").ignore_errors().clone(),
        pipe().cmd("BLPOP").arg("none").arg(0.01).clone(),
    ];
    for pipeline in &clean {
        let mut conn = pool.get().unwrap();
        A::run_all(&mut conn, pipeline).unwrap();
        pipeline.cmd_iter().for_each(|command| drop(A::run(&mut conn, command)));
    }
    let stats = pool.stats();
    assert_eq!((stats.resets, stats.connects), (0, 1), "{stats}");
}

fn what_cannot_be_undone_costs_the_connection<A: Adapter>() {
    let server = Redis::start(&[]);
    let mut eye = server.eye();
    let pool = pool::<A>(&server, 1, |builder| builder);
    let mut unanswered = cmd("CLIENT").arg("REPLY").arg("OFF").clone();
    unanswered.set_no_response(true);
    let mut unread = echo("unread");
    unread.set_no_response(true);
    let leave = [
        cmd("CLIENT").arg("SETNAME").arg("me").clone(),
        cmd("client").arg("no-evict").arg("on").clone(),
        cmd("SUBSCRIBE").arg("news").clone(),
        cmd("MONITOR").clone(),
        cmd("RESET").clone(),
        cmd("QUIT").clone(),
        cmd("AUTH").arg("default").arg("").clone(),
        unanswered,
        unread,
    ];
    for (n, command) in leave.iter().enumerate() {
        let mut conn = pool.get().unwrap();
        let _ = A::run(&mut conn, command);
        drop(conn);
        eye.ask("PUBLISH news read-all-about-it");
        let mut conn = pool.get().unwrap();
        assert_echo::<A>(&mut conn, "mine");
        drop(conn);
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.resets), (n as u64 + 2, 0), "after {n}: {stats}");
    }
    let mut conn = pool.get().unwrap();
    A::subscribe(&mut conn);
    drop(conn);
    eye.ask("PUBLISH news read-all-about-it");
    assert_echo::<A>(&mut pool.get().unwrap(), "mine");
    assert_eq!(pool.stats().connects, leave.len() as u64 + 2);
}

/// More commands than answers: the rest would be the next borrower's.
#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_request_packed_by_hand_that_leaves_answers_unread_costs_the_connection() {
    let server = Redis::start(&[]);
    let pool = pool::<Threads>(&server, 1, |builder| builder);
    let two = pipe().add_command(echo("a")).add_command(echo("b")).get_packed_pipeline();
    let unlike_any = b"ECHO a\r\nECHO b\r\n";
    for packed in [&two[..], unlike_any] {
        let mut conn = pool.get().unwrap();
        conn.req_packed_command(packed).unwrap();
        drop(conn);
        assert_echo::<Threads>(&mut pool.get().unwrap(), "mine");
    }
    assert_eq!(pool.stats().connects, 3);
    drop(pool.get().unwrap());
    let whole = pool.get().unwrap().req_packed_commands(&two, 0, 2).unwrap();
    assert_eq!(whole.len(), 2);
    assert_eq!(pool.stats().connects, 3);
}

fn no_late_answer_reaches_the_next_borrower<A: Adapter>() {
    let server = Redis::start(&[]);
    let pool = pool::<A>(&server, 1, |builder| builder);
    let several = pipe().add_command(echo("late")).add_command(echo("later")).clone();
    let mut transaction = several.clone();
    transaction.atomic();
    // More than sockets hold: part of it is sent, and part of it is not.
    let long = "long".repeat(8_000_000);
    let late = [pipe().add_command(echo("late")).clone(), several, transaction]
        .into_iter()
        .chain([pipe().add_command(echo(&long)).clone()]);
    for (n, pipeline) in late.enumerate() {
        let mut conn = pool.get().unwrap();
        A::set_timeout(&mut conn, ms(50));
        server.freeze();
        let error = A::run_all(&mut conn, &pipeline).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        drop(conn);
        server.thaw();
        for text in ["mine", "mine too"] {
            assert_echo::<A>(&mut pool.get().unwrap(), text);
        }
        let stats = pool.stats();
        assert_eq!(stats.connects, n as u64 + 2, "{stats}");
        assert_eq!(stats.evictions.by(EvictionCause::Broken), n as u64 + 1, "{stats}");
    }
}

/// Polls a future so many times, and then drops it unless it is done.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[test]
#[ignore = "needs Redis (redis-server)"]
fn of_a_hundred_thousand_answers_none_belongs_to_a_request_that_was_dropped() {
    const REQUESTS: usize = 100_000;
    const SIZE: usize = 4;
    let server = Redis::start(&[]);
    let pool = pool::<Tasks>(&server, SIZE, |builder| {
        builder.spawner(|task| drop(runtime().spawn(task))).checkout_timeout(PLENTY)
    });
    let (sent, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (pool, sent, dropped) = (pool.clone(), Arc::clone(&sent), Arc::clone(&dropped));
            runtime().spawn(async move {
                while sent.load(SeqCst) < REQUESTS {
                    let mut conn = pool.get_async().await.unwrap();
                    // After some that are dropped the loan goes on, after others it ends.
                    for _ in 0..7 {
                        let n = sent.fetch_add(1, SeqCst);
                        let echo = echo(&n.to_string());
                        let times = if n % 10 == 3 { n / 10 % 4 } else { usize::MAX };
                        let future = echo.query_async::<usize>(&mut *conn);
                        match polled(future, times).await {
                            Some(answer) => assert_eq!(answer.unwrap(), n),
                            None => drop(dropped.fetch_add(1, SeqCst)),
                        }
                    }
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| runtime().block_on(task).unwrap());
    let dropped = dropped.load(SeqCst);
    assert!(dropped > REQUESTS / 20, "only {dropped} were dropped");
    let stats = pool.stats();
    assert_eq!(stats.connects, SIZE as u64, "none was the worse for it: {stats}");
    assert!(stats.resets > 0, "lent while an answer was due: {stats}");
    eventually("all are at rest", || pool.stats().idle == SIZE);
}

/// What it takes from the list after that would be lost.
#[test]
#[ignore = "needs Redis (redis-server)"]
fn a_dropped_command_that_waits_at_the_server_takes_nothing_more() {
    let server = Redis::start(&[]);
    let mut eye = server.eye();
    let pool = pool::<Tasks>(&server, 1, |builder| builder);
    let is_waiting = |count| move |info: String| info.contains(&format!("blocked_clients:{count}"));
    runtime().block_on(async {
        let mut conn = pool.get_async().await.unwrap();
        let take = cmd("BLPOP").arg("list").arg(0).clone();
        let mut future = pin!(take.query_async::<Value>(&mut *conn));
        eventually("it waits", || {
            assert!(poll_once(future.as_mut()).is_pending());
            is_waiting(1)(eye.ask("INFO clients"))
        });
    });
    let dropped = Instant::now();
    eventually("it waits no more", || is_waiting(0)(eye.ask("INFO clients")));
    assert!(dropped.elapsed() < ms(1000) + ROOM, "{:?}", dropped.elapsed());
    assert_eq!(eye.ask("RPUSH list precious"), ":1");
    let mut conn = pool.get().unwrap();
    let taken = Tasks::run(&mut conn, cmd("LPOP").arg("list")).unwrap();
    assert_eq!(taken, Value::BulkString("precious".into()));
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// The request may reach the server after the loan: what it leaves there is undone all the same.
#[test]
#[ignore = "needs Redis (redis-server)"]
fn what_a_dropped_request_leaves_behind_is_undone_before_the_next_loan() {
    let server = Redis::start(&[]);
    let pool = pool::<Tasks>(&server, 1, |builder| builder);
    let leave = [cmd("MULTI"), cmd("SELECT").arg(7).clone(), cmd("WATCH").arg("k").clone()];
    for (n, command) in leave.iter().cycle().take(30).enumerate() {
        runtime().block_on(async {
            let mut conn = pool.get_async().await.unwrap();
            assert!(
                polled(command.exec_async(&mut *conn), n % 2).await.is_none_or(|it| it.is_ok())
            );
        });
        let mut conn = pool.get().unwrap();
        let set = pipe().atomic().cmd("SET").arg("k").arg(n).clone();
        assert_ne!(Tasks::run_all(&mut conn, &set).unwrap(), Value::Nil);
    }
    let mut conn = pool.get().unwrap();
    assert_eq!(Tasks::run(&mut conn, cmd("GET").arg("k")).unwrap(), Value::BulkString("29".into()));
    assert_eq!(pool.stats().connects, 1);
}
