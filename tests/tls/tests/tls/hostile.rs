//! Behind TLS, servers that turn hostile, at each step and in each manner; and in the handshake.

use crate::common::hostile::all;
use crate::common::hostile_faces::{mysql, redis};
use crate::common::my_fake::FakeMySql;
use crate::common::resp::Resp;
use crate::front::Front;

#[test]
fn every_limit_of_threads_with_redis_is_kept_whatever_the_server_does_and_whenever() {
    all::<redis::Threads<Front<Resp, false>>>();
}

#[test]
fn every_limit_of_tasks_with_redis_is_kept_whatever_the_server_does_and_whenever() {
    all::<redis::Tasks<Front<Resp, false>>>();
}

#[test]
fn every_limit_of_threads_with_mysql_is_kept_whatever_the_server_does_and_whenever() {
    all::<mysql::Threads<Front<FakeMySql, true>>>();
}

#[test]
fn every_limit_of_tasks_with_mysql_is_kept_whatever_the_server_does_and_whenever() {
    all::<mysql::Tasks<Front<FakeMySql, true>>>();
}
