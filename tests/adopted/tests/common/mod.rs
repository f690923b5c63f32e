//! What the tests share: real servers, as in caliburn's own tests, and some words.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

#[path = "../../../common/servers/mod.rs"]
pub mod servers;

use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Enough for anything that does not hang.
pub const PLENTY: Duration = Duration::from_secs(20);

pub fn of_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn of_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PLENTY, "{what}: not within {PLENTY:?}");
        thread::sleep(Duration::from_millis(2));
    }
}
