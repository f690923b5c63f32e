//! MySQL's adapters against a server that turns hostile, at each step and in each manner.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::hostile::{Exactness, all};
use crate::common::hostile_faces::mysql::{Tasks, Threads};
use crate::common::my_fake::FakeMySql;

#[test]
fn every_limit_of_threads_is_kept_whatever_the_server_does_and_whenever() {
    all::<Threads<FakeMySql>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_tasks_is_kept_whatever_the_server_does_and_whenever() {
    all::<Tasks<FakeMySql>>(Exactness::Roughly);
}

/// To 5 % and 5 ms; a guard is dropped within a millisecond.
#[test]
#[ignore = "measures, and so needs a quiet machine"]
fn soak_every_limit_is_kept_exactly() {
    all::<Threads<FakeMySql>>(Exactness::Exactly);
    all::<Tasks<FakeMySql>>(Exactness::Exactly);
}
