//! A fork harms nobody (promise P11): a forked child borrows nothing of its parent's, says nothing
//! on its parent's connections, and has pools of its own that work.
//!
//! The child has one thread, and whatever lock another thread held at that moment stays locked in
//! it.
#![cfg(unix)]

use crate::common::fork::{Finding, LIMIT, in_a_child, require};
use crate::common::*;
use caliburn::error::Problem;
use caliburn::health::{ConnectionInfo, HealthStrategy, PeriodicSweep, PingOnBorrow, Verdict};
use caliburn::{BlockingManager, Deadline, GetError, Manager, Pool, PooledConnection, TryGetError};
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

// What is going on when it forks

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Idle,
    /// Workers are in a connect that blocks.
    Connecting,
    /// A worker is in a close that blocks.
    Closing,
    /// Threads borrow and return all the time, and workers reset.
    Busy,
    /// The housekeeper is in the middle of a sweep.
    Sweeping,
    /// All are lent, and threads stand in line.
    Waiting,
    /// Threads build and drop pools all the time.
    Building,
}

impl Moment {
    const ALL: [Self; 7] = [
        Self::Idle,
        Self::Connecting,
        Self::Closing,
        Self::Busy,
        Self::Sweeping,
        Self::Waiting,
        Self::Building,
    ];
}

/// A strategy that stops the sweep for as long as it is shut.
#[derive(Default)]
struct Barrier {
    is_shut: Mutex<bool>,
    has_entered: AtomicBool,
    opened: Condvar,
}

struct Stops(Arc<Barrier>);

impl HealthStrategy for Stops {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        let is_shut = self.0.is_shut.lock().unwrap();
        self.0.has_entered.store(*is_shut, SeqCst);
        drop(self.0.opened.wait_timeout_while(is_shut, PLENTY, |is_shut| *is_shut).unwrap());
        Verdict::Keep
    }
}

/// Calls into the manager, and destructors, so far.
fn calls(fake: &Fake) -> [usize; 4] {
    let books = fake.books();
    [&books.attempts, &books.resets, &books.pings, &books.dropped].map(|n| n.load(SeqCst))
}

/// A parent in the middle of something.
struct Scene {
    fake: Fake,
    pool: Option<Pool<Fake>>,
    held: Vec<PooledConnection<Fake>>,
    barrier: Arc<Barrier>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Scene {
    fn new(moment: Moment) -> Self {
        let (fake, barrier) = (Fake::new(), Arc::<Barrier>::default());
        let builder = Pool::builder(fake.clone()).max_size(8).min_size(4).idle_timeout(None);
        let builder = builder.close_timeout(MOMENT / 10).wait_ready(PLENTY);
        let builder = builder.sweep_interval(Some(MOMENT / 10)).health(Stops(barrier.clone()));
        let pool = builder.build().unwrap();
        let (is_over, threads) = (Arc::<AtomicBool>::default(), Vec::new());
        let mut scene =
            Self { fake, pool: Some(pool), held: Vec::new(), barrier, is_over, threads };
        scene.set(moment);
        scene
    }

    fn pool(&self) -> &Pool<Fake> {
        self.pool.as_ref().unwrap()
    }

    fn hold(&mut self, count: usize) {
        let held = (0..count).map(|_| self.pool().get_timeout(PLENTY).unwrap());
        self.held = held.collect();
    }

    fn set(&mut self, moment: Moment) {
        match moment {
            Moment::Idle => {}
            Moment::Connecting => {
                self.fake.on_connect(Mode::Hang);
                self.pool().change(|settings| settings.min_size = 8).unwrap();
                eventually("it connects", || self.fake.books().attempts.load(SeqCst) == 8);
            }
            Moment::Closing => {
                self.fake.on_close(Mode::Hang);
                PooledConnection::discard(self.pool().get_timeout(PLENTY).unwrap());
                eventually("the close is late", || !self.pool().overruns().is_empty());
            }
            Moment::Busy => {
                for _ in 0..2 {
                    let (pool, is_over) = (self.pool().clone(), self.is_over.clone());
                    self.threads.push(std::thread::spawn(move || {
                        while !is_over.load(SeqCst) {
                            pool.get_timeout(PLENTY).unwrap().dirty = true;
                        }
                    }));
                }
                eventually("they borrow", || self.pool().stats().resets > 10);
            }
            Moment::Sweeping => {
                *self.barrier.is_shut.lock().unwrap() = true;
                eventually("it sweeps", || self.barrier.has_entered.load(SeqCst));
            }
            Moment::Waiting => {
                self.hold(8);
                for _ in 0..2 {
                    let pool = self.pool().clone();
                    self.threads
                        .push(std::thread::spawn(move || drop(pool.get_timeout(PLENTY).unwrap())));
                }
                eventually("they wait", || self.pool().stats().waiting == 2);
            }
            Moment::Building => {
                for _ in 0..2 {
                    let is_over = self.is_over.clone();
                    self.threads.push(std::thread::spawn(move || {
                        while !is_over.load(SeqCst) {
                            let pool = Pool::builder(Fake::new()).max_size(1).build().unwrap();
                            drop(pool.get_timeout(PLENTY).unwrap());
                        }
                    }));
                }
            }
        }
    }

    /// In the child: nothing has happened since then, though workers of its own would have done it.
    fn is_left_alone(&self, before: [usize; 4]) -> Finding {
        let works = has_a_pool_that_works();
        let after = calls(&self.fake);
        let what = "its parent's connects, resets, pings and destructors";
        require(after == before, format!("{what}, before and after: {before:?}, {after:?}"))?;
        works
    }

    /// In the parent: all goes on, and to its end.
    fn end(mut self) {
        self.fake.open_gate();
        self.fake.on_connect(Mode::Ok);
        self.fake.on_close(Mode::Ok);
        *self.barrier.is_shut.lock().unwrap() = false;
        self.barrier.opened.notify_all();
        self.is_over.store(true, SeqCst);
        self.held.clear();
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        let mut conn = self.pool().get_timeout(PLENTY).expect("the parent's pool goes on");
        conn.dirty = true;
        drop(conn);
        let before = self.pool().stats().sweeps;
        eventually("it sweeps", || self.pool().stats().sweeps > before);
        assert_settled(self.pool(), self.fake.books());
        let report = self.pool().close_within(PLENTY);
        assert!(report.is_complete(), "{report}");
        assert_eq!(self.fake.books().alive(), 0);
    }
}

/// Forks at each moment so many times.
#[track_caller]
fn at_each_moment(forks: usize, check: impl Fn(&mut Scene) -> Finding) {
    let _alone = crate::alone();
    let mut findings = String::new();
    for moment in Moment::ALL {
        let mut scene = Scene::new(moment);
        for fork in 1..=forks {
            if let Err(found) = in_a_child(|| check(&mut scene)) {
                findings += &format!("\n  {moment:?}, fork {fork}: {found}");
                break;
            }
        }
        scene.end();
    }
    assert!(findings.is_empty(), "what a child found:{findings}");
}

// What a child may do

/// Under whatever name: the error says so.
fn says_forked<T>(what: &str, got: Result<T, impl Display>) -> Finding {
    match got {
        Ok(_) => Err(format!("{what}: it was lent one of its parent's")),
        Err(error) => {
            let error = error.to_string();
            require(error.contains("forked"), format!("{what}: {error}"))
        }
    }
}

fn lends_nothing(scene: &mut Scene) -> Finding {
    let pool = scene.pool();
    for _ in 0..2 {
        let begun = Instant::now();
        says_forked("try_get", pool.try_get())?;
        says_forked("get_timeout(100 ms)", pool.get_timeout(5 * MOMENT))?;
        says_forked("get_timeout(0)", pool.get_timeout(Duration::ZERO))?;
        let Poll::Ready(got) = poll_once(&mut Box::pin(pool.get_async())) else {
            return Err("get_async: it waits".into());
        };
        says_forked("get_async", got)?;
        let clone = pool.clone();
        says_forked("get", clone.get())?;
        require(begun.elapsed() < LIMIT, "it takes long")?;
    }
    Ok(())
}

/// Tells when it is woken.
struct Bell(Mutex<Sender<()>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

fn comes_to_be(what: &str, mut is_so: impl FnMut() -> bool) -> Finding {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        require(Instant::now() < deadline, what)?;
        std::thread::yield_now();
    }
    Ok(())
}

/// A pool of the child's own: workers connect, ping, reset and close, and the housekeeper keeps
/// time.
fn has_a_pool_that_works() -> Finding {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(4).min_size(2);
    let builder = builder.sweep_interval(Some(MOMENT / 10));
    let pool = builder.health(Stops(Arc::default())).build().map_err(|e| e.to_string())?;
    pool.ready(LIMIT).map_err(|error| format!("its own pool: {error}"))?;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(pool.get_timeout(LIMIT).map_err(|error| format!("its own pool: {error}"))?);
    }
    let (ring, rung) = channel();
    let waker = Waker::from(Arc::new(Bell(Mutex::new(ring))));
    let mut get = Box::pin(pool.get_timeout_async(MOMENT));
    let _ = get.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
    require(rung.recv_timeout(LIMIT).is_ok(), "its own pool does not keep a task's limit")?;
    require(matches!(poll_once(&mut get), Poll::Ready(Err(_))), "its limit is not over")?;
    all.iter_mut().for_each(|conn| conn.dirty = true);
    drop(all);
    let books = fake.books();
    comes_to_be("its own pool resets nothing", || books.resets.load(SeqCst) == 4)?;
    let before = pool.stats().sweeps;
    comes_to_be("its own pool does not sweep", || pool.stats().sweeps > before + 2)?;
    let report = pool.close_within(LIMIT);
    require(report.is_complete() && books.alive() == 0, format!("its own pool: {report}"))
}

/// What it inherited and drops is not closed, reset or even dropped, though its own workers would
/// do it.
fn leaves_alone_what_it_drops(scene: &mut Scene) -> Finding {
    let before = calls(&scene.fake);
    if let Some(conn) = scene.held.first_mut() {
        conn.dirty = true;
    }
    if scene.held.len() > 1 {
        PooledConnection::discard(scene.held.remove(1));
    }
    scene.held.clear();
    // Perhaps the last handle there is.
    drop(scene.pool.take());
    scene.is_left_alone(before)
}

/// None of the other methods hangs, or makes anything happen to the parent's connections.
fn may_call_anything(scene: &mut Scene) -> Finding {
    let (before, begun) = (calls(&scene.fake), Instant::now());
    let pool = scene.pool();
    let _ = (pool.stats(), pool.holders(), pool.overruns(), pool.settings(), format!("{pool:?}"));
    let _ = pool.change(|settings| settings.max_size = 2);
    let _ = pool.ready(5 * MOMENT);
    pool.maintain();
    pool.sweep();
    pool.close();
    let _ = pool.close_within(5 * MOMENT);
    require(pool.try_get().is_err(), "try_get: it was lent one of its parent's")?;
    require(begun.elapsed() < LIMIT, "it takes long")?;
    scene.is_left_alone(before)
}

/// A short wait, as there are many.
const MOMENT: Duration = Duration::from_millis(20);

const FORKS: usize = 20;

#[test]
fn an_inherited_pool_lends_nothing() {
    at_each_moment(FORKS, lends_nothing);
}

#[test]
fn a_pool_made_in_a_child_works() {
    at_each_moment(FORKS, |_| has_a_pool_that_works());
}

#[test]
fn inherited_guards_and_handles_that_are_dropped_say_nothing() {
    at_each_moment(FORKS, leaves_alone_what_it_drops);
    // With guards to drop at every moment, a dirty one and a discarded one among them.
    let _alone = crate::alone();
    for _ in 0..FORKS {
        let mut scene = Scene::new(Moment::Idle);
        scene.hold(3);
        let found = in_a_child(|| leaves_alone_what_it_drops(&mut scene));
        scene.end();
        found.unwrap();
    }
}

/// A pool that is worked by hand does what there is to do on the spot, though not in a child.
#[test]
fn what_is_inherited_of_a_pool_worked_by_hand_says_nothing() {
    let _alone = crate::alone();
    for _ in 0..FORKS {
        let fake = Fake::new();
        let (pool, _hand) = full_manual(&fake, 4, |b| b.health(PeriodicSweep::default()));
        let mut held: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
        let (calls, mut pool) = (|| calls(&fake), Some(pool));
        let found = in_a_child(|| {
            let before = calls();
            held[0].dirty = true;
            PooledConnection::discard(held.remove(1));
            held.clear();
            let inherited = pool.take().unwrap();
            inherited.sweep();
            let lends = says_forked("try_get", inherited.try_get());
            drop(inherited);
            let after = calls();
            require(after == before, format!("before and after: {before:?}, {after:?}"))?;
            lends
        });
        found.unwrap();
        held.clear();
        let pool = pool.unwrap();
        pool.maintain();
        assert_settled(&pool, fake.books());
    }
}

#[test]
fn no_method_of_an_inherited_pool_hangs_or_touches_a_connection() {
    at_each_moment(FORKS, may_call_anything);
}

/// At the fork, threads of the parent's are in the middle of it.
#[test]
fn an_inherited_pool_may_be_looked_at_though_others_look_when_it_is_forked() {
    let _alone = crate::alone();
    let pool = Pool::builder(Fake::new()).max_size(4).min_size(2).build().unwrap();
    pool.ready(PLENTY).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    let _ = (pool.stats(), pool.advice(), pool.overruns(), pool.health());
                }
            });
        }
        for _ in 0..4 * FORKS {
            in_a_child(|| {
                let begun = Instant::now();
                let _ = (pool.stats(), pool.advice(), pool.health(), pool.holders());
                let _ = (pool.overruns(), pool.slots(), pool.recent_events(), pool.settings());
                require(begun.elapsed() < LIMIT, "it takes long")
            })
            .unwrap();
        }
        is_over.store(true, SeqCst);
    });
}

#[test]
fn the_pool_of_a_child_that_forks_is_inherited_in_its_turn() {
    let _alone = crate::alone();
    let scene = Scene::new(Moment::Idle);
    let found = in_a_child(|| {
        has_a_pool_that_works()?;
        let mut own = Scene::new(Moment::Busy);
        in_a_child(|| lends_nothing(&mut own))?;
        in_a_child(has_a_pool_that_works)
    });
    scene.end();
    found.unwrap();
}

#[test]
fn a_pool_that_was_closed_before_the_fork_says_so_or_that_it_is_inherited() {
    let _alone = crate::alone();
    let scene = Scene::new(Moment::Idle);
    let closed = Scene::new(Moment::Idle);
    closed.pool().close();
    let found = in_a_child(|| {
        require(closed.pool().try_get().is_err(), "closed")?;
        require(closed.pool().get_timeout(LIMIT).is_err(), "closed")?;
        has_a_pool_that_works()
    });
    scene.end();
    found.unwrap();
}

/// Counts what it is asked.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn note(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Manager for Asked {
    type Connection = Self;
    type Error = FakeError;

    fn has_broken(&self, _: &mut Self) -> bool {
        self.note();
        false
    }

    fn needs_reset(&self, _: &mut Self) -> bool {
        self.note();
        false
    }
}

impl BlockingManager for Asked {
    fn connect(&self, _: &Deadline) -> Result<Self, FakeError> {
        Ok(self.clone())
    }

    fn ping(&self, _: &mut Self, _: &Deadline) -> Result<(), FakeError> {
        self.note();
        Ok(())
    }

    fn reset(&self, _: &mut Self, _: &Deadline) -> Result<(), FakeError> {
        self.note();
        Ok(())
    }

    fn close(&self, _: Self, _: &Deadline) {
        self.note();
    }
}

impl HealthStrategy for Asked {
    fn on_return(&self, _: &ConnectionInfo) -> Verdict {
        self.note();
        Verdict::Keep
    }
}

/// Neither the driver nor the strategy, of a connection that is fit and one that is not.
#[test]
fn nobody_is_asked_about_inherited_guards_that_are_dropped() {
    let _alone = crate::alone();
    let asked = Asked::default();
    let builder = Pool::builder(asked.clone()).max_size(2).min_size(2).wait_ready(PLENTY);
    let plain = builder.build().unwrap();
    let builder = Pool::builder(asked.clone()).max_size(1).health(asked.clone());
    let judged = builder.build().unwrap();
    drop(plain.get().unwrap());
    let mut held = vec![plain.get().unwrap(), plain.get().unwrap(), judged.get().unwrap()];
    PooledConnection::suspect(&mut held[1]);
    let before = asked.0.load(SeqCst);
    let found = in_a_child(|| {
        held.clear();
        require(asked.0.load(SeqCst) == before, "somebody was asked")
    });
    found.unwrap();
    assert!(asked.0.load(SeqCst) == before);
    held.clear();
    assert!(asked.0.load(SeqCst) > before);
}

#[test]
fn an_inherited_pool_says_in_its_own_words_what_to_do() {
    let _alone = crate::alone();
    let (pool, _hand) = full_manual(&Fake::new(), 2, |builder| builder);
    let found = in_a_child(|| {
        require(matches!(pool.try_get(), Err(TryGetError::Forked)), "try_get")?;
        let error = pool.get().map(drop).unwrap_err();
        require(matches!(error, GetError::Forked), "get")?;
        require(error.to_string().contains("in the child"), &error)?;
        let error = pool.change(|_| panic!("it is not called")).unwrap_err();
        require(error.problems() == [Problem::Forked], &error)?;
        require(pool.is_closed(), "it does not count as closed")?;
        require(pool.ready(LIMIT).is_err_and(|error| error.is_forked), "ready")
    });
    found.unwrap();
    assert!(!pool.is_closed() && pool.get().is_ok());
}

/// What was pending when it forked is not in the child, whether it is polled or dropped there.
#[test]
fn futures_that_were_begun_before_the_fork_end_in_the_child() {
    let _alone = crate::alone();
    let fake = Fake::new();
    let full = |health| {
        let builder = Pool::builder_async(AsyncFake(fake.clone())).max_size(1).min_size(1);
        let builder = builder.idle_timeout(None).wait_ready(PLENTY);
        if health { builder.health(PingOnBorrow::always()) } else { builder }.build().unwrap()
    };
    let (lent, pinging, closing) = (full(false), full(true), full(false));
    let held = [lent.get_timeout(PLENTY).unwrap(), closing.get_timeout(PLENTY).unwrap()];
    // What has just been opened is not pinged; what was lent is.
    drop(pinging.get_timeout(PLENTY).unwrap());
    fake.on_ping(Mode::Hang);
    let slow = Fake::new();
    slow.on_connect(Mode::Hang);
    let starting = Pool::builder(slow.clone()).max_size(1).min_size(1).build().unwrap();
    let mut wait = Some(Box::pin(lent.get_timeout_async(PLENTY)));
    let mut ping = Some(Box::pin(pinging.get_timeout_async(PLENTY)));
    let mut close = Some(Box::pin(closing.close_within_async(PLENTY)));
    let mut ready = Some(Box::pin(starting.ready_async(PLENTY)));
    assert!(poll_once(wait.as_mut().unwrap()).is_pending());
    assert!(poll_once(ping.as_mut().unwrap()).is_pending());
    assert!(poll_once(close.as_mut().unwrap()).is_pending());
    assert!(poll_once(ready.as_mut().unwrap()).is_pending());
    for is_polled in [true, false] {
        let found = in_a_child(|| {
            let before = calls(&fake);
            if is_polled {
                for get in [&mut wait, &mut ping] {
                    let get: Option<Pin<&mut dyn Future<Output = _>>> =
                        get.as_mut().map(|get| get.as_mut() as _);
                    let Poll::Ready(got) = poll_once(&mut get.unwrap()) else {
                        return Err("it waits".into());
                    };
                    says_forked("a checkout", got)?;
                }
                require(poll_once(close.as_mut().unwrap()).is_ready(), "closing")?;
                require(poll_once(ready.as_mut().unwrap()).is_ready(), "readiness")?;
            }
            (wait, ping, close, ready) = (None, None, None, None);
            let after = calls(&fake);
            require(after == before, format!("before and after: {before:?}, {after:?}"))?;
            has_a_pool_that_works()
        });
        found.unwrap();
    }
    fake.on_ping(Mode::Ok);
    slow.open_gate();
    drop(held);
    eventually("it waits no longer", || poll_once(wait.as_mut().unwrap()).is_ready());
    eventually("it is closed", || poll_once(close.as_mut().unwrap()).is_ready());
    eventually("it is ready", || poll_once(ready.as_mut().unwrap()).is_ready());
}

/// The tasks that a spawner was given are the parent's too.
#[test]
fn tasks_of_an_inherited_pool_do_nothing_in_the_child() {
    let _alone = crate::alone();
    let fake = Fake::new();
    let tasks = Arc::<Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>>::default();
    let given = tasks.clone();
    let builder = Pool::builder_async(AsyncFake(fake.clone())).max_size(2).min_size(2);
    let builder = builder.spawner(move |task| given.lock().unwrap().push(task));
    let pool = builder.build().unwrap();
    let opened = || fake.books().alive();
    let drive = || tasks.lock().unwrap().retain_mut(|task| poll_once(task).is_pending());
    eventually("it connects", || {
        tasks.lock().unwrap().iter_mut().for_each(|task| _ = poll_once(task));
        fake.books().attempts.load(SeqCst) > 0
    });
    let before = opened();
    for is_polled in [true, false] {
        let found = in_a_child(|| {
            if is_polled {
                (0..10).for_each(|_| drive());
            }
            tasks.lock().unwrap().clear();
            require(opened() == before, "a task of its parent's has opened a connection")?;
            has_a_pool_that_works()
        });
        found.unwrap();
    }
    eventually("it is ready", || {
        drive();
        pool.ready(Duration::ZERO).is_ok()
    });
}

#[test]
fn a_builder_from_before_the_fork_builds_a_pool_of_the_childs_own() {
    let _alone = crate::alone();
    let _parents = Scene::new(Moment::Idle);
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(1).wait_ready(LIMIT).min_size(1);
    // Taken in the child's memory.
    let mut builder = Some(builder);
    let found = in_a_child(move || {
        let pool = builder.take().unwrap().build().map_err(|error| error.to_string())?;
        pool.get_timeout(LIMIT).map(drop).map_err(|error| error.to_string())?;
        let report = pool.close_within(LIMIT);
        require(report.is_complete() && fake.books().alive() == 0, report)
    });
    found.unwrap();
}

#[test]
#[ignore = "two hundred forks at each moment"]
fn soak_two_hundred_forks_at_each_moment() {
    // By turns: those who wait in the parent do so for a limited time.
    for _ in 0..10 {
        at_each_moment(FORKS, |scene| {
            lends_nothing(scene)?;
            leaves_alone_what_it_drops(scene)
        });
    }
}
