//! PostgreSQL's adapters against a server that turns hostile, at each step and in each manner.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::hostile::{Exactness, all};
use crate::common::hostile_faces::postgres::{Tasks, Threads};
use crate::common::pg_hostile::{FakePostgres, Secured};

#[test]
fn every_limit_of_threads_is_kept_whatever_the_server_does_and_whenever() {
    all::<Threads<FakePostgres>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_tasks_is_kept_whatever_the_server_does_and_whenever() {
    all::<Tasks<FakePostgres>>(Exactness::Roughly);
}

/// By a connector of the user's, which does nothing here: what matters is the way through it.
#[test]
fn every_limit_of_threads_is_kept_where_the_stream_is_secured() {
    all::<Threads<Secured>>(Exactness::Roughly);
}

#[test]
fn every_limit_of_tasks_is_kept_where_the_stream_is_secured() {
    all::<Tasks<Secured>>(Exactness::Roughly);
}

/// To 5 % and 5 ms; a guard is dropped within a millisecond.
#[test]
#[ignore = "measures, and so needs a quiet machine"]
fn soak_every_limit_is_kept_exactly() {
    all::<Threads<FakePostgres>>(Exactness::Exactly);
    all::<Tasks<FakePostgres>>(Exactness::Exactly);
    all::<Threads<Secured>>(Exactness::Exactly);
    all::<Tasks<Secured>>(Exactness::Exactly);
}
