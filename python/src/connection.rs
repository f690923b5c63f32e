//! A connection in a slot: the driver's object, and what is known of it without asking.

use crate::callbacks::Callbacks;
use crate::gate;
use crate::held::Held;
use crate::look::{Sight, Socket};
use pyo3::intern;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long a connection may lie idle before it is worth a look at its socket.
const UNSEEN: Duration = Duration::from_millis(1);

/// How to see, without a round trip, whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no telling.
    Other,
    Sqlite3,
    Psycopg,
    Psycopg2,
    PyMySql,
}

impl Kind {
    /// By the name that `_driver.py` gives it.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "sqlite3" => Self::Sqlite3,
            "psycopg" => Self::Psycopg,
            "psycopg2" => Self::Psycopg2,
            "pymysql" => Self::PyMySql,
            _ => Self::Other,
        }
    }
}

/// What the driver knows of a connection that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No transaction is open.
    Clean,
    /// One is, or may be.
    Open,
    /// It is closed, or lost.
    Dead,
}

/// See the [module](self).
pub(crate) struct Connection {
    /// `None` once it was closed or given away.
    object: Option<Held>,
    callbacks: Arc<Callbacks>,
    kind: Kind,
    socket: Option<Socket>,
    /// Since when it has been idle, if its socket can be looked at.
    idle: Option<Instant>,
    /// It is not to be used any more.
    pub(crate) is_dead: bool,
    /// A worker is to reset it.
    pub(crate) reset_due: bool,
}

impl Connection {
    /// `None`: it is open already.
    pub(crate) fn new(
        object: Py<PyAny>,
        kind: Kind,
        descriptor: Option<i32>,
        callbacks: &Arc<Callbacks>,
    ) -> Option<Self> {
        let object = Held::new(object);
        if !callbacks.opened(&object) {
            return None;
        }
        let socket = descriptor.and_then(Socket::of);
        let idle = socket.is_some().then(Instant::now);
        let callbacks = Arc::clone(callbacks);
        let object = Some(object);
        Some(Self { object, callbacks, kind, socket, idle, is_dead: false, reset_due: false })
    }

    /// The driver's object. It is there while the connection is in a slot.
    #[inline]
    pub(crate) fn object(&self) -> Option<&Py<PyAny>> {
        self.object.as_ref().map(Held::get)
    }

    pub(crate) fn address(&self) -> usize {
        self.object.as_ref().map_or(0, Held::address)
    }

    /// Whether only a ping can tell if it works. Looks at its socket if it has been idle.
    pub(crate) fn is_in_doubt(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        if self.idle.take().is_none_or(|since| since.elapsed() < UNSEEN) {
            return false;
        }
        match socket.look() {
            Sight::Quiet => false,
            Sight::Data => true,
            Sight::HungUp => {
                self.is_dead = true;
                false
            }
        }
    }

    /// Notes that it comes back.
    #[inline]
    pub(crate) fn rests(&mut self) {
        if self.socket.is_some() {
            self.idle = Some(Instant::now());
        }
    }

    /// What the driver knows of it. No driver asks its server for that.
    #[inline]
    pub(crate) fn state(&self, py: Python<'_>) -> State {
        let Some(object) = self.object() else { return State::Dead };
        let object = object.bind(py);
        // What the driver does not even say of a connection, it says of a closed one.
        self.state_of(py, object).unwrap_or(State::Dead)
    }

    fn state_of(&self, py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<State> {
        let is_clean = match self.kind {
            Kind::Other => return Ok(State::Open),
            Kind::Sqlite3 => !object.getattr(intern!(py, "in_transaction"))?.is_truthy()?,
            Kind::Psycopg => {
                let session = object.getattr(intern!(py, "pgconn"))?;
                match session.getattr(intern!(py, "transaction_status"))?.extract::<i32>()? {
                    UNKNOWN => return Ok(State::Dead),
                    status => status == IDLE,
                }
            }
            Kind::Psycopg2 => {
                if object.getattr(intern!(py, "closed"))?.is_truthy()? {
                    return Ok(State::Dead);
                }
                let status = object.call_method0(intern!(py, "get_transaction_status"))?;
                match status.extract::<i32>()? {
                    UNKNOWN => return Ok(State::Dead),
                    status => status == IDLE,
                }
            }
            Kind::PyMySql => {
                if !object.getattr(intern!(py, "open"))?.is_truthy()? {
                    return Ok(State::Dead);
                }
                let status: u32 = object.getattr(intern!(py, "server_status"))?.extract()?;
                status & IN_TRANSACTION == 0
            }
        };
        Ok(if is_clean { State::Clean } else { State::Open })
    }

    /// Closes it, and logs what goes wrong.
    pub(crate) fn close(mut self) {
        self.end(true);
    }

    /// Gives the object away, open as it is.
    pub(crate) fn into_object(mut self, py: Python<'_>) -> Option<Py<PyAny>> {
        let held = self.object.take()?;
        self.callbacks.gone(py, &held);
        Some(held.get().clone_ref(py))
    }

    fn end(&mut self, is_graceful: bool) {
        let Some(object) = self.object.take() else { return };
        self.socket = None;
        gate::attached(|py| {
            self.callbacks.gone(py, &object);
            let close = if is_graceful { "close" } else { "close_quietly" };
            let closed = (object.get(),)
                .into_pyobject(py)
                .and_then(|arguments| self.callbacks.call(py, close, &arguments));
            if let Err(error) = closed {
                self.callbacks.log(py, "a connection could not be closed", error);
            }
            drop(object);
        });
    }
}

/// One that is known to be broken is just dropped by the pool: the driver gives up what it has
/// beside the server.
impl Drop for Connection {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// libpq's `PQTRANS_IDLE`.
const IDLE: i32 = 0;

/// libpq's `PQTRANS_UNKNOWN`.
const UNKNOWN: i32 = 4;

/// MySQL's `SERVER_STATUS_IN_TRANS`.
const IN_TRANSACTION: u32 = 1;
