//! Borrowers on few connections while the server is killed, frozen and cut off at random, and a
//! quarter of their requests is given up half-way: each answer is the right one, no slot is lost,
//! no session is left, and the server never sees more sessions than the pool may have.
#![cfg(all(
    unix,
    feature = "postgres",
    feature = "tokio-postgres",
    feature = "mysql",
    feature = "mysql_async",
    feature = "redis",
    feature = "redis-tokio"
))]

extern crate caliburn_testing as common;
mod places;
mod scene;

use places::{MariaDb, Postgres, Redis};
use scene::{Scene, tasks, threads};

macro_rules! scenes {
    ($($place:ident, $face:ident, $short:ident, $long:ident: $needs:literal;)+) => {
        $(
            #[test]
            #[ignore = $needs]
            fn $short() {
                $face::<$place>(Scene::short());
            }

            #[test]
            #[ignore = $needs]
            fn $long() {
                $face::<$place>(Scene::long());
            }
        )+
    };
}

scenes! {
    Postgres, tasks, tasks_on_postgres_get_their_own_answers, soak_tasks_on_postgres:
        "needs PostgreSQL";
    Postgres, threads, threads_on_postgres_get_their_own_answers, soak_threads_on_postgres:
        "needs PostgreSQL";
    MariaDb, tasks, tasks_on_mysql_get_their_own_answers, soak_tasks_on_mysql: "needs MariaDB";
    MariaDb, threads, threads_on_mysql_get_their_own_answers, soak_threads_on_mysql:
        "needs MariaDB";
    Redis, tasks, tasks_on_redis_get_their_own_answers, soak_tasks_on_redis: "needs Redis";
    Redis, threads, threads_on_redis_get_their_own_answers, soak_threads_on_redis: "needs Redis";
}
