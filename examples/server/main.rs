//! A web server that answers the list of tables of its database as JSON, by way of axum.
//!
//! `cargo run --release --example server --features rusqlite,tokio-postgres,serde -- --help`

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::health::{AgeEviction, PingAfterFailure, PingOnBorrow};
use caliburn::{Builder, GetError, Manager, Pool, PooledConnection, Stats, error::Phase};
use rusqlite::OpenFlags;
use serde_json::json;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

const HELP: &str = "\
Answers the list of tables of a database as JSON:

  /tables  the tables; / as well
  /health  200 if the database answers, else 503
  /pool    what the pool has been doing

  server [--listen ADDRESS] [FILE]

The database is that of the environment's DATABASE_URL if it is set (PostgreSQL), else
the SQLite database in FILE, else one in memory. ADDRESS is 127.0.0.1:3000 unless given;
port 0 is any that is free. SIGTERM and ctrl-c end the server once it has answered.";

/// So many connections.
const SIZE: usize = 8;
/// How long a request waits for a connection.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);
/// How long it then waits for the database.
const QUERY_LIMIT: Duration = Duration::from_secs(5);
/// How long `/health` waits for a connection: it should answer before the caller gives up.
const HEALTH_LIMIT: Duration = Duration::from_millis(500);
/// How long requests have to end, once the server is to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long connections then have to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What the server needs to know of a database.
trait Catalogue: Manager + Sized {
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
enum Failure {
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

async fn tables<M: Catalogue>(State(pool): State<Pool<M>>) -> Result<Json<Vec<String>>, Failure> {
    let conn = pool.get_async().await.map_err(|error| Failure::Busy(error.to_string()))?;
    match timeout(QUERY_LIMIT, M::tables(conn)).await {
        Ok(Ok(tables)) => Ok(Json(tables)),
        Ok(Err(error)) => Err(Failure::Query(error.to_string())),
        Err(_) => Err(Failure::Busy(format!("no answer after {QUERY_LIMIT:?}"))),
    }
}

/// Whether requests make sense. `PingOnBorrow` ensures that a lent connection was pinged or used
/// within the last half second. It is no failure that all connections are lent, as long as some
/// were lent lately: while the database answers, no request keeps one for longer than
/// [`QUERY_LIMIT`].
async fn health<M: Catalogue>(State(pool): State<Pool<M>>) -> Response {
    let got = pool.get_timeout_async(HEALTH_LIMIT).await;
    let is_moving = || pool.holders().iter().any(|holder| holder.since < QUERY_LIMIT);
    let why =
        match got {
            Ok(_) => None,
            Err(
                GetError::TimedOut { phase: Phase::Wait, .. } | GetError::TooManyWaiters { .. },
            ) if is_moving() => None,
            Err(error) => Some(error.to_string()),
        };
    let status = if why.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    why.inspect(|why| eprintln!("not healthy: {why}"));
    (status, Json(json!({ "healthy": status == StatusCode::OK }))).into_response()
}

async fn pool<M: Catalogue>(State(pool): State<Pool<M>>) -> Json<Stats> {
    Json(pool.stats())
}

fn router<M: Catalogue>(connections: Pool<M>) -> Router {
    Router::new()
        .route("/", get(tables::<M>))
        .route("/tables", get(tables::<M>))
        .route("/health", get(health::<M>))
        .route("/pool", get(pool::<M>))
        .with_state(connections)
}

/// Serves until it is asked to stop, then ends what was begun. What comes back is whether all has
/// ended well.
async fn serve<M: Catalogue>(
    builder: Builder<M>,
    listen: SocketAddr,
) -> Result<bool, Box<dyn Error>> {
    let pool = builder
        .max_size(SIZE)
        // All from the start, so that no request waits for a connect.
        .min_size(SIZE)
        .checkout_timeout(CONNECTION_LIMIT)
        // Whoever comes when so many wait would wait in vain.
        .max_waiters(10_000)
        .health((PingOnBorrow::default(), PingAfterFailure, AgeEviction::default()))
        .build()?;
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = axum::serve(listener, router(pool.clone())).with_graceful_shutdown(stop());
    let has_drained = tokio::select! {
        served = server => served.map(|()| true)?,
        () = async { stop().await; sleep(DRAIN_LIMIT).await } => false,
    };
    let report = pool.close_within_async(CLOSE_LIMIT).await;
    println!("{}\n{report}", pool.stats());
    Ok(has_drained && report.is_complete())
}

/// Once the server has been asked to stop.
async fn stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    tokio::select! {
        _ = terminate.recv() => {}
        pressed = tokio::signal::ctrl_c() => pressed.expect("signals"),
    }
}

/// What is in the file is only looked at.
fn sqlite(file: Option<String>) -> Builder<SqliteManager> {
    let Some(file) = file else {
        let builder = Pool::builder(SqliteManager::shared_memory("server"));
        return builder.after_connect(|conn, _| {
            Ok(conn.execute_batch(
                "CREATE TABLE IF NOT EXISTS album (title TEXT);
                 CREATE TABLE IF NOT EXISTS artist (name TEXT);
                 CREATE TABLE IF NOT EXISTS song (title TEXT, album TEXT, artist TEXT)",
            )?)
        });
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Pool::builder(SqliteManager::file(file).flags(flags))
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut listen, mut file) = ("127.0.0.1:3000".to_owned(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--listen" => listen = args.next().ok_or("--listen needs an address")?,
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}").into());
            }
            _ => file = Some(arg),
        }
    }
    let listen = listen.parse()?;
    let has_ended_well = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let manager = AsyncPostgresManager::new(url.parse()?);
            serve(Pool::builder_async(manager), listen).await?
        }
        Err(_) => serve(sqlite(file), listen).await?,
    };
    Ok(if has_ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
