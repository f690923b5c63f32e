//! The Redis adapters against a server that turns hostile, at each step and in each manner.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::hostile::{Exactness, all};
use crate::common::hostile_faces::redis::{Tasks, Threads};
use crate::common::resp::Resp;

#[test]
fn every_limit_of_threads_is_kept_whatever_the_server_does_and_whenever() {
    all::<Threads<Resp>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_tasks_is_kept_whatever_the_server_does_and_whenever() {
    all::<Tasks<Resp>>(Exactness::Roughly);
}

/// To 5 % and 5 ms; a guard is dropped within a millisecond.
#[test]
#[ignore = "measures, and so needs a quiet machine"]
fn soak_every_limit_is_kept_exactly() {
    all::<Threads<Resp>>(Exactness::Exactly);
    all::<Tasks<Resp>>(Exactness::Exactly);
}
