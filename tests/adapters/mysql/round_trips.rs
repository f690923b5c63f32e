//! What a loan of a MySQL connection costs beyond the borrower's own statements, as MariaDB counts
//! it.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use caliburn::Pool;

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_loan_that_left_nothing_open_costs_no_round_trip
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_loan_of_which_it_is_not_known_costs_one
}

const LOANS: usize = 10;

/// What a borrower does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Asks(&'static str),
    Fails(&'static str),
    Executes(&'static str),
    Transacts(&'static str),
    Begins(&'static [&'static str]),
    Batches(&'static str),
}

impl Deed {
    async fn be_done<A: Adapter>(self, conn: &mut A::Connection) {
        let done = match self {
            Self::Asks(sql) => A::ask(conn, sql).await.map(drop),
            Self::Fails(sql) => {
                A::ask(conn, sql).await.unwrap_err();
                Ok(())
            }
            Self::Executes(sql) => A::execute(conn, sql).await,
            Self::Transacts(sql) => A::transact(conn, sql, true).await,
            Self::Batches(sql) => A::batch(conn, sql).await,
            Self::Begins(statements) => {
                for sql in statements {
                    A::ask(conn, sql).await.unwrap();
                }
                Ok(())
            }
        };
        done.unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }
}

/// A session that sees what the server counts. Others of its user have said goodbye, which counts
/// as a statement.
async fn only_eye(server: &MariaDb) -> mysql::Conn {
    use mysql::prelude::Queryable;
    let mut eye = root(server);
    let sql = "SELECT COUNT(*) FROM information_schema.processlist \
               WHERE user = SUBSTRING_INDEX(USER(), '@', 1)";
    soon("they are gone", || eye.query_first::<usize, _>(sql).unwrap() == Some(1)).await;
    eye
}

/// How many statements the server has counted, this question not included.
fn questions(eye: &mut mysql::Conn) -> usize {
    use mysql::prelude::Queryable;
    let sql = "SHOW GLOBAL STATUS LIKE 'Questions'";
    let counted: Option<(String, usize)> = eye.query_first(sql).unwrap();
    counted.unwrap().1 - 1
}

/// How many more statements the server counts if the deed is done in as many loans.
async fn extra<A: Adapter>(eye: &mut mysql::Conn, pool: &Pool<A>, deed: Deed) -> usize {
    let mut held = A::get(pool).await.unwrap();
    // Statements are prepared.
    deed.be_done::<A>(&mut held).await;
    let before = questions(eye);
    for _ in 0..LOANS {
        deed.be_done::<A>(&mut held).await;
    }
    let in_one = questions(eye) - before - 1;
    drop(held);
    drop(A::get(pool).await.unwrap());
    whole(pool).await;
    let before = questions(eye);
    for _ in 0..LOANS {
        deed.be_done::<A>(&mut A::get(pool).await.unwrap()).await;
    }
    whole(pool).await;
    let in_many = questions(eye) - before - 1;
    println!("{deed:?}: {in_one} statements in one loan, {in_many} in {LOANS}");
    in_many - in_one
}

async fn a_loan_that_left_nothing_open_costs_no_round_trip<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    let mut eye = only_eye(&server).await;
    for deed in [
        Deed::Asks("SELECT 1"),
        Deed::Asks("-- who asks\nSELECT 1"),
        Deed::Asks("/* who asks */ SELECT '; BEGIN'"),
        Deed::Asks("INSERT INTO song VALUES (1)"),
        Deed::Asks("CREATE TABLE IF NOT EXISTS other (id INT)"),
        Deed::Fails("SELECT nonsense"),
        Deed::Executes("SELECT 1"),
        Deed::Executes("INSERT INTO song VALUES (1)"),
        Deed::Transacts("INSERT INTO song VALUES (1)"),
        Deed::Begins(&["BEGIN", "INSERT INTO song VALUES (1)", "COMMIT"]),
        Deed::Begins(&["START TRANSACTION READ ONLY", "SELECT * FROM song", "ROLLBACK"]),
        Deed::Batches("INSERT INTO song VALUES (?)"),
    ] {
        assert_eq!(extra(&mut eye, &pool, deed).await, 0, "{deed:?}");
    }
    assert_eq!((pool.stats().connects, pool.stats().resets), (1, 0));
    close(&pool);
}

async fn a_loan_of_which_it_is_not_known_costs_one<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    let mut eye = only_eye(&server).await;
    for deed in [
        Deed::Asks("SET @mine = 1"),
        Deed::Asks("SELECT 'it\\'s; BEGIN'"),
        Deed::Begins(&["BEGIN", "INSERT INTO song VALUES (1)"]),
    ] {
        let before = pool.stats().resets;
        let extra = extra(&mut eye, &pool, deed).await;
        let resets = pool.stats().resets - before;
        // One for the loan that did it all.
        assert_eq!(resets, LOANS as u64 + 1, "{deed:?}");
        // The server counts each statement of a round trip.
        assert!(extra <= 5 * LOANS, "{deed:?}: {extra}");
    }
    assert_eq!(pool.stats().connects, 1);
    close(&pool);
}
