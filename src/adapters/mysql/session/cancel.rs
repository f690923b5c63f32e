//! Sessions whose query was dropped.
//!
//! The server goes on with a query after its connection was closed, and keeps the session until the
//! query ends. So a connection that is given up in the middle of a query is ended from a second
//! one, after a moment in which the query may end by itself.

use super::line::Line;
use std::mem::{replace, take};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a query that was given up may go on.
pub(in crate::adapters::mysql) const GRACE: Duration = Duration::from_millis(50);
/// How long it may take to reach the server for that.
pub(in crate::adapters::mysql) const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried: the server may have no room for a second connection.
const ATTEMPTS: u32 = 5;

/// One to be ended.
#[derive(Debug)]
pub(in crate::adapters::mysql) struct Abandoned<O> {
    number: u32,
    /// Keeps the connection open: its answer shows that the query has ended. `None`: it was cut.
    line: Option<Line>,
    port: Option<u16>,
    /// How to reach the server.
    pub(in crate::adapters::mysql) opts: O,
    since: Instant,
    attempts: u32,
}

impl<O> Abandoned<O> {
    pub(in crate::adapters::mysql) fn new(number: u32, line: &Line, opts: O) -> Self {
        let (port, line) = (line.local_port(), Some(line.clone()));
        Self { number, line, port, opts, since: Instant::now(), attempts: 0 }
    }

    /// Of one whose connection was cut.
    #[cfg(feature = "mysql")]
    pub(in crate::adapters::mysql) fn cut(number: u32, line: &Line, opts: O) -> Self {
        Self { line: None, ..Self::new(number, line, opts) }
    }

    /// Asks for a row if the session is ours: behind a balancer the same number may be another
    /// one's. `None`: that cannot be known.
    pub(in crate::adapters::mysql) fn question(&self, goes_through_a_file: bool) -> Option<String> {
        let is_ours = match self.port {
            _ if goes_through_a_file => "host = 'localhost'".into(),
            Some(port) => format!("host LIKE '%:{port}'"),
            None => return None,
        };
        let number = self.number;
        Some(format!(
            "SELECT 1 FROM information_schema.processlist WHERE id = {number} AND {is_ours} LIMIT 1"
        ))
    }

    pub(in crate::adapters::mysql) fn kill(&self) -> String {
        format!("KILL {}", self.number)
    }
}

/// Those of a manager that are to be ended.
#[derive(Debug)]
pub(in crate::adapters::mysql) struct Queue<O>(Mutex<State<O>>);

#[derive(Debug)]
struct State<O> {
    sessions: Vec<Abandoned<O>>,
    is_at_work: bool,
}

impl<O> Default for Queue<O> {
    fn default() -> Self {
        Self(Mutex::new(State { sessions: Vec::new(), is_at_work: false }))
    }
}

impl<O> Queue<O> {
    fn state(&self) -> MutexGuard<'_, State<O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a worker must be started.
    pub(in crate::adapters::mysql) fn push(&self, session: Abandoned<O>) -> bool {
        let mut state = self.state();
        state.sessions.push(session);
        !replace(&mut state.is_at_work, true)
    }

    /// Sessions whose grace is over and whose query goes on. `None`: nothing is left to do, and the
    /// worker ends.
    pub(in crate::adapters::mysql) fn due(&self) -> Option<Vec<Abandoned<O>>> {
        let mut state = self.state();
        state.sessions.retain(|session| session.line.as_ref().is_none_or(|line| !line.is_dead()));
        if state.sessions.is_empty() {
            state.is_at_work = false;
            return None;
        }
        let is_due = |session: &Abandoned<O>| session.since.elapsed() >= GRACE;
        let (due, early) = take(&mut state.sessions).into_iter().partition(is_due);
        state.sessions = early;
        Some(due)
    }

    /// They could not be ended.
    pub(in crate::adapters::mysql) fn try_again(&self, sessions: Vec<Abandoned<O>>) {
        let again = sessions.into_iter().filter_map(|session| {
            let attempts = session.attempts + 1;
            let again = Abandoned { since: Instant::now(), attempts, ..session };
            (attempts < ATTEMPTS).then_some(again)
        });
        self.state().sessions.extend(again);
    }

    /// The worker has gone before it was done.
    pub(in crate::adapters::mysql) fn abandon(&self) {
        *self.state() = State { sessions: Vec::new(), is_at_work: false };
    }
}
