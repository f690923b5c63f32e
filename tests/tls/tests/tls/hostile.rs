//! Behind TLS, servers that turn hostile, at each step and in each manner; and in the handshake.

use crate::common::hostile::{Exactness, all};
use crate::common::hostile_faces::{mysql, redis};
use crate::common::my_fake::FakeMySql;
use crate::common::resp::Resp;
use crate::front::Front;

#[test]
fn every_limit_of_threads_with_redis_is_kept_whatever_the_server_does_and_whenever() {
    all::<redis::Threads<Front<Resp, false>>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_tasks_with_redis_is_kept_whatever_the_server_does_and_whenever() {
    all::<redis::Tasks<Front<Resp, false>>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_threads_with_mysql_is_kept_whatever_the_server_does_and_whenever() {
    all::<mysql::Threads<Front<FakeMySql, true>>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_tasks_with_mysql_is_kept_whatever_the_server_does_and_whenever() {
    all::<mysql::Tasks<Front<FakeMySql, true>>>(Exactness::Roughly);
}

/// To 5 % and 5 ms; a guard is dropped within a millisecond.
#[test]
#[ignore = "measures, and so needs a quiet machine"]
fn soak_every_limit_is_kept_exactly() {
    all::<redis::Threads<Front<Resp, false>>>(Exactness::Exactly);
    all::<redis::Tasks<Front<Resp, false>>>(Exactness::Exactly);
    all::<mysql::Threads<Front<FakeMySql, true>>>(Exactness::Exactly);
    all::<mysql::Tasks<Front<FakeMySql, true>>>(Exactness::Exactly);
}
