//! What the Redis adapters keep of a server that says too much before it is known to be one. In a
//! process of its own, as it is the memory of the process that is measured.
#![cfg(all(feature = "redis", feature = "redis-tokio", target_os = "linux"))]

use crate::common::resp::{Fault, Moment, Resp};
use caliburn::adapters::redis::{AsyncRedisManager, RedisManager};
use caliburn::{AsyncManager as _, BlockingManager as _, Deadline};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const AT_ONCE: usize = 16;
const LIMIT: Duration = Duration::from_millis(500);

/// What is in use now, in KiB.
fn in_use() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The most that is in use during so many connects at once, beyond what was before.
fn most(connect: impl Fn(&str) + Sync) -> usize {
    let server = Resp::start();
    let (mut most, before) = (0, in_use());
    for fault in [Fault::Huge, Fault::Line, Fault::Flood] {
        let start = Barrier::new(AT_ONCE);
        thread::scope(|scope| {
            let connects: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        server.misbehave(Some((Moment::Startup, fault)));
                        connect(&server.url());
                    })
                })
                .collect();
            while !connects.iter().all(|connect| connect.is_finished()) {
                most = most.max(in_use().saturating_sub(before));
            }
        });
    }
    most
}

#[test]
fn a_greeting_without_end_takes_little_memory() {
    let _alone = crate::alone();
    let threads = most(|url| {
        let manager = RedisManager::from_url(url).unwrap();
        let _ = manager.connect(&Deadline::after(LIMIT));
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = most(|url| {
        let url = format!("{url}?protocol=resp3");
        let manager = AsyncRedisManager::from_url(&url).unwrap().runtime(runtime.handle().clone());
        let deadline = Deadline::after(LIMIT);
        let connect = async { tokio::time::timeout(LIMIT, manager.connect(&deadline)).await };
        let _ = runtime.block_on(connect);
    });
    println!("{threads} KiB for threads, {tasks} KiB for tasks, {AT_ONCE} at once");
    for most in [threads, tasks] {
        assert!(most < 1024 * AT_ONCE, "{most} KiB for {AT_ONCE} connects");
    }
}
