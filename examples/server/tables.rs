//! The list of tables of a database: what the server is for.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::{Manager, Pool, PooledConnection};
use serde_json::json;
use std::error::Error;
use std::time::Duration;
use tokio::time::timeout;

/// How long a request waits for the database, once it has a connection.
pub(crate) const QUERY_LIMIT: Duration = Duration::from_secs(5);

/// What the server needs to know of a database.
pub(crate) trait Catalogue: Manager + Sized {
    /// The names of its tables.
    fn tables(
        conn: PooledConnection<Self>,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;
}

impl Catalogue for SqliteManager {
    /// On a thread for work that blocks: the query takes microseconds, but while another connection
    /// writes it may wait for a lock, up to the busy timeout. On a thread of the runtime all other
    /// requests would wait with it. No more such threads work than the pool has connections.
    async fn tables(conn: PooledConnection<Self>) -> rusqlite::Result<Vec<String>> {
        let query = move || {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
            conn.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        tokio::task::spawn_blocking(query).await.expect("a query that does not panic")
    }
}

impl Catalogue for AsyncPostgresManager {
    async fn tables(conn: PooledConnection<Self>) -> Result<Vec<String>, tokio_postgres::Error> {
        let sql = "SELECT tablename::text FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
        conn.query_typed(sql, &[]).await?.iter().map(|row| row.try_get(0)).collect()
    }
}

/// Why there is no list. What exactly went wrong is for the log, not for the client.
pub(crate) enum Failure {
    /// There was no connection, or no answer, in time: come again.
    Busy(String),
    /// The database did not like the query.
    Query(String),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, told, why) = match self {
            Self::Busy(why) => (StatusCode::SERVICE_UNAVAILABLE, "come again", why),
            Self::Query(why) => (StatusCode::INTERNAL_SERVER_ERROR, "the query failed", why),
        };
        eprintln!("{status}: {why}");
        let answer = (status, Json(json!({ "error": told })));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                ([(header::RETRY_AFTER, "1")], answer).into_response()
            }
            _ => answer.into_response(),
        }
    }
}

/// Drivers often say only in the sources of an error what has gone wrong.
fn add_sources(text: &mut String, error: &dyn Error) {
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            *text += &format!(": {more}");
        }
        source = error.source();
    }
}

pub(crate) async fn tables<M: Catalogue>(
    State(pool): State<Pool<M>>,
) -> Result<Json<Vec<String>>, Failure> {
    let conn = pool.get_async().await.map_err(|error| Failure::Busy(format!("{error:#}")))?;
    match timeout(QUERY_LIMIT, M::tables(conn)).await {
        Ok(Ok(tables)) => Ok(Json(tables)),
        Ok(Err(error)) => {
            let mut text = error.to_string();
            add_sources(&mut text, &error);
            Err(Failure::Query(text))
        }
        Err(_) => Err(Failure::Busy(format!("no answer after {QUERY_LIMIT:?}"))),
    }
}
