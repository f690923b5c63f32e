//! What a borrower of a MySQL session can leave, and what the next one finds of it, with each
//! [`Reset`](caliburn::adapters::Reset): the table that the guide shows.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::servers::mariadb::{DATABASE, MariaDb, USER};

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    what_is_left_over_is_as_the_guide_says
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_distributed_transaction_that_was_prepared_stays_at_the_server
}

/// What it is, how it is left, and how it shows: a statement with another answer, or none, if
/// nothing is left over. Then whether it stays with `Reset::Transaction`. Nothing stays with
/// `Reset::Session`.
const LEFT: [(&str, &[&str], &str, bool); 16] = [
    (
        "open transaction",
        &["BEGIN", "INSERT INTO song VALUES (9)"],
        "SELECT COUNT(*) FROM song",
        false,
    ),
    ("autocommit", &["SET autocommit = 0"], "SELECT @@autocommit", false),
    ("SET TRANSACTION", &["SET TRANSACTION READ ONLY"], "INSERT INTO other VALUES (1)", false),
    ("LOCK TABLES", &["LOCK TABLES song READ"], "INSERT INTO other VALUES (1)", false),
    ("XA transaction", &["XA START 'mine'"], "XA START 'theirs'", false),
    ("USE", &["USE information_schema"], "SELECT DATABASE()", false),
    ("session variable", &["SET sql_mode = 'ANSI'"], "SELECT @@sql_mode", true),
    (
        "isolation level",
        &["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        "SELECT @@tx_isolation",
        true,
    ),
    ("character set", &["SET NAMES latin1"], "SELECT @@character_set_client", true),
    ("role", &["SET ROLE singer"], "SELECT IFNULL(CURRENT_ROLE(), '')", true),
    ("user variable", &["SET @mine = 1"], "SELECT IFNULL(@mine, '')", true),
    ("named lock", &["DO GET_LOCK('mine', 0)"], "SELECT IFNULL(IS_USED_LOCK('mine'), '')", true),
    (
        "temporary table",
        &["CREATE TEMPORARY TABLE mine (id INT)"],
        "SELECT COUNT(*) FROM mine",
        true,
    ),
    ("prepared statement", &["PREPARE mine FROM 'SELECT 1'"], "EXECUTE mine", true),
    ("open handler", &["HANDLER song OPEN"], "HANDLER song READ FIRST", true),
    // Which is refused if none has begun.
    ("lock for a backup", &["BACKUP STAGE START"], "BACKUP STAGE FLUSH", true),
];

async fn what_is_left_over_is_as_the_guide_says<A: Adapter>() {
    let server = MariaDb::start(&[]);
    server.ask(&format!(
        "CREATE TABLE {DATABASE}.song (id INT); CREATE TABLE {DATABASE}.other (id INT); \
         GRANT RELOAD ON *.* TO {USER}@'%'; CREATE ROLE singer; GRANT singer TO {USER}@'%'; \
         INSERT INTO {DATABASE}.song VALUES (1)"
    ));
    for (what, leave, show, stays) in LEFT {
        let mut found = Vec::new();
        for renews in [false, true] {
            let mut manager = A::manager(&server.url());
            if renews {
                manager = manager.renewing();
            }
            let pool = A::builder(manager).max_size(1).build().unwrap();
            let mut conn = A::get(&pool).await.unwrap();
            let shown = |answer: Result<Option<String>, A::Error>| {
                answer.map_err(|error| A::server_code(&error))
            };
            let before = shown(A::ask(&mut conn, show).await);
            drop(conn);
            whole(&pool).await;
            let mut conn = A::get(&pool).await.unwrap();
            for sql in leave {
                A::ask(&mut conn, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            drop(conn);
            whole(&pool).await;
            let mut conn = A::get(&pool).await.unwrap();
            let after = shown(A::ask(&mut conn, show).await);
            drop(conn);
            close(&pool);
            soon("no session is left", || server.sessions().is_empty()).await;
            found.push(before != after);
        }
        let said = |stays| if stays { "stays" } else { "gone" };
        println!("| {what} | {} | {} |", said(found[0]), said(found[1]));
        assert_eq!(found, [stays, false], "{what}");
    }
}

async fn a_distributed_transaction_that_was_prepared_stays_at_the_server<A: Adapter>() {
    let server = MariaDb::start(&[]);
    server.ask(&format!("CREATE TABLE {DATABASE}.song (id INT)"));
    for renews in [false, true] {
        let mut manager = A::manager(&server.url());
        if renews {
            manager = manager.renewing();
        }
        let pool = A::builder(manager).max_size(1).build().unwrap();
        let mut conn = A::get(&pool).await.unwrap();
        let insert = "INSERT INTO song VALUES (1)";
        for sql in ["XA START 'mine'", insert, "XA END 'mine'", "XA PREPARE 'mine'"] {
            A::ask(&mut conn, sql).await.unwrap();
        }
        drop(conn);
        drop(A::get(&pool).await.unwrap());
        close(&pool);
        soon("no session is left", || server.sessions().is_empty()).await;
        assert!(server.ask("XA RECOVER").ends_with("mine"), "{renews}");
        server.ask("XA ROLLBACK 'mine'");
    }
}
