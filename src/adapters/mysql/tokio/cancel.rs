//! Ends the sessions of queries that nobody waits for any more.
//!
//! The server goes on with a query after its connection was closed, and keeps the session until the
//! query ends. So a connection that is given up in the middle of a query is ended from a second
//! one, after a moment in which the query may end by itself.

use super::super::line::Line;
use super::connect::Connect;
use crate::Deadline;
use crate::adapters::runtime::Home;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Result, Row};
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a query that was given up may go on.
const GRACE: Duration = Duration::from_millis(100);
/// How long it may take to reach the server for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried: the server may have no room for a second connection.
const ATTEMPTS: u32 = 5;

/// Who ends sessions, for all connections of a manager.
#[derive(Debug)]
pub(super) struct Canceller {
    connect: Arc<Connect>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<Session>,
    is_at_work: bool,
}

/// One to be ended.
#[derive(Debug)]
struct Session {
    number: u32,
    /// Keeps the connection open: its answer shows that the query has ended.
    line: Line,
    opts: Opts,
}

impl Canceller {
    pub(super) fn new(connect: Arc<Connect>) -> Self {
        Self { connect, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(self: Arc<Self>, session: Session, home: &Home) {
        let mut state = self.state();
        state.sessions.push(session);
        if !std::mem::replace(&mut state.is_at_work, true) {
            drop(state);
            let mut work = Work(Some(self));
            home.spawn(async move {
                if let Some(canceller) = &work.0 {
                    canceller.work().await;
                }
                drop(work.0.take());
            });
        }
    }

    /// Until there is nothing left to do.
    async fn work(&self) {
        for attempt in 1_u32.. {
            // The runtime need not have timers.
            let pause = tokio::task::spawn_blocking(move || thread::sleep(GRACE * attempt));
            if pause.await.is_err() {
                return;
            }
            let mut sessions = take(&mut self.state().sessions);
            sessions.retain(|session| !session.line.is_dead());
            let has_failed = match sessions.first() {
                Some(first) => self.kill(&sessions, first.opts.clone()).await.is_err(),
                None => false,
            };
            let mut state = self.state();
            if has_failed && attempt < ATTEMPTS {
                state.sessions.extend(sessions);
            }
            if state.sessions.is_empty() {
                state.is_at_work = false;
                return;
            }
        }
    }

    async fn kill(&self, sessions: &[Session], opts: Opts) -> Result<()> {
        let (mut conn, line) = self.connect.open(opts, &Deadline::after(PATIENCE)).await?;
        let _limit = line.until(std::time::Instant::now() + PATIENCE)?;
        for session in sessions {
            session.kill(&mut conn).await?;
        }
        conn.disconnect().await
    }
}

impl Session {
    /// Ends it if it is ours: behind a balancer the same number may be another one's.
    async fn kill(&self, conn: &mut Conn) -> Result<()> {
        let is_ours = match (self.line.local_port(), self.opts.socket()) {
            (Some(port), None) => format!("host LIKE '%:{port}'"),
            (_, Some(_)) => "host = 'localhost'".into(),
            (None, None) => return Ok(()),
        };
        let number = self.number;
        let sql = format!(
            "SELECT 1 FROM information_schema.processlist WHERE id = {number} AND {is_ours} LIMIT 1"
        );
        if !conn.query::<Row, _>(sql).await?.is_empty() {
            // It may have ended meanwhile.
            match conn.query_drop(format!("KILL {number}")).await {
                Err(mysql_async::Error::Server(_)) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

/// The task that does the work. If its runtime drops it before it is done, the next one can begin.
struct Work(Option<Arc<Canceller>>);

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(canceller) = &self.0 {
            *canceller.state() = State::default();
        }
    }
}

/// Whether the server may be at work on a query. If it is when this is dropped, its session is
/// ended.
#[derive(Debug)]
pub(super) struct Running {
    is_running: bool,
    canceller: Arc<Canceller>,
    home: Arc<Home>,
    number: u32,
    line: Line,
    opts: Opts,
}

impl Running {
    pub(super) fn new(canceller: Arc<Canceller>, home: Arc<Home>, conn: &Conn, line: Line) -> Self {
        let (number, opts) = (conn.id(), conn.opts().clone());
        Self { is_running: false, canceller, home, number, line, opts }
    }

    pub(super) fn begin(&mut self) {
        self.is_running = true;
    }

    pub(super) fn end(&mut self) {
        self.is_running = false;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running {
            let session =
                Session { number: self.number, line: self.line.clone(), opts: self.opts.clone() };
            self.canceller.clone().end(session, &self.home);
        }
    }
}
