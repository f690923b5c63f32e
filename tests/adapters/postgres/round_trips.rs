//! What a loan of a PostgreSQL connection costs beyond the borrower's own statements, as counted on
//! the way to the server.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, both};
use crate::common::relay::Relay;
use crate::common::servers::postgres::Postgres;
use crate::common::servers::process::loopback;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};

/// What a borrower does.
type Deed<D> = fn(&mut <D as caliburn::Manager>::Connection);

fn deeds<D: Driver>() -> [(&'static str, Deed<D>); 6] {
    [
        ("select", |conn| drop(D::ask(conn, "SELECT 1").unwrap())),
        ("select with a parameter", |conn| assert_eq!(D::echo_at_once(conn, 1).unwrap(), 1)),
        ("autocommit write", |conn| drop(D::ask(conn, "INSERT INTO song VALUES (1)").unwrap())),
        ("committed transaction", |conn| {
            for sql in ["BEGIN", "INSERT INTO song VALUES (1)", "COMMIT"] {
                D::ask(conn, sql).unwrap();
            }
        }),
        ("prepared query", |conn| assert_eq!(D::kept(conn, "SELECT 7::INT8").unwrap(), 7)),
        ("prepared query in a transaction", |conn| {
            assert_eq!(D::kept_in_transaction(conn, "SELECT 7::INT8").unwrap(), 7);
        }),
    ]
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres, psql)"]
    fn a_loan_that_left_nothing_open_costs_no_round_trip<D: Driver>() {
        let server = Postgres::start(&[]);
        server.ask("CREATE TABLE song (id INT)");
        let relay = Relay::to(loopback(server.port));
        let dsn = server.dsn().replace(&server.port.to_string(), &relay.port().to_string());
        let pool = D::open(&dsn).builder().max_size(1).build().unwrap();
        for (what, deed) in deeds::<D>() {
            assert_eq!(relay.extra(&pool, what, |conn| deed(conn)), 0, "{what}");
        }
        // The driver may be at work when a connection comes back. The pool waits for it, and sends
        // nothing.
        assert_eq!(pool.stats().connects, 1);
    }
}
