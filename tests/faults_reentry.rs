//! Faults of re-entry: whatever of the user's a pool calls may call the pool, by any of its methods.
//!
//! Each test is about one callback, and runs a child process that has it call each method in pools of each kind. A
//! child that hangs, or is gone, is followed by another that goes on with the next method.

mod common;

use caliburn::{Builder, Pool, PooledConnection};
use common::reentry::{Busy, Does, Hook, waker};
use common::*;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::task::Context;
use std::time::Duration;

/// What a callback does to the pool.
type Method = (&'static str, fn(&Pool<Busy>));

const METHODS: [Method; 17] = [
    ("get_timeout(0)", |pool| drop(pool.get_timeout(Duration::ZERO))),
    ("try_get", |pool| drop(pool.try_get())),
    ("get_async, polled once", |pool| drop(poll_once(&mut Box::pin(pool.get_async())))),
    ("stats", |pool| drop(pool.stats())),
    ("holders", |pool| drop(pool.holders())),
    ("overruns", |pool| drop(pool.overruns())),
    ("sweep", Pool::sweep),
    ("maintain", Pool::maintain),
    ("change", |pool| pool.change(|settings| settings.max_size = 5 - settings.max_size).unwrap()),
    ("set", |pool| pool.set(pool.settings()).unwrap()),
    ("settings", |pool| drop(pool.settings())),
    ("close", Pool::close),
    ("close_within(0)", |pool| drop(pool.close_within(Duration::ZERO))),
    ("close_within_async, polled once", |pool| {
        drop(poll_once(&mut Box::pin(pool.close_within_async(ENOUGH))));
    }),
    ("ready(0)", |pool| drop(pool.ready(Duration::ZERO))),
    ("ready_async, polled once", |pool| {
        drop(poll_once(&mut Box::pin(pool.ready_async(ENOUGH))));
    }),
    ("clone, drop and fmt", |pool| drop(format!("{:?}", pool.clone()))),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Blocking,
    Async,
    ByHand,
    AsyncByHand,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Blocking, Self::Async, Self::ByHand, Self::AsyncByHand];

    fn is_by_hand(self) -> bool {
        matches!(self, Self::ByHand | Self::AsyncByHand)
    }

    fn builder(self, busy: &Busy) -> Builder<Busy> {
        let hook = busy.0.clone();
        let builder = match self {
            Self::Blocking | Self::ByHand => Pool::builder(busy.clone()),
            Self::Async | Self::AsyncByHand => Pool::builder_async(busy.clone()),
        };
        let builder = builder.max_size(3).min_size(2).health(busy.clone()).spawner(move |task| {
            hook.at("the spawner");
            std::thread::spawn(move || drive(PLENTY, task));
        });
        if self.is_by_hand() { builder.manual_maintenance() } else { builder }
    }
}

/// A pool in use, in all ways that make it call what is not its own. It may have been closed meanwhile.
struct InUse<'a> {
    busy: &'a Busy,
    pool: Pool<Busy>,
    kind: Kind,
}

impl InUse<'_> {
    /// Waits for what must come soon, unless the pool is closed; it comes later if the machine is busy.
    fn wait_until(&self, mut is_so: impl FnMut(&Pool<Busy>) -> bool) -> bool {
        is_soon(ENOUGH / 5, || {
            if self.kind.is_by_hand() {
                self.pool.maintain();
            }
            is_so(&self.pool) || self.pool.is_closed()
        })
    }

    fn borrow(&self) -> Option<PooledConnection<Busy>> {
        let limit = Duration::from_millis(if self.kind.is_by_hand() { 0 } else { 100 });
        let mut got = None;
        self.wait_until(|pool| {
            got = pool.get_timeout(limit).ok();
            got.is_some()
        });
        got
    }

    fn give_back(&self, way: impl FnOnce(PooledConnection<Busy>)) {
        _ = self.borrow().map(way);
    }

    fn use_it(&self) {
        let fake = &self.busy.1.0;
        self.give_back(drop);
        self.give_back(|mut conn| conn.0.dirty = true);
        self.give_back(|mut conn| conn.0.broken = true);
        self.give_back(PooledConnection::discard);
        self.give_back(|mut conn| PooledConnection::suspect(&mut conn));
        // A ping for a task, dropped half-way; then one that is finished.
        drop(poll_once(&mut Box::pin(self.pool.get_async())));
        self.give_back(|mut conn| PooledConnection::suspect(&mut conn));
        self.give_back(drop);
        self.wait_in_line();
        // A connect that fails, because the minimum is not open, and one that succeeds, so that the error goes.
        fake.on_connect(Mode::Fail);
        let failures = self.pool.stats().connect_failures;
        self.give_back(PooledConnection::discard);
        self.give_back(PooledConnection::discard);
        self.wait_until(|pool| pool.stats().connect_failures > failures);
        fake.on_connect(Mode::Ok);
        self.give_back(drop);
        let pings = fake.books().pings.load(SeqCst);
        self.pool.sweep();
        self.wait_until(|_| fake.books().pings.load(SeqCst) > pings);
    }

    /// Three wait: one leaves, one runs out of time, and one is still there when a connection comes back.
    fn wait_in_line(&self) {
        let first = self.borrow();
        let held: Vec<_> = std::iter::from_fn(|| self.pool.try_get().ok()).collect();
        let limits = [PLENTY, Duration::from_millis(1), PLENTY];
        let mut gets = limits.map(|limit| Box::pin(self.pool.get_timeout_async(limit)));
        let mut are_over = [false; 3];
        for _ in 0..2 {
            let waker = waker(&self.busy.0);
            for (get, is_over) in gets.iter_mut().zip(&mut are_over) {
                let mut poll = || get.as_mut().poll(&mut Context::from_waker(&waker));
                *is_over = *is_over || poll().is_ready();
            }
        }
        let [leaves, mut runs_out, stays] = gets;
        drop(leaves);
        let is_over = are_over[1] || self.wait_until(|_| poll_once(&mut runs_out).is_ready());
        assert!(is_over, "a limit of 1 ms is kept");
        drop((first, held));
        drop(stays);
    }

    /// The pool serves, or is closed, and can be closed without a remainder. So does any other pool.
    fn goes_on(self) {
        let Self { busy, pool, .. } = &self;
        assert!(busy.0.is_called(), "the callback is called, and returns");
        let is_served = self.borrow().is_some() || pool.is_closed();
        assert!(is_served, "somebody is served: {}", pool.stats());
        let report = pool.close_within(ENOUGH / 5);
        assert!(report.is_complete(), "{report}");
        busy.0.put(None);
        let books = busy.1.0.books();
        assert_eq!(books.alive(), 0, "connections alive");
        Witness::new().wait_for_a_round();
    }
}

/// One callback that calls one method, in a pool of one kind.
fn cell(callback: &'static str, method: usize, kind: Kind) {
    let busy = Busy(Hook::new(callback, Does::Calls(METHODS[method].1)), AsyncFake::default());
    let pool = kind.builder(&busy).build().unwrap();
    busy.0.put(Some(pool.clone()));
    let in_use = InUse { busy: &busy, pool, kind };
    in_use.use_it();
    in_use.goes_on();
}

const FROM: &str = "CALIBURN_TEST_FROM";

/// Runs all cells of one callback, in as many processes as it takes.
fn calls_back(test: &str, callback: &'static str, kinds: &[Kind]) {
    let cells: Vec<_> = kinds
        .iter()
        .flat_map(|kind| (0..METHODS.len()).map(move |method| (*kind, method)))
        .collect();
    if let Ok(from) = std::env::var(FROM) {
        for (n, (kind, method)) in cells.into_iter().enumerate().skip(from.parse().unwrap()) {
            println!("CELL {n}");
            let (done, outcome) = channel();
            std::thread::spawn(move || {
                let _ = done.send(catch_unwind(AssertUnwindSafe(|| cell(callback, method, kind))));
            });
            match outcome.recv_timeout(ENOUGH / 2) {
                Ok(Ok(())) => continue,
                Ok(Err(panic)) => println!("FAULT {}", words(&*panic)),
                Err(_) => println!("FAULT not over after {:?}", ENOUGH / 2),
            }
            std::process::exit(1);
        }
        std::process::exit(0);
    }
    let (mut from, mut faults) = (0, Vec::new());
    while from < cells.len() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", test, "--nocapture"]).env(FROM, from.to_string());
        let output = child.output().unwrap();
        if output.status.success() {
            break;
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().rev().find_map(|line| line.split_once("CELL ")?.1.parse().ok());
        let last: usize = last.unwrap_or_else(|| panic!("{said}"));
        let fault = said.lines().find_map(|line| line.split_once("FAULT "));
        let fault = fault.map_or_else(|| output.status.to_string(), |(_, fault)| fault.into());
        let (kind, method) = cells[last];
        faults.push(format!("{kind:?}: {callback} calls {}: {fault}", METHODS[method].0));
        from = last + 1;
    }
    assert!(faults.is_empty(), "{} of {}: {faults:#?}", faults.len(), cells.len());
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_default().lines().next().unwrap_or("a panic").to_owned()
}

/// A test for each callback, and the kinds of pools that call it.
macro_rules! callbacks {
    ($($test:ident: $callback:literal in $kinds:expr),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                calls_back(stringify!($test), $callback, &$kinds);
            }
        )+
    };
}

callbacks! {
    a_connect_may_call_any_method: "connect" in Kind::ALL,
    a_ping_may_call_any_method: "ping" in Kind::ALL,
    a_reset_may_call_any_method: "reset" in Kind::ALL,
    a_close_may_call_any_method: "close" in Kind::ALL,
    has_broken_may_call_any_method: "has_broken" in Kind::ALL,
    needs_reset_may_call_any_method: "needs_reset" in Kind::ALL,
    classify_may_call_any_method: "classify" in Kind::ALL,
    ping_is_cancel_safe_may_call_any_method: "ping_is_cancel_safe" in [Kind::Async],
    on_borrow_may_call_any_method: "on_borrow" in Kind::ALL,
    on_return_may_call_any_method: "on_return" in Kind::ALL,
    on_sweep_may_call_any_method: "on_sweep" in Kind::ALL,
    valid_for_may_call_any_method: "valid_for" in Kind::ALL,
    a_spawner_may_call_any_method: "the spawner" in [Kind::Async],
    a_waker_may_call_any_method: "the waker" in Kind::ALL,
    a_waker_that_is_cloned_may_call_any_method: "the waker's clone" in Kind::ALL,
    a_waker_that_is_dropped_may_call_any_method: "the waker's destructor" in Kind::ALL,
    a_connections_destructor_may_call_any_method: "the connection's destructor" in Kind::ALL,
    an_errors_destructor_may_call_any_method: "the error's destructor" in Kind::ALL,
}
