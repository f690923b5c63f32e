//! The Redis adapters for clusters.
#![cfg(feature = "redis-cluster-tokio")]

use crate::common::servers::process::run;
use crate::common::servers::redis::Redis;
use crate::common::{PLENTY, eventually};
use caliburn::Pool;
use caliburn::adapters::redis::{AsyncRedisClusterManager, RedisClusterManager};
use redis::{AsyncCommands as _, Commands as _, cmd};
use std::time::Duration;

/// Three masters that share the slots.
fn cluster() -> Vec<Redis> {
    let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes: Vec<_> = (0..3).map(|_| Redis::start(&settings)).collect();
    let places: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
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
    let mut pipeline = redis::cluster::cluster_pipe();
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
