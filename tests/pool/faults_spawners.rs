//! Faults of spawners: whatever a spawner does with the tasks that it is given, the pool serves and
//! can be closed.

use crate::common::*;
use caliburn::health::{ConnectionInfo, HealthStrategy, PeriodicSweep, Verdict};
use caliburn::{Builder, Pool, PooledConnection};
use std::cell::Cell;
use std::future::Future;
use std::mem::forget;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long a call into the manager may take.
const LIMIT: Duration = Duration::from_millis(200);

/// Many times as much, and more than the slowest of the spawners takes.
const MUCH: Duration = Duration::from_secs(5);

fn builder(spawner: impl Fn(Task) + Send + Sync + 'static) -> (AsyncFake, Builder<AsyncFake>) {
    let fake = AsyncFake::default();
    let builder = Pool::builder_async(fake.clone()).max_size(3).spawner(spawner);
    let builder = builder.connect_timeout(LIMIT).reset_timeout(LIMIT);
    (fake, builder.ping_timeout(LIMIT).close_timeout(LIMIT))
}

/// Runs it here and now, to its end.
fn run(task: Task) {
    drive(PLENTY, task).expect("a task of the pool ends");
}

/// Has a pool do all that it needs its spawner for, and looks whether all is done.
fn is_served_with(spawner: impl Fn(Task) + Send + Sync + 'static) {
    let (fake, builder) = builder(spawner);
    let sweep = PeriodicSweep::every(Duration::from_millis(20));
    let pool = builder.min_size(1).health(sweep).build().unwrap();
    let books = fake.0.books();
    type Spoil = fn(&mut PooledConnection<AsyncFake>);
    let ways: [(&str, Spoil); 5] = [
        ("sound", |_| ()),
        ("dirty", |conn| conn.dirty = true),
        ("broken", |conn| conn.broken = true),
        ("suspect", PooledConnection::suspect),
        ("sound again", |_| ()),
    ];
    for (way, spoil) in ways {
        let got = pool.get_timeout(MUCH);
        let mut conn = got.unwrap_or_else(|error| panic!("the loan that is to be {way}: {error}"));
        assert!(!conn.dirty && !conn.broken, "neither dirty nor broken");
        spoil(&mut conn);
    }
    PooledConnection::discard(pool.get_timeout(MUCH).unwrap());
    // A task elsewhere, and more connections than there are.
    let held = [(); 3].map(|()| drive(2 * MUCH, pool.get_timeout_async(MUCH)));
    let held = held.map(|got| got.expect("its limit is kept").expect("it is served"));
    drop(held);
    let pings = books.pings.load(SeqCst);
    assert!(is_soon(MUCH, || books.pings.load(SeqCst) > pings), "the sweep goes on");
    // Each is at rest for 20 ms, and then with a task for a second or so.
    let is_idle = is_soon(4 * MUCH, || pool.stats().idle > 0);
    assert!(is_idle, "what was swept is idle: {}", pool.stats());
    let stats = pool.stats();
    assert_eq!((stats.lent, stats.checkouts - stats.returns), (0, 0), "{stats}");
    let report = pool.close_within(MUCH);
    assert!(report.is_complete(), "{report}");
    assert_eq!(books.alive(), 0);
}

/// Every second call is different.
fn every_second(odd: impl Fn(Task), even: impl Fn(Task)) -> impl Fn(Task) {
    let calls = AtomicUsize::new(0);
    move |task| if calls.fetch_add(1, SeqCst).is_multiple_of(2) { odd(task) } else { even(task) }
}

fn on_a_thread(task: Task) {
    spawn(|| run(task));
}

#[test]
fn a_spawner_that_starts_a_thread_for_each_task_serves() {
    is_served_with(on_a_thread);
}

#[test]
fn a_spawner_that_runs_tasks_where_it_is_called_serves() {
    is_served_with(run);
}

#[test]
fn a_spawner_that_panics_on_every_second_call_serves() {
    is_served_with(every_second(|_| panic_on_purpose(), on_a_thread));
}

#[test]
fn a_spawner_that_panics_on_every_call_serves() {
    is_served_with(|_| panic_on_purpose());
}

#[test]
fn a_spawner_that_runs_tasks_and_then_panics_serves() {
    is_served_with(|task| {
        run(task);
        panic_on_purpose();
    });
}

#[test]
fn a_spawner_that_drops_every_second_task_serves() {
    is_served_with(every_second(drop, on_a_thread));
}

#[test]
fn a_spawner_that_drops_every_task_serves() {
    is_served_with(drop);
}

#[test]
fn a_spawner_that_forgets_every_second_task_serves() {
    is_served_with(every_second(forget, on_a_thread));
}

#[test]
fn a_spawner_that_forgets_every_task_serves() {
    is_served_with(forget);
}

#[test]
fn a_spawner_that_begins_tasks_and_drops_them_serves() {
    is_served_with(every_second(|mut task| _ = poll_once(&mut task), on_a_thread));
}

#[test]
fn a_spawner_that_begins_tasks_and_forgets_them_serves() {
    let begun_and_forgotten = |mut task: Task| {
        let _ = poll_once(&mut task);
        forget(task);
    };
    is_served_with(every_second(begun_and_forgotten, on_a_thread));
}

#[test]
fn a_spawner_that_delays_every_task_by_a_second_serves() {
    is_served_with(|task| {
        spawn(|| {
            let late = Instant::now() + Duration::from_secs(1);
            while Instant::now() < late {
                std::thread::park_timeout(late.saturating_duration_since(Instant::now()));
            }
            run(task);
        });
    });
}

#[test]
fn a_spawner_that_begins_tasks_here_and_ends_them_on_a_thread_serves() {
    is_served_with(|mut task| {
        if poll_once(&mut task).is_pending() {
            on_a_thread(task);
        }
    });
}

#[test]
fn a_spawner_that_runs_all_tasks_on_one_thread_one_after_the_other_serves() {
    let (send, tasks) = std::sync::mpsc::channel::<Task>();
    spawn(move || tasks.into_iter().for_each(run));
    let send = Mutex::new(send);
    is_served_with(move |task| send.lock().unwrap().send(task).unwrap());
}

/// A thousand things to do, done by a spawner that does the next before the last is over.
#[test]
fn a_thousand_resets_by_a_spawner_that_runs_tasks_where_it_is_called_take_constant_stack() {
    let test =
        "a_thousand_resets_by_a_spawner_that_runs_tasks_where_it_is_called_take_constant_stack";
    in_child(test, 3 * ENOUGH, || {
        const MANY: usize = 1_000;
        let (fake, builder) = builder(run);
        let pool = builder.max_size(MANY).min_size(MANY).wait_ready(ENOUGH).build().unwrap();
        let mut guards: Vec<_> = (0..MANY).map(|_| pool.get_timeout(ENOUGH).unwrap()).collect();
        guards.iter_mut().for_each(|guard| guard.dirty = true);
        drop(guards);
        pool.maintain();
        soon("all are reset", || pool.stats().idle == MANY);
        assert_eq!(fake.0.books().resets.load(SeqCst), MANY);
    });
}

/// Holds up the thread that keeps the pool, for as long as the lock is held.
struct Blocked(Arc<Mutex<()>>);

impl HealthStrategy for Blocked {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        drop(self.0.lock().unwrap());
        Verdict::Keep
    }
}

#[test]
fn a_task_that_the_spawner_forgets_is_named_until_its_work_is_taken_back() {
    let (lock, is_forgetting) = (Arc::<Mutex<()>>::default(), Arc::new(AtomicBool::new(false)));
    let forgets = is_forgetting.clone();
    let forgotten = Arc::new(AtomicUsize::new(0));
    let counted = forgotten.clone();
    let (fake, builder) = builder(move |task| {
        if forgets.load(SeqCst) {
            forget(task);
            counted.fetch_add(1, SeqCst);
        } else {
            run(task);
        }
    });
    let pool = builder.min_size(2).health(Blocked(lock.clone())).build().unwrap();
    let mut conn = pool.get_timeout(ENOUGH).unwrap();
    soon("another is idle", || pool.stats().idle == 1);
    is_forgetting.store(true, SeqCst);
    conn.dirty = true;
    drop(conn);
    eventually("the task is forgotten", || forgotten.load(SeqCst) == 1);
    let held = lock.lock().unwrap();
    // Whoever would take it back leaves that to the thread that asks the strategy, which waits.
    let sweeping = pool.clone();
    let sweeper = spawn(move || sweeping.sweep());
    eventually("it is named", || !pool.overruns().is_empty());
    let overruns = pool.overruns();
    let [overrun] = overruns[..] else { panic!("{overruns:?}") };
    let text = overrun.to_string();
    assert!(overrun.call.is_none() && overrun.since >= Duration::from_secs(1), "{overrun:?}");
    assert!(text.starts_with("a task that the spawner has not run for 1."), "{text}");
    assert_eq!(pool.stats().launch_failures, 0, "not yet");
    drop(held);
    sweeper.join().unwrap();
    eventually("it is reset", || fake.0.books().resets.load(SeqCst) == 1);
    eventually("none is named", || pool.overruns().is_empty());
    assert!(pool.stats().launch_failures > 0);
}

thread_local! {
    static IS_RETURNING: Cell<bool> = const { Cell::new(false) };
}

/// A spawner that runs tasks where it is called would do a driver's work there.
#[test]
fn no_return_calls_the_spawner_on_its_own_thread() {
    let calls = Arc::new(AtomicUsize::new(0));
    type GiveBack = fn(PooledConnection<AsyncFake>);
    let ways: [(&str, GiveBack); 6] = [
        ("sound", drop),
        ("dirty", |mut conn| conn.dirty = true),
        ("broken", |mut conn| conn.broken = true),
        ("suspect", |mut conn| PooledConnection::suspect(&mut conn)),
        ("discarded", PooledConnection::discard),
        ("detached", |conn| drop(PooledConnection::detach(conn))),
    ];
    for (way, give_back) in ways {
        for closed in [false, true] {
            let counted = calls.clone();
            let (_fake, builder) = builder(move |task| {
                counted.fetch_add(usize::from(IS_RETURNING.get()), SeqCst);
                run(task);
            });
            let pool = builder.max_size(1).build().unwrap();
            let conn = pool.get_timeout(ENOUGH).unwrap();
            let mut waiting = Box::pin(pool.get_async());
            assert!(poll_once(&mut waiting).is_pending());
            if closed {
                pool.close();
            }
            IS_RETURNING.set(true);
            give_back(conn);
            IS_RETURNING.set(false);
            assert_eq!(calls.load(SeqCst), 0, "{way}, closed: {closed}");
            let got = drive(ENOUGH, waiting).expect("it is told");
            assert_eq!(got.is_err(), closed, "{way}");
        }
    }
}
