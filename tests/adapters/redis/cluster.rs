//! The Redis adapters for clusters.
#![cfg(feature = "redis-cluster-tokio")]

use crate::common::servers::process::{free_port, run};
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::Pool;
use caliburn::adapters::redis::{
    AsyncRedisClusterManager, RedisClusterConnection, RedisClusterManager,
};
use redis::cluster::cluster_pipe;
use redis::{AsyncCommands as _, Cmd, Commands as _, ConnectionLike as _, RedisResult, Value, cmd};
use std::time::Duration;

/// Three masters that share the slots.
fn cluster() -> Vec<Redis> {
    // What is left of it serves on when a node is gone.
    let rest = ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"];
    let settings = [&["--cluster-enabled", "yes"], &rest[..]].concat();
    // Unless told otherwise, a node talks to the others on a port that may be taken.
    let start = |_| {
        let bus = free_port().to_string();
        let node = Redis::start(&[&settings[..], &["--cluster-port", &bus]].concat());
        let place = format!("127.0.0.1:{}@{bus}", node.port);
        (node, place)
    };
    let (nodes, places): (Vec<_>, Vec<_>) = (0..3).map(start).unzip();
    let mut words = vec!["--cluster", "create"];
    words.extend(places.iter().map(String::as_str));
    words.push("--cluster-yes");
    run(false, "redis-cli", &words);
    eventually("the cluster serves", || {
        nodes.iter().all(|node| node.eye().ask("CLUSTER INFO").contains("cluster_state:ok"))
    });
    nodes
}

fn urls(nodes: &[Redis]) -> Vec<String> {
    nodes.iter().map(Redis::url).collect()
}

#[test]
#[ignore = "needs Redis (redis-server, redis-cli)"]
fn threads_reach_all_nodes_of_a_cluster_and_leave_nothing_behind() {
    let nodes = cluster();
    let pool = Pool::builder(RedisClusterManager::new(urls(&nodes)).unwrap());
    let pool = pool.max_size(2).connect_timeout(Duration::from_secs(5)).build().unwrap();
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    for n in 0..100 {
        conn.set::<_, _, ()>(format!("key {n}"), n).unwrap();
        assert_eq!(conn.get::<_, i32>(format!("key {n}")).unwrap(), n);
    }
    let mut pipeline = cluster_pipe();
    pipeline.get("key 1").get("key 2").get("key 3");
    assert_eq!(conn.query::<Vec<i32>>(&pipeline).unwrap(), [1, 2, 3]);
    drop(conn);
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(pool.stats().connects, 1);
    let _ = cmd("CLIENT").arg("SETNAME").arg("me").exec(&mut conn);
    drop(conn);
    drop(pool.get_timeout(PLENTY).unwrap());
    assert_eq!(pool.stats().connects, 2);
}

#[test]
#[ignore = "needs Redis (redis-server, redis-cli)"]
fn tasks_reach_all_nodes_of_a_cluster_and_leave_nothing_behind() {
    let nodes = cluster();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = Pool::builder_async(AsyncRedisClusterManager::new(urls(&nodes)).unwrap());
        let pool = pool.max_size(2).connect_timeout(Duration::from_secs(5)).build().unwrap();
        let mut conn = pool.get_async().await.unwrap();
        for n in 0..100 {
            conn.set::<_, _, ()>(format!("key {n}"), n).await.unwrap();
            assert_eq!(conn.get::<_, i32>(format!("key {n}")).await.unwrap(), n);
        }
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        assert_eq!(pool.stats().connects, 1);
        let _ = cmd("CLIENT").arg("SETNAME").arg("me").exec_async(&mut *conn).await;
        drop(conn);
        drop(pool.get_async().await.unwrap());
        assert_eq!(pool.stats().connects, 2);
    });
}

type ClusterPool = Pool<RedisClusterManager>;

fn pool_of_one(nodes: &[Redis]) -> ClusterPool {
    let builder = Pool::builder(RedisClusterManager::new(urls(nodes)).unwrap()).max_size(1);
    builder.connect_timeout(Duration::from_secs(5)).build().unwrap()
}

/// Which of `key0` to `key99` a node holds.
fn keys_on(node: &Redis) -> Vec<String> {
    let mut eye = node.eye();
    let keys = (0..100).map(|n| format!("key{n}"));
    keys.filter(|key| eye.ask(&format!("GET {key}")) == *key).collect()
}

#[test]
#[ignore = "needs Redis (redis-server, redis-cli)"]
fn what_a_failed_pipeline_leaves_unread_at_some_nodes_reaches_no_other_borrower() {
    let mut nodes = cluster();
    let pool = pool_of_one(&nodes);
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    for n in 0..100 {
        conn.set::<_, _, ()>(format!("key{n}"), format!("key{n}")).unwrap();
    }
    drop(conn);
    let (alive, dead) = (keys_on(&nodes[0]), keys_on(&nodes[2]));
    nodes.remove(2);
    for round in 0..4 {
        let mut pipeline = cluster_pipe();
        pipeline.get(&alive[0]).get(&dead[0]);
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        conn.query::<Vec<String>>(&pipeline).expect_err("a node is gone");
        drop(conn);
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        for key in &alive[1..4] {
            assert_eq!(conn.get::<_, String>(key).unwrap(), *key, "round {round}");
        }
    }
}

/// Runs each on a connection, and asserts that the next borrower has another one if `costs_it`.
fn assert_costs(pool: &ClusterPool, costs_it: bool, call: impl Fn(&mut RedisClusterConnection)) {
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    let connects = pool.stats().connects;
    call(&mut conn);
    drop(conn);
    let mut conn = pool.get_timeout(PLENTY).unwrap();
    conn.set::<_, _, ()>("k", "mine").unwrap();
    assert_eq!(conn.get::<_, String>("k").unwrap(), "mine");
    assert_eq!(pool.stats().connects, connects + u64::from(costs_it));
}

#[test]
#[ignore = "needs Redis (redis-server, redis-cli)"]
fn what_a_pipeline_for_a_cluster_leaves_at_its_nodes_costs_the_connection() {
    let nodes = cluster();
    let pool = pool_of_one(&nodes);
    let commands = [
        cmd("WATCH").arg("k").clone(),
        cmd("MULTI"),
        cmd("SSUBSCRIBE").arg("k").clone(),
        cmd("MONITOR"),
    ];
    for command in commands {
        assert_costs(&pool, true, |conn| {
            let _ = conn.query::<Value>(cluster_pipe().add_command(command.clone()));
        });
    }
    // The second may be for another node than the first.
    assert_costs(&pool, true, |conn| {
        let _ = conn.query::<Value>(cluster_pipe().cmd("WATCH").arg("k").cmd("UNWATCH"));
    });
    assert_costs(&pool, false, |conn| {
        let pipeline = cluster_pipe().set("a", 1).set("b", 2).ignore().get("b").clone();
        assert_eq!(conn.query::<(String, i32)>(&pipeline).unwrap(), ("OK".into(), 2));
        conn.query::<i32>(&pipeline).expect_err("the answers are of another type");
    });
}

#[test]
#[ignore = "needs Redis (redis-server, redis-cli)"]
fn a_transaction_that_may_have_ended_on_another_node_costs_threads_the_connection() {
    let nodes = cluster();
    let pool = pool_of_one(&nodes);
    let run = |conn: &mut RedisClusterConnection, command: &Cmd| {
        let _: RedisResult<Value> = command.query(conn);
    };
    assert_costs(&pool, true, |conn| {
        run(conn, cmd("WATCH").arg("k"));
        run(conn, &cmd("UNWATCH"));
    });
    assert_costs(&pool, true, |conn| {
        ["MULTI", "MULTI", "EXEC", "EXEC"].iter().for_each(|name| run(conn, &cmd(name)));
    });
    assert_costs(&pool, false, |conn| {
        let packed = redis::pipe().atomic().set("k", 2).get("k").get_packed_pipeline();
        assert_eq!(conn.req_packed_commands(&packed, 3, 1).unwrap().len(), 1);
    });
}

#[test]
#[ignore = "needs Redis (redis-server, redis-cli)"]
fn a_transaction_that_may_have_ended_on_another_node_costs_tasks_the_connection() {
    let nodes = cluster();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = Pool::builder_async(AsyncRedisClusterManager::new(urls(&nodes)).unwrap());
        let pool = pool.max_size(1).connect_timeout(Duration::from_secs(5)).build().unwrap();
        let transaction = redis::pipe().atomic().set("k", 2).get("k").clone();
        let mut conn = pool.get_async().await.unwrap();
        let got: (String, i32) = transaction.query_async(&mut *conn).await.unwrap();
        assert_eq!(got, ("OK".into(), 2));
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        assert_eq!(pool.stats().connects, 1);
        let _ = cmd("WATCH").arg("k").exec_async(&mut *conn).await;
        let _ = cmd("UNWATCH").exec_async(&mut *conn).await;
        drop(conn);
        drop(pool.get_async().await.unwrap());
        assert_eq!(pool.stats().connects, 2);
    });
}
