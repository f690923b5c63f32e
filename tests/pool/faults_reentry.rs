//! Faults of re-entry: whatever of the user's a pool calls may call the pool, by any of its
//! methods.
//!
//! Each test is about one callback, and runs a child process that has it call each method in pools
//! of each kind. A child that hangs, or is gone, is followed by another that goes on with the next
//! method.

use crate::common::*;
use crate::reentry::{Busy, Does, Hook, waker};
use caliburn::{Builder, Pool, PooledConnection};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::task::{Context, Poll};
use std::time::Duration;

/// What a callback does to the pool.
type Method = (&'static str, fn(&Pool<Busy>));

const METHODS: [Method; 18] = [
    ("get_timeout(0)", |pool| drop(pool.get_timeout(Duration::ZERO))),
    ("get_timeout(1 ms)", |pool| drop(pool.get_timeout(Duration::from_millis(1)))),
    ("try_get", |pool| drop(pool.try_get())),
    ("get_async, polled once", |pool| drop(poll_once(&mut Box::pin(pool.get_async())))),
    ("stats", |pool| drop(pool.stats())),
    ("holders", |pool| drop(pool.holders())),
    ("overruns", |pool| drop(pool.overruns())),
    ("sweep", Pool::sweep),
    ("maintain", Pool::maintain),
    ("change", |pool| pool.change(|settings| settings.max_size = 5 - settings.max_size).unwrap()),
    ("set", |pool| pool.set(pool.settings()).unwrap()),
    ("settings", |pool| assert!(pool.settings().max_size > 0)),
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

/// A pool in use, in all ways that make it call what is not its own. It may have been closed
/// meanwhile.
struct InUse<'a> {
    busy: &'a Busy,
    pool: Pool<Busy>,
    kind: Kind,
}

impl InUse<'_> {
    /// Waits for what must come soon, unless the pool is closed; it comes later if the machine is
    /// busy.
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

    /// All that can be had at once.
    fn borrow_all(&self) -> Vec<PooledConnection<Busy>> {
        let first = self.borrow().into_iter();
        first.chain(std::iter::from_fn(|| self.pool.try_get().ok())).collect()
    }

    fn use_it(&self) {
        let fake = &self.busy.1.0;
        self.give_back(drop);
        self.give_back(|mut conn| conn.0.dirty = true);
        self.give_back(|mut conn| conn.0.broken = true);
        self.give_back(PooledConnection::discard);
        // A ping that is finished, and one for a task, dropped half-way.
        for _ in 0..2 {
            self.borrow_all().iter_mut().for_each(PooledConnection::suspect);
            drop(poll_once(&mut Box::pin(self.pool.get_async())));
            self.borrow_all().iter_mut().for_each(PooledConnection::suspect);
            self.give_back(drop);
        }
        self.wait_in_line();
        // Connects that fail, as there are too few connections, and one that succeeds, so that the
        // error goes.
        fake.on_connect(Mode::Fail);
        let failures = self.pool.stats().connect_failures;
        self.borrow_all().into_iter().for_each(PooledConnection::discard);
        self.wait_until(|pool| pool.stats().connect_failures > failures + 1);
        fake.on_connect(Mode::Ok);
        self.give_back(drop);
        let pings = fake.books().pings.load(SeqCst);
        self.pool.sweep();
        self.wait_until(|_| fake.books().pings.load(SeqCst) > pings);
    }

    /// Three wait: one leaves, one runs out of time, and one is still there when a connection comes
    /// back.
    fn wait_in_line(&self) {
        let mut held = self.borrow_all();
        let waker = waker(&self.busy.0);
        let mut cx = Context::from_waker(&waker);
        let mut waiting = Vec::new();
        for limit in [PLENTY, Duration::from_millis(1), PLENTY] {
            loop {
                let mut get = Box::pin(self.pool.get_timeout_async(limit));
                match get.as_mut().poll(&mut cx) {
                    Poll::Pending => break waiting.push(get),
                    // A connect has come back meanwhile.
                    Poll::Ready(Ok(another)) => held.push(another),
                    Poll::Ready(Err(_)) if self.pool.is_closed() => return,
                    Poll::Ready(Err(_)) => {}
                }
            }
        }
        drop(waiting.remove(0));
        let is_over = self.wait_until(|_| waiting[0].as_mut().poll(&mut cx).is_ready());
        assert!(is_over, "a limit of 1 ms is kept");
        // Another waker than before.
        drop(waiting[1].as_mut().poll(&mut Context::from_waker(&self::waker(&self.busy.0))));
        drop(held);
    }

    /// The pool serves, or is closed, and can be closed without a remainder. So does any other
    /// pool.
    fn goes_on(self) {
        let Self { busy, pool, .. } = &self;
        assert!(is_soon(ENOUGH / 5, || busy.0.is_called()), "it is called, and returns");
        let is_served = self.borrow().is_some() || pool.is_closed();
        assert!(is_served, "somebody is served: {}", pool.stats());
        let report = pool.close_within(ENOUGH / 5);
        assert!(report.is_complete(), "{report}");
        busy.0.put(None);
        let books = busy.1.0.books();
        assert_eq!(books.alive(), 0, "connections alive");
        Witness::default().wait_for_a_round();
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
        child.args([test, "--nocapture"]).env(FROM, from.to_string());
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

/// The last handle goes in a callback, while connections of all sorts come back.
#[test]
fn any_callback_may_drop_the_last_handle() {
    let callbacks = [
        "connect",
        "ping",
        "reset",
        "close",
        "has_broken",
        "needs_reset",
        "classify",
        "on_return",
        "on_sweep",
        "the spawner",
        "the connection's destructor",
        "the error's destructor",
    ];
    for callback in callbacks {
        for kind in [Kind::Blocking, Kind::Async] {
            if kind == Kind::Blocking && callback == "the spawner" {
                continue;
            }
            let name = format!("{kind:?}, {callback}");
            let test = move || {
                let busy = Busy(Hook::new(callback, Does::Drops), AsyncFake::default());
                let (fake, hook) = (busy.1.0.clone(), busy.0.clone());
                let pool = kind.builder(&busy).min_size(3).wait_ready(ENOUGH);
                let pool = pool.sweep_interval(Some(Duration::from_millis(1))).build().unwrap();
                let [mut dirty, mut broken, discarded] =
                    [(); 3].map(|()| pool.get_timeout(ENOUGH).unwrap());
                (dirty.0.dirty, broken.0.broken) = (true, true);
                if ["classify", "the error's destructor"].contains(&callback) {
                    fake.on_connect(Mode::Fail);
                }
                drop(busy);
                hook.put(Some(pool));
                drop((dirty, broken));
                PooledConnection::discard(discarded);
                assert!(is_soon(ENOUGH / 3, || hook.is_called()), "it is called, and returns");
                assert!(is_soon(ENOUGH / 3, || fake.books().alive() == 0), "all is closed");
                Witness::default().wait_for_a_round();
            };
            println!("{name}");
            in_time(&name, ENOUGH, test);
        }
    }
}
