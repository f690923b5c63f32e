//! The Redis adapters against a server that turns hostile, at each step and in each manner.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::hostile::all;
use crate::common::hostile_faces::redis::{Tasks, Threads};
use crate::common::resp::Resp;

#[test]
fn every_limit_of_threads_is_kept_whatever_the_server_does_and_whenever() {
    all::<Threads<Resp>>();
}

#[test]
fn every_limit_of_tasks_is_kept_whatever_the_server_does_and_whenever() {
    all::<Tasks<Resp>>();
}
