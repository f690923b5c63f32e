//! What becomes of the URLs that PostgreSQL's managers are made from.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use caliburn::adapters::postgres::{
    AsyncConnection, AsyncPool, AsyncPostgresManager, Connection, Pool, PostgresManager, postgres,
    tokio_postgres,
};
use std::error::Error;
use std::fmt::Debug;
use std::str::FromStr;

fn all_of(error: &dyn Error) -> String {
    let source = error.source().map(all_of).unwrap_or_default();
    format!("{error} {error:?} {source}")
}

fn scenario<M: FromStr<Err = tokio_postgres::Error> + Debug>() {
    for url in ["postgresql://app:pass%3Fword@host:1/db?connect_timeout=1", "host=a user=b"] {
        let manager: M = url.parse().unwrap();
        let shown = format!("{manager:?}");
        assert!(!shown.contains("pass") && !shown.contains("app"), "{shown}");
    }
    for url in [
        "postgresql://app:se?cret=1@host/db",
        "postgresql://se:cr#et@host:port/db",
        "postgresql://app:se/cret?secret=1&x",
        "postgresql://app:secret@host/db?x=1",
        "postgresql://app:100%secret@host/?x=1",
        "postgresql://app@host/db?password=top&secret=1",
        "postgresql://app:top@secret@host/db",
        "postgresql://app:top@secret/word@host/db",
        "postgresql://host/db?user=app&password=top@&secret",
        "host=a password=x secret=y",
        "host=a password=x secret y",
        "user='secret",
        "secret",
        "",
    ] {
        let parsed = url.parse::<M>();
        let shown = parsed.map_or_else(|error| all_of(&error), |manager| format!("{manager:?}"));
        assert!(!shown.contains("secret") && !shown.contains("cret"), "{url}: {shown}");
    }
    // An `@` that is no part of the password is as good as ever.
    "postgresql://app:secret@host/db?application_name=a@b".parse::<M>().unwrap();
    // What is told without a risk is told.
    let error = "postgresql://app:secret@host/db?sslmod=require".parse::<M>().unwrap_err();
    assert!(all_of(&error).contains("sslmod"), "{}", all_of(&error));
}

#[test]
fn no_part_of_a_password_is_in_an_error_or_in_what_is_shown() {
    scenario::<PostgresManager>();
    scenario::<AsyncPostgresManager>();
}

#[test]
fn pools_and_connections_have_short_names() {
    fn ask(pool: &Pool) -> Result<Connection, Box<dyn Error>> {
        Ok(pool.get()?)
    }
    async fn ask_async(pool: &AsyncPool) -> Result<AsyncConnection, Box<dyn Error>> {
        Ok(pool.get_async().await?)
    }
    let _ = (ask, ask_async);
    let config: postgres::Config = "host=a user=b".parse().unwrap();
    let _ = PostgresManager::new(config);
}
