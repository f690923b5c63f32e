//! A manager of both kinds, a strategy, connections, errors and wakers that call their pool from a
//! callback.
#![allow(unsafe_code)]

use crate::common::{AsyncFake, Conn, FakeError, yield_once};
use caliburn::health::{ConnectionInfo, HealthStrategy, Validity, Verdict};
use caliburn::{AsyncManager, BlockingManager, Deadline, ErrorClass, Manager, Pool};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{RawWaker, RawWakerVTable, Waker};

thread_local! {
    /// A callback within a callback does nothing, or there would be no end to it.
    static IS_CALLING: Cell<bool> = const { Cell::new(false) };
}

/// What a callback does.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    Calls(fn(&Pool<Busy>)),
    /// Drops the handle that callbacks have, which may be the last.
    Drops,
}

/// Where the callbacks come from.
#[derive(Clone)]
pub(crate) struct Hook(Arc<Hooked>);

struct Hooked {
    callback: &'static str,
    does: Does,
    calls: AtomicUsize,
    pool: Mutex<Option<Pool<Busy>>>,
}

impl Hook {
    pub(crate) fn new(callback: &'static str, does: Does) -> Self {
        let (calls, pool) = (AtomicUsize::new(0), Mutex::new(None));
        Self(Arc::new(Hooked { callback, does, calls, pool }))
    }

    /// Gives callbacks a handle to call, or takes it from them.
    pub(crate) fn put(&self, pool: Option<Pool<Busy>>) -> Option<Pool<Busy>> {
        std::mem::replace(&mut *self.0.pool.lock().unwrap(), pool)
    }

    pub(crate) fn at(&self, callback: &str) {
        if self.0.callback != callback || IS_CALLING.get() {
            return;
        }
        let pool = match self.0.does {
            Does::Calls(_) => self.0.pool.lock().unwrap().clone(),
            Does::Drops => self.put(None),
        };
        let Some(pool) = pool else { return };
        IS_CALLING.set(true);
        if let Does::Calls(method) = self.0.does {
            method(&pool);
        }
        drop(pool);
        IS_CALLING.set(false);
        self.0.calls.fetch_add(1, SeqCst);
    }

    /// The callback was called, and has returned.
    pub(crate) fn is_called(&self) -> bool {
        self.0.calls.load(SeqCst) > 0
    }
}

/// A manager of both kinds, a strategy, connections and errors that call back.
#[derive(Clone)]
pub(crate) struct Busy(pub(crate) Hook, pub AsyncFake);

pub(crate) struct BusyConn(pub(crate) Conn, Hook);

impl Drop for BusyConn {
    fn drop(&mut self) {
        self.1.at("the connection's destructor");
    }
}

pub(crate) struct BusyError(FakeError, Hook);

impl Drop for BusyError {
    fn drop(&mut self) {
        self.1.at("the error's destructor");
    }
}

impl fmt::Debug for BusyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BusyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BusyError {}

impl Busy {
    fn failing<T>(&self, result: Result<T, FakeError>) -> Result<T, BusyError> {
        result.map_err(|error| BusyError(error, self.0.clone()))
    }
}

impl Manager for Busy {
    type Connection = BusyConn;
    type Error = BusyError;

    fn has_broken(&self, conn: &mut BusyConn) -> bool {
        self.0.at("has_broken");
        conn.0.broken
    }

    fn needs_reset(&self, conn: &mut BusyConn) -> bool {
        self.0.at("needs_reset");
        conn.0.dirty
    }

    fn classify(&self, error: &BusyError) -> ErrorClass {
        self.0.at("classify");
        self.1.classify(&error.0)
    }

    fn ping_is_cancel_safe(&self) -> bool {
        self.0.at("ping_is_cancel_safe");
        true
    }
}

impl BlockingManager for Busy {
    fn connect(&self, deadline: &Deadline) -> Result<BusyConn, BusyError> {
        self.0.at("connect");
        let conn = self.failing(BlockingManager::connect(&self.1.0, deadline))?;
        Ok(BusyConn(conn, self.0.clone()))
    }

    fn ping(&self, conn: &mut BusyConn, deadline: &Deadline) -> Result<(), BusyError> {
        self.0.at("ping");
        self.failing(BlockingManager::ping(&self.1.0, &mut conn.0, deadline))
    }

    fn reset(&self, conn: &mut BusyConn, deadline: &Deadline) -> Result<(), BusyError> {
        self.0.at("reset");
        self.failing(BlockingManager::reset(&self.1.0, &mut conn.0, deadline))
    }

    fn close(&self, conn: BusyConn, _: &Deadline) {
        self.0.at("close");
        drop(conn);
    }
}

impl AsyncManager for Busy {
    async fn connect(&self, deadline: &Deadline) -> Result<BusyConn, BusyError> {
        yield_once().await;
        BlockingManager::connect(self, deadline)
    }

    async fn ping(&self, conn: &mut BusyConn, deadline: &Deadline) -> Result<(), BusyError> {
        yield_once().await;
        BlockingManager::ping(self, conn, deadline)
    }

    async fn reset(&self, conn: &mut BusyConn, deadline: &Deadline) -> Result<(), BusyError> {
        yield_once().await;
        BlockingManager::reset(self, conn, deadline)
    }

    async fn close(&self, conn: BusyConn, deadline: &Deadline) {
        yield_once().await;
        BlockingManager::close(self, conn, deadline);
    }
}

impl HealthStrategy for Busy {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        self.0.at("on_borrow");
        Verdict::Keep
    }

    fn on_return(&self, _: &ConnectionInfo) -> Verdict {
        self.0.at("on_return");
        Verdict::Keep
    }

    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        self.0.at("on_sweep");
        Verdict::Ping
    }

    fn valid_for(&self, _: &ConnectionInfo) -> Validity {
        self.0.at("valid_for");
        Validity::NONE
    }
}

/// A waker that calls back, whatever is done to it: a hook in a box.
pub(crate) fn waker(hook: &Hook) -> Waker {
    fn boxed(hook: Hook) -> *const () {
        Box::into_raw(Box::new(hook)).cast_const().cast()
    }
    fn clone(hook: *const ()) -> RawWaker {
        // SAFETY: each waker has a box of its own, which it keeps until it is dropped or woken.
        let hook = unsafe { &*hook.cast::<Hook>() };
        hook.at("the waker's clone");
        RawWaker::new(boxed(hook.clone()), &VTABLE)
    }
    fn wake(hook: *const ()) {
        // SAFETY: as in `clone`, and this is the end of the waker.
        let hook = unsafe { Box::from_raw(hook.cast::<Hook>().cast_mut()) };
        hook.at("the waker");
    }
    fn wake_by_ref(hook: *const ()) {
        // SAFETY: as in `clone`.
        let hook = unsafe { &*hook.cast::<Hook>() };
        hook.at("the waker");
    }
    fn drop(hook: *const ()) {
        // SAFETY: as in `wake`.
        let hook = unsafe { Box::from_raw(hook.cast::<Hook>().cast_mut()) };
        hook.at("the waker's destructor");
    }
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);
    // SAFETY: the functions keep the contract, and hooks may be used on any thread.
    unsafe { Waker::from_raw(RawWaker::new(boxed(hook.clone()), &VTABLE)) }
}
