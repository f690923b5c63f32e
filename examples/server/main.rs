//! A web server that answers the list of tables of its database as JSON, by way of axum, and shows
//! its pool at work.
//!
//! `cargo run --release --example server --features rusqlite,tokio-postgres,serde -- --help`

mod live;
mod snapshot;
mod tables;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::adapters::sqlite::SqliteManager;
use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{Builder, Pool, Stats};
use live::Live;
use rusqlite::OpenFlags;
use serde_json::json;
use snapshot::Log;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tables::{Catalogue, tables};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

const HELP: &str = "\
Answers the list of tables of a database as JSON:

  /tables     the tables; / as well
  /health     200 if the database answers, however busy the pool is, else 503
  /pool       what the pool has been doing
  /pool/live  what it is doing, as a page for a browser

  server [--listen ADDRESS] [FILE]

The database is that of the environment's DATABASE_URL if it is set (PostgreSQL), else
the SQLite database in FILE, else one in memory. ADDRESS is 127.0.0.1:3000 unless given;
port 0 is any that is free. SIGTERM and ctrl-c end the server once it has answered.";

/// So many connections.
const SIZE: usize = 8;
/// So many more, which requests do not get: for `/health`.
const RESERVED: usize = 1;
/// How long a request waits for a connection.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);
/// How long `/health` waits for a connection: it should answer before the caller gives up.
const HEALTH_LIMIT: Duration = Duration::from_millis(500);
/// How often idle connections are pinged, so that a server that has gone is missed within a second
/// although no request comes.
const SWEEP: Duration = Duration::from_millis(500);
/// How long requests have to end, once the server is to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long connections then have to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Whether requests make sense. A connection of the reserve tells, so it does not matter how many
/// requests hold one or wait for one. `PingOnBorrow` ensures that a lent connection was pinged or
/// used within the last half second.
async fn health<M: Catalogue>(State(pool): State<Pool<M>>) -> Response {
    let reserve = pool.reserved().unwrap_or(&pool);
    let why = match reserve.get_timeout_async(HEALTH_LIMIT).await {
        // Of a database that is back, the reserve may hear a little before the pool does.
        Ok(_) => Some(pool.health()).filter(|health| !health.is_serving()).map(|it| it.to_string()),
        Err(error) => Some(format!("{error:#}")),
    };
    let status = if why.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    why.inspect(|why| eprintln!("not healthy: {why}"));
    (status, Json(json!({ "healthy": status == StatusCode::OK }))).into_response()
}

async fn pool<M: Catalogue>(State(pool): State<Pool<M>>) -> Json<Stats> {
    Json(pool.stats())
}

fn router<M: Catalogue>(live: Live<M>) -> Router {
    Router::new()
        .route("/", get(tables::<M>))
        .route("/tables", get(tables::<M>))
        .route("/health", get(health::<M>))
        .route("/pool", get(pool::<M>))
        .with_state(live.pool.clone())
        .merge(live::router(live))
}

/// Serves until it is asked to stop, then ends what was begun. What comes back is whether all has
/// ended well.
async fn serve<M: Catalogue>(
    builder: Builder<M>,
    listen: SocketAddr,
) -> Result<bool, Box<dyn Error>> {
    let log = Log::default();
    let pool = builder
        .max_size(SIZE)
        // All from the start, so that no request waits for a connect.
        .min_size(SIZE)
        .reserved(RESERVED)
        .checkout_timeout(CONNECTION_LIMIT)
        // Whoever comes when so many wait would wait in vain.
        .max_waiters(10_000)
        .health((
            PingOnBorrow::default(),
            PingAfterFailure,
            PeriodicSweep::every(SWEEP),
            AgeEviction::default(),
        ))
        .observer(log.clone())
        .build()?;
    let listener = TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let (stopping, is_stopping) = watch::channel(false);
    let server = axum::serve(listener, router(Live { pool: pool.clone(), log, is_stopping }));
    let server = server.with_graceful_shutdown(async move {
        stop().await;
        stopping.send_replace(true);
    });
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
