//! Ends the sessions of queries that were late.

use super::connect::Connect;
use crate::Deadline;
use crate::adapters::mysql::session::cancel::{Abandoned, GRACE, PATIENCE, Queue};
use crate::adapters::mysql::session::line::Line;
use mysql::prelude::Queryable;
use mysql::{Error, Opts, Result, Row};
use std::sync::Arc;
use std::thread;

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

    /// In the background. Without a thread for it the query goes on.
    fn end(self: &Arc<Self>, session: Abandoned<Opts>) {
        if self.queue.push(session) {
            let canceller = Arc::clone(self);
            let thread = thread::Builder::new().name("caliburn-cancel".into());
            if thread.spawn(move || canceller.work()).is_err() {
                self.queue.abandon();
            }
        }
    }

    fn work(&self) {
        loop {
            thread::sleep(GRACE / 2);
            let Some(due) = self.queue.due() else { return };
            if let Some(first) = due.first()
                && self.kill(&due, &first.opts).is_err()
            {
                self.queue.try_again(due);
            }
        }
    }

    fn kill(&self, sessions: &[Abandoned<Opts>], opts: &Opts) -> Result<()> {
        let (mut conn, line) = self.connect.open(opts, &Deadline::after(PATIENCE))?;
        let _limit = line.within(PATIENCE)?;
        for session in sessions {
            let Some(question) = session.question(opts.get_socket().is_some()) else { continue };
            if conn.query_first::<Row, _>(question)?.is_some() {
                match conn.query_drop(session.kill()) {
                    // It may have ended meanwhile.
                    Err(Error::MySqlError(_)) => {}
                    outcome => outcome?,
                }
            }
        }
        Ok(())
    }
}

/// How the session of one connection is ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) canceller: Arc<Canceller>,
    pub(super) opts: Opts,
}

impl Ending {
    pub(super) fn end(&self, number: u32, line: &Line) {
        self.canceller.end(Abandoned::cut(number, line, self.opts.clone()));
    }
}
