//! Connections that can be cut, as if a network lay between.

use caliburn::adapters::sqlite::{SqliteConnection, SqliteManager};
use caliburn::{BlockingManager, Deadline, ErrorClass, Manager};
use rusqlite::ErrorCode;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A connection that can be cut, as if a network lay between.
pub(crate) struct Line {
    pub(crate) sqlite: SqliteConnection,
    is_cut: Arc<AtomicBool>,
    /// Its driver has noticed.
    is_known_dead: bool,
}

impl Line {
    /// For one statement; each may be the first to find the line dead.
    pub(crate) fn sqlite(&mut self) -> Result<&mut SqliteConnection, LineError> {
        self.is_known_dead |= self.is_cut.load(Relaxed);
        if self.is_known_dead { Err(LineError::Cut) } else { Ok(&mut self.sqlite) }
    }
}

#[derive(Debug)]
pub(crate) enum LineError {
    Cut,
    Sqlite(rusqlite::Error),
}

impl LineError {
    /// It makes sense to try again, with another connection.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Cut => true,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the line was cut"),
            Self::Sqlite(error) => error.fmt(f),
        }
    }
}

impl Error for LineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cut => None,
            Self::Sqlite(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for LineError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Wraps the adapter, so that lines can be cut.
pub(crate) struct Cuttable {
    sqlite: SqliteManager,
    lines: Mutex<Vec<Weak<AtomicBool>>>,
}

impl Cuttable {
    pub(crate) fn of(sqlite: SqliteManager) -> Self {
        Self { sqlite, lines: Mutex::default() }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Weak<AtomicBool>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts one of the lines, idle or lent; not the same one each time.
    pub(crate) fn cut(&self, turn: usize) -> bool {
        let mut lines = self.lines();
        lines.retain(|line| line.strong_count() > 0);
        let line = lines.get(turn % lines.len().max(1)).and_then(Weak::upgrade);
        line.is_some_and(|line| !line.swap(true, Relaxed))
    }
}

impl Manager for Cuttable {
    type Connection = Line;
    type Error = LineError;

    fn has_broken(&self, line: &mut Line) -> bool {
        line.is_known_dead
    }

    fn needs_reset(&self, line: &mut Line) -> bool {
        self.sqlite.needs_reset(&mut line.sqlite)
    }

    fn classify(&self, error: &LineError) -> ErrorClass {
        match error {
            LineError::Cut => ErrorClass::Transient,
            LineError::Sqlite(error) => self.sqlite.classify(error),
        }
    }
}

impl BlockingManager for Cuttable {
    fn connect(&self, deadline: &Deadline) -> Result<Line, LineError> {
        let sqlite = self.sqlite.connect(deadline)?;
        let is_cut = Arc::default();
        self.lines().push(Arc::downgrade(&is_cut));
        Ok(Line { sqlite, is_cut, is_known_dead: false })
    }

    fn ping(&self, line: &mut Line, deadline: &Deadline) -> Result<(), LineError> {
        Ok(self.sqlite.ping(line.sqlite()?, deadline)?)
    }

    fn reset(&self, line: &mut Line, deadline: &Deadline) -> Result<(), LineError> {
        Ok(self.sqlite.reset(line.sqlite()?, deadline)?)
    }
}
