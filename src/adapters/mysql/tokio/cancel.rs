//! Ends the sessions of queries whose calls were dropped.

use super::connect::Connect;
use crate::Deadline;
use crate::adapters::mysql::session::cancel::{Abandoned, GRACE, PATIENCE, Queue};
use crate::adapters::mysql::session::line::Line;
use crate::adapters::runtime::Home;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, Result, Row};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Ends sessions, for all connections of a manager.
#[derive(Debug)]
pub(super) struct Canceller {
    connect: Arc<Connect>,
    queue: Queue<Opts>,
}

impl Canceller {
    pub(super) fn new(connect: Arc<Connect>) -> Self {
        Self { connect, queue: Queue::default() }
    }

    fn end(self: Arc<Self>, session: Abandoned<Opts>, home: &Home) {
        if self.queue.push(session) {
            let mut work = Work(Some(self));
            home.spawn(async move {
                if let Some(canceller) = &work.0
                    && canceller.work().await
                {
                    drop(work.0.take());
                }
            });
        }
    }

    /// Until there is nothing left to do, or the runtime ends.
    async fn work(&self) -> bool {
        loop {
            // The runtime need not have timers.
            let pause = tokio::task::spawn_blocking(|| thread::sleep(GRACE / 2));
            if pause.await.is_err() {
                return false;
            }
            let Some(due) = self.queue.due() else { return true };
            if let Some(first) = due.first()
                && self.kill(&due, first.opts.clone()).await.is_err()
            {
                self.queue.try_again(due);
            }
        }
    }

    async fn kill(&self, sessions: &[Abandoned<Opts>], opts: Opts) -> Result<()> {
        let goes_through_a_file = opts.socket().is_some();
        let (mut conn, line) = self.connect.open(opts, &Deadline::after(PATIENCE)).await?;
        let _limit = line.until(Instant::now() + PATIENCE)?;
        for session in sessions {
            let Some(question) = session.question(goes_through_a_file) else { continue };
            if !conn.query::<Row, _>(question).await?.is_empty() {
                match conn.query_drop(session.kill()).await {
                    // It may have ended meanwhile.
                    Err(Error::Server(_)) => {}
                    outcome => outcome?,
                }
            }
        }
        conn.disconnect().await
    }
}

/// The task that does the work. If its runtime drops it before it is done, the next one can begin.
struct Work(Option<Arc<Canceller>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.iter().for_each(|canceller| canceller.queue.abandon());
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
            let session = Abandoned::new(self.number, &self.line, self.opts.clone());
            self.canceller.clone().end(session, &self.home);
        }
    }
}
