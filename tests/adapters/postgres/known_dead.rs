//! Sessions that the server has ended while they lay idle are lent to none.
#![cfg(all(target_os = "linux", feature = "postgres", feature = "tokio-postgres"))]

use crate::common::PLENTY;
use crate::common::pg::{Driver, both, named};
use crate::common::servers::postgres::Postgres;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::health::{PingAfterFailure, PingOnBorrow};
use caliburn::{HealthStrategy, Pool};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(500);

const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE application_name = 'it'";

/// With so many sessions open, none of which lives any more.
fn ended<D: Driver>(server: &Postgres, size: usize, health: impl HealthStrategy) -> Pool<D> {
    let builder = D::open(&named(server, "it")).builder().max_size(size).min_size(size);
    let pool = builder.health(health).wait_ready(PLENTY).build().unwrap();
    server.ask(END_ALL);
    // The load itself: for so long nobody borrows.
    thread::sleep(PAUSE);
    pool
}

fn dead_lent<D: Driver>(server: &Postgres, size: usize, health: fn() -> Box<dyn HealthStrategy>) {
    let pool = ended::<D>(server, size, health());
    let dead =
        (0..size).filter(|_| D::ask(&mut pool.get_timeout(PLENTY).unwrap(), "SELECT 1").is_err());
    assert_eq!(dead.count(), 0, "in turn, of {size}");
    let pool = ended::<D>(server, size, health());
    let mut clients: Vec<_> = (0..size).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    let dead = clients.iter_mut().filter_map(|client| D::ask(client, "SELECT 1").err());
    assert_eq!(dead.count(), 0, "at once, of {size}");
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn none_of_the_sessions_that_the_server_has_ended_is_lent<D: Driver>() {
        let server = Postgres::start(&[]);
        for health in [
            || Box::new(()) as Box<dyn HealthStrategy>,
            || Box::new(PingAfterFailure) as _,
            || Box::new(PingOnBorrow::default()) as _,
        ] {
            dead_lent::<D>(&server, 8, health);
            dead_lent::<D>(&server, 32, health);
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn nor_is_one_over_a_socket_that_is_a_file<D: Driver>() {
        let server = Postgres::start(&["unix_socket_directories=/tmp"]);
        let dsn = named(&server, "it").replace("127.0.0.1", "/tmp");
        let builder = D::open(&dsn).builder().max_size(8).min_size(8);
        let pool = builder.health(()).wait_ready(PLENTY).build().unwrap();
        server.ask(END_ALL);
        thread::sleep(PAUSE);
        for _ in 0..8 {
            D::ask(&mut pool.get_timeout(PLENTY).unwrap(), "SELECT 1").unwrap();
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_server_that_has_restarted_costs_no_query<D: Driver>() {
        let mut server = Postgres::start(&[]);
        let builder = D::open(&named(&server, "it")).builder().max_size(8).min_size(8);
        let pool = builder.health(()).wait_ready(PLENTY).build().unwrap();
        server.kill();
        server.restart();
        thread::sleep(PAUSE);
        for _ in 0..8 {
            D::ask(&mut pool.get_timeout(PLENTY).unwrap(), "SELECT 1").unwrap();
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_a_server_says_to_an_idle_session_does_not_make_it_dead<D: Driver>() {
        let server = Postgres::start(&[]);
        let builder = D::open(&named(&server, "it")).builder().max_size(1);
        let pool = builder.health(()).build().unwrap();
        drop(pool.get_timeout(PLENTY).unwrap());
        // A new value of a parameter that clients are told of.
        server.ask("ALTER SYSTEM SET DateStyle = 'German'");
        server.ask("SELECT pg_reload_conf()");
        thread::sleep(PAUSE);
        D::ask(&mut pool.get_timeout(PLENTY).unwrap(), "SELECT 1").unwrap();
        assert_eq!(pool.stats().connects, 1);
    }
}

/// The only thread of a runtime has been busy with other things all the while.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_runtime_that_was_not_polled_meanwhile_lends_none_either() {
    let server = Postgres::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = AsyncPostgresManager::from_url(&named(&server, "it")).unwrap();
        let pool = Pool::builder_async(manager).max_size(8).health(()).build().unwrap();
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(pool.get_async().await.unwrap());
        }
        drop(clients);
        server.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'it'",
        );
        thread::sleep(PAUSE);
        for _ in 0..8 {
            let client = pool.get_async().await.unwrap();
            client.batch_execute("SELECT 1").await.unwrap();
        }
    });
}

#[test]
#[ignore = "measures; needs PostgreSQL (initdb, postgres)"]
fn what_a_look_costs() {
    fn measure<D: Driver>(server: &Postgres) {
        let pool = D::open(&named(server, "it")).builder().max_size(1).health(()).build().unwrap();
        let (mut fresh, mut rested) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            // With a warm cache: the look alone is of interest.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(2) {}
            for of in [&mut rested, &mut fresh] {
                let begun = Instant::now();
                let client = pool.get().unwrap();
                of.push(begun.elapsed());
                drop(client);
            }
        }
        fresh.sort_unstable();
        rested.sort_unstable();
        println!("a loan: {:?} at once, {:?} after 2 ms", fresh[150], rested[150]);
    }
    let server = Postgres::start(&[]);
    measure::<PostgresManager>(&server);
    measure::<AsyncPostgresManager>(&server);
}
