//! What must not happen whatever is thrown at a pool: a hang, a lost slot, a panic of the pool's
//! own.

use crate::common::*;
use caliburn::health::{
    AgeEviction, ConnectionInfo, EvictionCause, HealthStrategy, PeriodicSweep, PingOnBorrow,
    Verdict,
};
use caliburn::{
    AsyncManager, BlockingManager, BuildError, Builder, Clock, Deadline, ErrorClass, GetError,
    MAX_CAPACITY, Manager, ManagerError, Pool, PooledConnection, TryGetError,
    error::{Phase, Problem},
};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Long enough for something to go wrong in.
const SHORT: Duration = Duration::from_millis(30);
const MOMENT: Duration = Duration::from_millis(1);
/// Far longer than whatever happens at once may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A fake server for drivers of both kinds, with more that can go wrong.
#[derive(Clone, Default)]
struct Server {
    driver: AsyncFake,
    needs_reset_panics: Arc<AtomicBool>,
    classify_panics: Arc<AtomicBool>,
}

impl Server {
    fn fake(&self) -> &Fake {
        &self.driver.0
    }

    fn books(&self) -> &Books {
        self.fake().books()
    }

    fn alive(&self) -> usize {
        self.books().alive()
    }

    /// All is well again.
    fn recover(&self) {
        self.fake().on_connect(Mode::Ok);
        self.fake().on_ping(Mode::Ok);
        self.fake().on_reset(Mode::Ok);
        self.fake().on_close(Mode::Ok);
        self.fake().has_broken_panics(false);
        self.fake().destructors_panic(false);
        self.needs_reset_panics.store(false, SeqCst);
        self.classify_panics.store(false, SeqCst);
    }
}

impl Manager for Server {
    type Connection = Conn;
    type Error = FakeError;

    fn has_broken(&self, conn: &mut Conn) -> bool {
        self.fake().has_broken(conn)
    }

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        assert!(!self.needs_reset_panics.load(SeqCst), "on purpose");
        self.fake().needs_reset(conn)
    }

    fn classify(&self, error: &FakeError) -> ErrorClass {
        assert!(!self.classify_panics.load(SeqCst), "on purpose");
        self.fake().classify(error)
    }
}

impl BlockingManager for Server {
    fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(self.fake(), deadline)
    }

    fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        BlockingManager::ping(self.fake(), conn, deadline)
    }

    fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        BlockingManager::reset(self.fake(), conn, deadline)
    }

    fn close(&self, conn: Conn, deadline: &Deadline) {
        BlockingManager::close(self.fake(), conn, deadline);
    }
}

impl AsyncManager for Server {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.driver.connect(deadline).await
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.driver.ping(conn, deadline).await
    }

    async fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.driver.reset(conn, deadline).await
    }

    async fn close(&self, conn: Conn, deadline: &Deadline) {
        self.driver.close(conn, deadline).await;
    }
}

/// The same for a blocking driver and an asynchronous one.
fn for_both_kinds(test: impl Fn(Builder<Server>, &Server)) {
    expect_panics();
    let server = Server::default();
    test(Pool::builder(server.clone()), &server);
    let server = Server::default();
    test(Pool::builder_async(server.clone()), &server);
}

/// The accounts agree in the end. As long as somebody works in the background they may look as if
/// they did and change again, so this is one look at everything.
#[track_caller]
fn assert_balanced<M: Manager>(pool: &Pool<M>, books: &Books, lent: usize) {
    eventually("the accounts agree", || {
        let stats = pool.stats();
        let under_way = stats.opening + stats.maintenance + stats.waiting + stats.waiter_nodes;
        under_way == 0
            && stats.lent == lent
            && stats.idle + lent == stats.size
            && stats.size == books.alive()
            && stats.size >= pool.settings().min_size
            // If another thread was at it, the next visit sheds what is above a lowered limit.
            && stats.size <= pool.settings().max_size.max(lent)
            && stats.size + stats.vacant + stats.retired == stats.capacity
            && stats.checkouts == stats.returns + lent as u64
    });
}

/// A pool that misbehaviour was inflicted on works, loses nothing, and closes to the last
/// connection.
#[track_caller]
fn assert_unharmed(pool: Pool<Server>, server: &Server) {
    let limit = pool.settings().max_size;
    let held: Vec<_> = (0..limit).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    assert_eq!(held.len(), server.alive());
    drop(held);
    assert_balanced(&pool, server.books(), 0);
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert_eq!(server.alive(), 0);
    drop(pool);
}

#[track_caller]
fn assert_ends_in_vain<M: Manager>(pool: &Pool<M>) -> GetError<M::Error> {
    let begun = Instant::now();
    let error = pool.get_timeout(SHORT).err().expect("no connection");
    let took = begun.elapsed();
    // Two clocks are compared: they may differ a little.
    assert!(took >= SHORT.mul_f64(0.9), "too early: {took:?}");
    assert!(took < AT_ONCE, "too late: {took:?}");
    error
}

fn fixed(fake: &Fake, size: usize) -> Builder<Fake> {
    Pool::builder(fake.clone()).min_size(size).max_size(size).wait_ready(PLENTY)
}

#[track_caller]
fn problems<M: Manager>(builder: Builder<M>) -> Vec<Problem> {
    match builder.build() {
        Err(BuildError::Config(error)) => error.problems().to_vec(),
        Err(error) => panic!("not a matter of configuration: {error}"),
        Ok(pool) => panic!("built: {pool:?}"),
    }
}

fn above(setting: &'static str, value: usize, bound: &'static str, limit: usize) -> Problem {
    Problem::Above { setting, value, bound, limit }
}

// Settings

#[test]
fn a_pool_for_no_connection_is_refused() {
    let fake = Fake::new();
    let found = problems(Pool::builder(fake.clone()).max_size(0));
    assert!(found.contains(&Problem::Zero("max_size")), "{found:?}");
    let found = problems(Pool::builder(fake.clone()).capacity(5).max_size(0));
    assert_eq!(found, [Problem::Zero("max_size")]);
    let found = problems(Pool::builder(fake.clone()).capacity(0));
    assert!(found.contains(&Problem::Zero("capacity")), "{found:?}");
    assert_eq!(fake.books().attempts.load(SeqCst), 0);
}

#[test]
fn a_minimum_above_the_maximum_is_refused() {
    let builder = || Pool::builder(Fake::new()).max_size(3);
    assert_eq!(problems(builder().min_size(4)), [above("min_size", 4, "max_size", 3)]);
    assert_eq!(problems(builder().min_idle(4)), [above("min_idle", 4, "max_size", 3)]);
    let most = usize::MAX;
    assert_eq!(problems(builder().min_size(most)), [above("min_size", most, "max_size", 3)]);
}

#[test]
fn an_initial_size_outside_the_bounds_is_refused() {
    let builder = || Pool::builder(Fake::new()).min_size(2).max_size(4);
    let below = Problem::Below { setting: "initial_size", value: 1, bound: "min_size", limit: 2 };
    assert_eq!(problems(builder().initial_size(1)), [below]);
    assert_eq!(problems(builder().initial_size(5)), [above("initial_size", 5, "max_size", 4)]);
    for size in 2..=4 {
        let fake = Fake::new();
        let pool = Pool::builder(fake.clone()).manual_maintenance().min_size(2).max_size(4);
        let pool = pool.initial_size(size).wait_ready(PLENTY).build().unwrap();
        assert_eq!(pool.stats().size, size);
        assert_settled(&pool, fake.books());
    }
}

#[test]
fn all_problems_are_reported_at_once_and_by_name() {
    let zero = Duration::ZERO;
    let builder = Pool::builder(Fake::new())
        .capacity(MAX_CAPACITY + 1)
        .max_size(MAX_CAPACITY + 2)
        .min_size(MAX_CAPACITY + 3)
        .min_idle(MAX_CAPACITY + 4)
        .initial_size(0)
        .connect_timeout(zero)
        .ping_timeout(zero)
        .reset_timeout(zero)
        .close_timeout(zero)
        .sweep_interval(Some(zero))
        .connect_concurrency(0)
        .maintenance_concurrency(0);
    let found = problems(builder);
    let zeros = [
        "connect_timeout",
        "ping_timeout",
        "reset_timeout",
        "close_timeout",
        "sweep_interval",
        "connect_concurrency",
        "maintenance_concurrency",
    ];
    for name in zeros {
        assert!(found.contains(&Problem::Zero(name)), "{name}: {found:?}");
    }
    let (capacity, max, min) = (MAX_CAPACITY + 1, MAX_CAPACITY + 2, MAX_CAPACITY + 3);
    assert!(found.contains(&above("capacity", capacity, "the greatest capacity", MAX_CAPACITY)));
    assert!(found.contains(&above("max_size", max, "capacity", capacity)));
    assert!(found.contains(&above("min_size", min, "max_size", max)));
    assert!(found.contains(&above("min_idle", min + 1, "max_size", max)));
    let below = Problem::Below { setting: "initial_size", value: 0, bound: "min_size", limit: min };
    assert!(found.contains(&below));
    assert_eq!(found.len(), zeros.len() + 5, "{found:?}");
}

#[test]
fn a_configuration_error_names_every_problem_in_words() {
    let builder = Pool::builder(Fake::new()).max_size(3).min_size(4).ping_timeout(Duration::ZERO);
    let message = builder.build().unwrap_err().to_string();
    assert!(message.contains("min_size (4) is above max_size (3)"), "{message}");
    assert!(message.contains("ping_timeout must not be zero"), "{message}");
}

#[test]
fn a_capacity_beyond_the_greatest_is_refused_and_the_greatest_works() {
    for capacity in [MAX_CAPACITY + 1, u32::MAX as usize + 2, usize::MAX] {
        let found = problems(Pool::builder(Fake::new()).capacity(capacity));
        assert_eq!(found, [above("capacity", capacity, "the greatest capacity", MAX_CAPACITY)]);
        assert!(!problems(Pool::builder(Fake::new()).max_size(capacity)).is_empty());
    }
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).manual_maintenance().max_size(MAX_CAPACITY).build().unwrap();
    let mut future = pin!(pool.get_async());
    assert!(poll_once(&mut future).is_pending());
    pool.maintain();
    assert!(matches!(poll_once(&mut future), Poll::Ready(Ok(_))));
    assert_eq!((pool.capacity(), pool.stats().idle), (MAX_CAPACITY, 1));
    assert_settled(&pool, fake.books());
    // To tear so many slots down takes seconds in a debug build.
    std::mem::forget(pool.clone());
}

#[test]
fn enormous_durations_everywhere_are_no_limit_and_nothing_overflows() {
    for_both_kinds(|builder, server| {
        let longest = Duration::MAX;
        let pool = builder
            .max_size(2)
            .checkout_timeout(longest)
            .connect_timeout(longest)
            .ping_timeout(longest)
            .reset_timeout(longest)
            .close_timeout(longest)
            .idle_timeout(Some(longest))
            .shrink_window(Some(longest))
            .sweep_interval(Some(longest))
            .wait_ready(longest)
            .health((
                PingOnBorrow::skip_if_used_within(longest),
                PeriodicSweep::every(longest),
                AgeEviction::default().max_lifetime(longest).idle_timeout(longest),
            ))
            .build()
            .unwrap();
        let mut held = pool.get().unwrap();
        held.dirty = true;
        PooledConnection::suspect(&mut held);
        drop(held);
        drop(pool.get_timeout(longest).unwrap());
        pool.ready(longest).unwrap();
        pool.sweep();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            drop(pool.get_async().await.unwrap());
            drop(pool.get_timeout_async(longest).await.unwrap());
            pool.ready_async(longest).await.unwrap();
        });
        assert_balanced(&pool, server.books(), 0);
        assert!(pool.close_within(longest).is_complete());
        assert_eq!(server.alive(), 0);
    });
}

#[test]
fn the_shortest_durations_close_what_they_concern_and_end_what_takes_longer() {
    for_both_kinds(|builder, server| {
        let pool = builder
            .max_size(2)
            .idle_timeout(Some(Duration::ZERO))
            .shrink_window(Some(Duration::from_nanos(1)))
            .sweep_interval(Some(Duration::from_nanos(1)))
            .health(AgeEviction::unlimited().max_lifetime(Duration::ZERO))
            .build()
            .unwrap();
        // Each connection is too old as soon as it is born; in the end nobody hopes for a better
        // one.
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::AllEvicted { evicted: 3.., .. }), "{error}");
        eventually("none survives", || pool.stats().vacant == 2);
        assert_balanced(&pool, server.books(), 0);
        assert!(pool.close_within(PLENTY).is_complete());
        assert_eq!(server.alive(), 0);
    });
}

#[test]
fn a_checkout_timeout_of_zero_means_no_waiting() {
    for_both_kinds(|builder, server| {
        let pool = builder
            .max_size(1)
            .min_size(1)
            .checkout_timeout(Duration::ZERO)
            .wait_ready(PLENTY)
            .build()
            .unwrap();
        let held = pool.get().unwrap();
        let error = pool.get().unwrap_err();
        assert!(matches!(error, GetError::TimedOut { phase: Phase::Wait, .. }), "{error}");
        let mut future = pin!(pool.get_async());
        let Poll::Ready(Err(error)) = poll_once(&mut future) else { panic!("it waits") };
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        assert_eq!(pool.stats().waits, 0);
        drop(held);
        drop(pool.get().unwrap());
        assert_balanced(&pool, server.books(), 0);
    });
}

#[test]
fn readiness_with_no_time_at_all_is_an_error_and_leaves_nothing_behind() {
    let fake = Fake::new();
    fake.on_connect(Mode::Fail);
    let error = Pool::builder(fake.clone()).min_size(1).wait_ready(Duration::ZERO).build();
    assert!(matches!(error, Err(BuildError::NotReady(_))), "{error:?}");
    drop(error);
    eventually("nothing is left", || fake.books().alive() == 0);
}

#[test]
fn settings_that_contradict_each_other_change_nothing() {
    let fake = Fake::new();
    let pool = fixed(&fake, 2).capacity(4).build().unwrap();
    let before = pool.settings();
    let mut wrong = pool.settings();
    wrong.min_size = 3;
    wrong.max_size = 5;
    wrong.ping_timeout = Duration::ZERO;
    wrong.idle_timeout = None;
    let error = pool.set(wrong).unwrap_err();
    let expected = [Problem::Zero("ping_timeout"), above("max_size", 5, "capacity", 4)];
    assert_eq!(error.problems(), expected);
    assert!(pool.change(|settings| settings.max_size = usize::MAX).is_err());
    assert!(pool.change(|settings| settings.max_size = 1).is_err());
    assert!(pool.change(|settings| settings.min_size = 3).is_err());
    assert!(pool.change(|settings| settings.min_idle = 3).is_err());
    assert!(pool.change(|settings| settings.sweep_interval = Some(Duration::ZERO)).is_err());
    assert!(pool.change(|settings| settings.close_timeout = Duration::ZERO).is_err());
    assert_eq!(pool.settings(), before);
    assert_balanced(&pool, fake.books(), 0);
    assert_eq!(pool.stats().size, 2);
}

#[test]
fn both_bounds_move_past_each_other_in_one_step() {
    let fake = Fake::new();
    let pool = fixed(&fake, 2).manual_maintenance().capacity(8).build().unwrap();
    let mut settings = pool.settings();
    (settings.min_size, settings.max_size) = (6, 7);
    pool.set(settings).unwrap();
    pool.maintain();
    assert_eq!((pool.stats().size, pool.stats().max_size), (6, 7));
    pool.change(|settings| (settings.min_size, settings.max_size) = (1, 2)).unwrap();
    pool.maintain();
    assert_eq!((pool.stats().size, pool.stats().max_size), (2, 2));
    assert_settled(&pool, fake.books());
}

#[test]
fn a_change_that_panics_changes_nothing_and_locks_nobody_out() {
    expect_panics();
    let fake = Fake::new();
    let pool = fixed(&fake, 2).manual_maintenance().capacity(4).build().unwrap();
    let before = pool.settings();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.change(|settings| {
            settings.max_size = 4;
            panic!("on purpose");
        })
    }));
    assert!(panic.is_err());
    assert_eq!(pool.settings(), before);
    pool.change(|settings| settings.max_size = 3).unwrap();
    assert_eq!(pool.settings().max_size, 3);
    assert_settled(&pool, fake.books());
}

#[test]
fn racing_changes_of_the_bounds_never_lose_a_slot() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).capacity(16).max_size(8).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..60 {
                    pool.change(|settings| settings.max_size = 1 + (n * 5 + thread * 3) % 16)
                        .unwrap();
                    drop(pool.get_timeout(PLENTY).unwrap());
                }
            });
        }
    });
    pool.change(|settings| settings.max_size = 16).unwrap();
    assert_balanced(&pool, fake.books(), 0);
    let held: Vec<_> = (0..16).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    assert_balanced(&pool, fake.books(), 16);
    drop(held);
    pool.change(|settings| settings.max_size = 1).unwrap();
    eventually("one is left", || pool.stats().size == 1);
    assert_balanced(&pool, fake.books(), 0);
}

#[test]
fn one_borrower_does_not_inflate_the_pool_however_often_it_is_maintained() {
    for _ in 0..500 {
        let fake = Fake::new();
        let pool = Pool::builder(fake.clone()).manual_maintenance().max_size(5).build().unwrap();
        std::thread::scope(|scope| {
            let borrower = scope.spawn(|| drop(pool.get_timeout(PLENTY).unwrap()));
            while !borrower.is_finished() {
                pool.maintain();
            }
        });
        // For the moment between the claim and the count a borrower who is being served still seems
        // to wait, which may cost one connection too many, and no more.
        assert!(fake.books().opened.load(SeqCst) <= 2);
    }
}

#[test]
fn a_hundred_waiters_are_served_with_no_limit_to_the_connects_at_once() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .manual_maintenance()
        .max_size(100)
        .connect_concurrency(usize::MAX)
        .maintenance_concurrency(usize::MAX)
        // However long it takes, what is handed to a future is not handed to another.
        .clock(Clock::mock().0)
        .build()
        .unwrap();
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(pool.get_async())).collect();
    for future in &mut waiting {
        assert!(poll_once(future).is_pending());
    }
    pool.maintain();
    let served = waiting.iter_mut().filter_map(|future| match poll_once(future) {
        Poll::Ready(result) => result.ok(),
        Poll::Pending => None,
    });
    let held: Vec<_> = served.collect();
    assert_eq!(held.len(), 100);
    drop(held);
    drop(waiting);
    assert_settled(&pool, fake.books());
}

// Strategies

/// Answers as it is told to, on every occasion.
#[derive(Clone)]
struct Moody(Arc<AtomicBool>, fn() -> Verdict);

impl Moody {
    fn new(mood: fn() -> Verdict) -> Self {
        Self(Arc::new(AtomicBool::new(true)), mood)
    }

    fn calm_down(&self) {
        self.0.store(false, SeqCst);
    }

    fn verdict(&self) -> Verdict {
        if self.0.load(SeqCst) { (self.1)() } else { Verdict::Keep }
    }
}

impl HealthStrategy for Moody {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        self.verdict()
    }

    fn on_return(&self, _: &ConnectionInfo) -> Verdict {
        self.verdict()
    }

    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        self.verdict()
    }
}

fn evict() -> Verdict {
    Verdict::Evict(EvictionCause::Strategy)
}

fn panic_on_purpose() -> Verdict {
    panic!("on purpose")
}

/// A pool of three under a strategy that lets no connection pass: every way to get one ends.
fn assert_survives(mood: fn() -> Verdict, cause: EvictionCause) {
    for_both_kinds(|builder, server| {
        let moody = Moody::new(mood);
        let pool = builder.min_size(2).max_size(3).health(moody.clone()).wait_ready(PLENTY).build();
        let pool = pool.unwrap();
        assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
        let begun = Instant::now();
        let error = pool.get_timeout(Duration::ZERO).unwrap_err();
        // The latter if others are opened as quickly as they are refused.
        let is_due = matches!(error, GetError::TimedOut { .. } | GetError::AllEvicted { .. });
        assert!(is_due, "{error}");
        assert!(begun.elapsed() < AT_ONCE);
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::AllEvicted { evicted: 4.., .. }), "{error}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(pool.get_timeout_async(SHORT)).unwrap_err();
        assert!(
            matches!(error, GetError::TimedOut { .. } | GetError::AllEvicted { .. }),
            "{error}"
        );
        assert!(pool.stats().evictions.by(cause) >= 2);
        assert_balanced(&pool, server.books(), 0);
        moody.calm_down();
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_strategy_that_evicts_everything_ends_each_get_in_time_and_costs_no_slot() {
    assert_survives(evict, EvictionCause::Strategy);
}

#[test]
fn a_strategy_that_panics_ends_each_get_in_time_and_costs_no_slot() {
    assert_survives(panic_on_purpose, EvictionCause::Panicked);
}

#[test]
fn a_strategy_that_turns_against_lent_connections_costs_them_and_nothing_else() {
    for (mood, cause) in [
        (evict as fn() -> Verdict, EvictionCause::Strategy),
        (panic_on_purpose, EvictionCause::Panicked),
    ] {
        for_both_kinds(|builder, server| {
            let moody = Moody::new(mood);
            moody.calm_down();
            let pool = builder.manual_maintenance().min_size(2).max_size(2).health(moody.clone());
            let pool = pool.wait_ready(PLENTY).build().unwrap();
            let held = (pool.get().unwrap(), pool.get().unwrap());
            moody.0.store(true, SeqCst);
            drop(held);
            assert_eq!(pool.stats().evictions.by(cause), 2);
            pool.maintain();
            assert_eq!(pool.stats().idle, 2);
            pool.sweep();
            assert!(pool.stats().evictions.by(cause) >= 4);
            moody.calm_down();
            pool.sweep();
            assert_eq!(pool.stats().idle, 2);
            assert_settled(&pool, server.books());
            pool.close();
            assert_eq!(server.alive(), 0);
        });
    }
}

#[test]
fn a_strategy_that_wants_everything_pinged_always_gets_its_way() {
    for_both_kinds(|builder, server| {
        let pool = builder
            .manual_maintenance()
            .min_size(2)
            .max_size(2)
            .health(Moody::new(|| Verdict::Ping));
        let pool = pool.wait_ready(PLENTY).build().unwrap();
        assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
        pool.sweep();
        pool.sweep();
        assert_eq!(pool.stats().idle, 2);
        assert!(pool.stats().pings >= 4);
        assert_settled(&pool, server.books());
    });
}

#[test]
fn a_strategy_that_panics_as_it_is_asked_what_it_wants_fails_the_build_alone() {
    struct Undecided;
    impl HealthStrategy for Undecided {
        fn sweep_interval(&self) -> Option<Duration> {
            panic!("on purpose")
        }
    }
    expect_panics();
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).min_size(1).health(Undecided);
    assert!(catch_unwind(AssertUnwindSafe(|| builder.build())).is_err());
    assert_eq!(fake.books().attempts.load(SeqCst), 0);
}

// Managers

#[test]
fn a_connect_that_panics_is_an_error_with_its_message() {
    for_both_kinds(|builder, server| {
        server.fake().on_connect(Mode::Panic);
        let pool = builder.min_size(1).max_size(3).build().unwrap();
        eventually("it has tried", || pool.stats().connect_failures > 0);
        let error = assert_ends_in_vain(&pool);
        let GetError::TimedOut { cause: Some(cause), .. } = error else { panic!("{error}") };
        let ManagerError::Panicked(message) = &*cause else { panic!("{cause}") };
        assert_eq!(message, "the fake panics");
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_connect_that_panics_is_told_to_those_who_wait_for_readiness() {
    for_both_kinds(|builder, server| {
        server.fake().on_connect(Mode::Panic);
        let error = builder.manual_maintenance().min_size(1).wait_ready(SHORT).build().unwrap_err();
        let BuildError::NotReady(error) = error else { panic!("{error}") };
        assert_eq!((error.open, error.wanted), (0, 1));
        assert!(matches!(error.cause.as_deref(), Some(ManagerError::Panicked(_))), "{error}");
        assert_eq!(server.alive(), 0);
    });
}

#[test]
fn a_ping_that_panics_costs_the_connection_and_the_get_ends_in_time() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(1).max_size(3).health(PingOnBorrow::always());
        let pool = pool.wait_ready(PLENTY).build().unwrap();
        use_each(&pool, 1);
        server.fake().on_ping(Mode::Panic);
        let error = assert_ends_in_vain(&pool);
        assert!(matches!(error, GetError::TimedOut { cause: Some(_), .. }), "{error}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(pool.get_timeout_async(SHORT)).unwrap_err();
        assert!(matches!(error, GetError::TimedOut { cause: Some(_), .. }), "{error}");
        assert!(pool.stats().evictions.by(EvictionCause::PingFailed) >= 1);
        assert_balanced(&pool, server.books(), 0);
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_ping_that_panics_in_a_sweep_has_the_connection_replaced() {
    for_both_kinds(|builder, server| {
        let pool =
            builder.manual_maintenance().min_size(3).max_size(3).health(PeriodicSweep::default());
        let pool = pool.wait_ready(PLENTY).build().unwrap();
        server.fake().on_ping(Mode::Panic);
        pool.sweep();
        assert!(pool.stats().ping_failures >= 3);
        assert_eq!(pool.stats().idle, 3);
        assert_settled(&pool, server.books());
    });
}

#[test]
fn a_reset_that_panics_costs_the_connection() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(1).max_size(3).wait_ready(PLENTY).build().unwrap();
        server.fake().on_reset(Mode::Panic);
        let mut held = pool.get().unwrap();
        held.dirty = true;
        let id = held.id;
        drop(held);
        assert_ne!(pool.get_timeout(PLENTY).unwrap().id, id);
        assert_balanced(&pool, server.books(), 0);
        assert_eq!(pool.stats().evictions.by(EvictionCause::ResetFailed), 1);
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_close_that_panics_still_frees_the_slot() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(2).max_size(3).wait_ready(PLENTY).build().unwrap();
        server.fake().on_close(Mode::Panic);
        PooledConnection::discard(pool.get().unwrap());
        assert_balanced(&pool, server.books(), 0);
        eventually("it is closed", || pool.stats().closes == 1);
        assert_unharmed(pool, server);
    });
}

#[test]
fn has_broken_that_panics_costs_the_connection_and_never_reaches_the_borrower() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(1).max_size(3).wait_ready(PLENTY).build().unwrap();
        let held = pool.get().unwrap();
        server.fake().has_broken_panics(true);
        drop(held);
        assert_balanced(&pool, server.books(), 0);
        assert_eq!(pool.stats().evictions.by(EvictionCause::Panicked), 1);
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn needs_reset_that_panics_costs_the_connection_and_never_reaches_the_borrower() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(1).max_size(3).wait_ready(PLENTY).build().unwrap();
        server.needs_reset_panics.store(true, SeqCst);
        drop(pool.get().unwrap());
        assert_balanced(&pool, server.books(), 0);
        assert_eq!(pool.stats().evictions.by(EvictionCause::Panicked), 1);
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn classify_that_panics_makes_the_error_one_that_may_pass() {
    for_both_kinds(|builder, server| {
        server.fake().on_connect(Mode::FailForGood);
        server.classify_panics.store(true, SeqCst);
        let pool = builder.min_size(1).max_size(3).build().unwrap();
        eventually("it has tried", || pool.stats().connect_failures > 0);
        let error = assert_ends_in_vain(&pool);
        let GetError::TimedOut { cause: Some(cause), .. } = error else { panic!("{error}") };
        assert!(matches!(*cause, ManagerError::Failed(FakeError::WrongPassword)), "{cause}");
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_manager_all_of_whose_methods_panic_costs_no_slot() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(3).max_size(3).health(PingOnBorrow::always());
        let pool = pool.wait_ready(PLENTY).build().unwrap();
        let held = [(); 3].map(|()| pool.get().unwrap());
        server.fake().on_connect(Mode::Panic);
        server.fake().on_ping(Mode::Panic);
        server.fake().on_reset(Mode::Panic);
        server.fake().on_close(Mode::Panic);
        server.fake().has_broken_panics(true);
        server.needs_reset_panics.store(true, SeqCst);
        server.classify_panics.store(true, SeqCst);
        drop(held);
        let error = assert_ends_in_vain(&pool);
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        eventually("all are closed", || server.alive() == 0);
        server.recover();
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_destructor_that_panics_costs_no_slot_however_the_connection_ends() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(3).max_size(6).health(PingOnBorrow::always());
        let pool = pool.wait_ready(PLENTY).build().unwrap();
        server.fake().destructors_panic(true);
        PooledConnection::discard(pool.get().unwrap());
        let mut broken = pool.get_timeout(PLENTY).unwrap();
        broken.broken = true;
        drop(broken);
        server.fake().on_reset(Mode::Fail);
        let mut dirty = pool.get_timeout(PLENTY).unwrap();
        dirty.dirty = true;
        drop(dirty);
        server.fake().kill_all();
        drop(pool.get_timeout(PLENTY).unwrap());
        assert_balanced(&pool, server.books(), 0);
        pool.change(|settings| settings.min_size = 1).unwrap();
        pool.change(|settings| settings.max_size = 1).unwrap();
        assert_balanced(&pool, server.books(), 0);
        assert_unharmed(pool, server);
    });
}

/// A connection whose destructor panics under all circumstances, even in the course of a panic.
struct Bomb(Arc<AtomicBool>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        panic!("on purpose");
    }
}

#[derive(Clone, Default)]
struct BombShop(Arc<AtomicBool>);

impl Manager for BombShop {
    type Connection = Bomb;
    type Error = FakeError;
}

impl BlockingManager for BombShop {
    fn connect(&self, _: &Deadline) -> Result<Bomb, FakeError> {
        Ok(Bomb(Arc::clone(&self.0)))
    }

    fn ping(&self, _: &mut Bomb, _: &Deadline) -> Result<(), FakeError> {
        Ok(())
    }
}

#[test]
fn a_destructor_that_panics_in_the_course_of_a_panic_does_not_abort() {
    expect_panics();
    let shop = BombShop::default();
    let pool =
        Pool::builder(shop.clone()).manual_maintenance().min_size(1).max_size(1).wait_ready(PLENTY);
    let pool = pool.build().unwrap();
    let held = pool.get().unwrap();
    pool.close();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _held = held;
        panic!("on purpose");
    }));
    assert!(panic.is_err());
    assert!(pool.close_within(PLENTY).is_complete());
    assert!(shop.0.load(SeqCst), "it has gone off");
}

// Spawners

/// What runtimes do with a task when they have been shut down.
fn drops_tasks(task: Pin<Box<dyn Future<Output = ()> + Send>>) {
    drop(task);
}

/// Runs `test` on a thread of its own; false if it is not over in time.
fn ends(test: impl FnOnce() + Send + 'static) -> bool {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        test();
        let _ = sender.send(());
    });
    receiver.recv_timeout(AT_ONCE).is_ok()
}

/// One pool's trouble does not keep the housekeeper from another.
#[track_caller]
fn assert_housekeeping_goes_on() {
    let pool = fixed(&Fake::new(), 1).build().unwrap();
    let held = pool.get().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(ends(move || {
        let error = runtime.block_on(pool.get_timeout_async(SHORT)).unwrap_err();
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        drop(held);
    }));
}

#[test]
fn a_spawner_that_drops_every_task_keeps_nobody() {
    let pool = Pool::builder_async(AsyncFake::default()).spawner(drops_tasks).max_size(1);
    let pool = pool.build().unwrap();
    // The pool's own threads do the work.
    assert!(ends(move || {
        drop(pool.get_timeout(PLENTY).unwrap());
        assert!(pool.stats().launch_failures > 0);
    }));
    assert_housekeeping_goes_on();
}

#[test]
fn a_spawner_that_panics_keeps_nobody() {
    expect_panics();
    let pool = Pool::builder_async(AsyncFake::default()).spawner(|_| panic!("on purpose"));
    let pool = pool.max_size(1).build().unwrap();
    // The pool's own threads do the work.
    assert!(ends(move || {
        drop(pool.get_timeout(PLENTY).unwrap());
        assert!(pool.stats().launch_failures > 0);
    }));
    assert_housekeeping_goes_on();
}

#[test]
fn a_pool_whose_runtime_is_gone_can_be_closed_and_dropped() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    let fake = AsyncFake::default();
    let pool = Pool::builder_async(fake.clone())
        .spawner(move |task| drop(handle.spawn(task)))
        .min_size(1)
        .max_size(1)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    drop(runtime);
    assert!(ends(move || drop(pool)));
    assert_housekeeping_goes_on();
}

// Manual maintenance

#[test]
fn a_closed_pool_can_be_swept_and_maintained_manually() {
    let fake = Fake::new();
    let pool = fixed(&fake, 2).manual_maintenance().build().unwrap();
    pool.close();
    assert_eq!(fake.books().alive(), 0);
    assert!(ends(move || {
        pool.maintain();
        pool.sweep();
    }));
}

#[test]
fn a_manual_sweep_does_not_wait_for_a_ping_that_a_task_on_this_thread_is_making() {
    let fake = AsyncFake::default();
    let pool = Pool::builder_async(fake.clone())
        .manual_maintenance()
        .min_size(2)
        .max_size(2)
        .maintenance_concurrency(1)
        .health((PingOnBorrow::always(), PeriodicSweep::default()))
        .clock(Clock::mock().0)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    use_each(&pool, 2);
    assert!(ends(move || {
        let mut future = pin!(pool.get_async());
        assert!(poll_once(&mut future).is_pending(), "the ping is under way");
        pool.sweep();
        assert!(poll_once(&mut future).is_ready());
    }));
}

// Guards

#[test]
fn a_forgotten_guard_counts_as_lent_and_does_not_keep_the_pool_from_closing() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(2).max_size(2).wait_ready(PLENTY).build().unwrap();
        std::mem::forget(pool.get().unwrap());
        let line = line!() - 1;
        assert_balanced(&pool, server.books(), 1);
        drop(pool.get_timeout(PLENTY).unwrap());
        pool.close();
        eventually("the other one is closed", || {
            let stats = pool.stats();
            (stats.lent, stats.maintenance, stats.retired) == (1, 0, 1)
        });
        let report = pool.close_within(MOMENT);
        assert!(!report.is_complete());
        assert_eq!((report.still_lent, report.unfinished, report.closes), (1, 0, 1));
        assert_eq!(report.holders.len(), 1);
        assert_eq!(report.holders[0].location.line(), line);
        assert!(report.to_string().contains("bad_input.rs"), "{report}");
        assert_eq!(server.alive(), 1);
    });
}

#[test]
fn a_forgotten_future_costs_a_place_in_the_line_at_most() {
    let fake = Fake::new();
    let pool = fixed(&fake, 1).manual_maintenance().build().unwrap();
    let held = pool.get().unwrap();
    let mut future = pin!(pool.get_async());
    assert!(poll_once(&mut future).is_pending());
    drop(held);
    assert!(matches!(poll_once(&mut future), Poll::Ready(Ok(_))));
    // Never polled: it is not even in line.
    std::mem::forget(pool.get_async());
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn a_close_is_told_at_once_to_threads_and_tasks_that_wait_without_a_limit() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(1).max_size(1).checkout_timeout(Duration::MAX);
        let pool = pool.wait_ready(PLENTY).build().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let mut held = pool.get().unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                std::thread::spawn(move || pool.get().map(drop))
            })
            .collect();
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                runtime.spawn(async move { pool.get_async().await.map(drop) })
            })
            .collect();
        eventually("all four wait", || pool.stats().waiting == 4);
        let begun = Instant::now();
        pool.close();
        for thread in threads {
            assert!(matches!(thread.join().unwrap(), Err(GetError::Closed)));
        }
        for task in tasks {
            assert!(matches!(runtime.block_on(task).unwrap(), Err(GetError::Closed)));
        }
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert!(matches!(pool.get(), Err(GetError::Closed)));
        held.value = 1;
        assert_eq!(server.alive(), 1);
        drop(pool);
        drop(held);
        eventually("the last connection is closed", || server.alive() == 0);
    });
}

#[test]
fn the_last_handle_is_dropped_while_guards_are_out_and_a_waiter_has_just_left() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(2).max_size(2).wait_ready(PLENTY).build().unwrap();
        let held = (pool.get().unwrap(), pool.get().unwrap());
        {
            let mut left = pin!(pool.get_async());
            assert!(poll_once(&mut left).is_pending());
        }
        let other = pool.clone();
        drop(pool);
        assert!(!other.is_closed(), "a handle is left");
        drop(other);
        assert_eq!(server.alive(), 2);
        drop(held.0);
        eventually("one is closed", || server.alive() == 1);
        std::thread::spawn(move || drop(held.1)).join().unwrap();
        eventually("both are closed", || server.alive() == 0);
    });
}

#[test]
fn a_guard_returned_after_a_manually_maintained_pool_is_gone_is_closed_in_the_background() {
    for_both_kinds(|builder, server| {
        let pool = builder
            .manual_maintenance()
            .min_size(2)
            .max_size(2)
            .wait_ready(PLENTY)
            .build()
            .unwrap();
        let held = pool.get().unwrap();
        drop(pool);
        assert_eq!(server.alive(), 1);
        drop(held);
        eventually("it is closed", || server.alive() == 0);
    });
}

/// Drops a guard by a panic.
fn drop_by_panic<M: Manager>(guard: PooledConnection<M>) {
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard;
        panic!("on purpose");
    }));
    assert!(panic.is_err());
}

#[test]
fn a_guard_dropped_by_a_panic_has_its_connection_closed() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(1).max_size(1).wait_ready(PLENTY).build().unwrap();
        let held = pool.get().unwrap();
        let id = held.id;
        drop_by_panic(held);
        assert_ne!(pool.get_timeout(PLENTY).unwrap().id, id);
        assert_balanced(&pool, server.books(), 0);
        assert_eq!(pool.stats().evictions.by(EvictionCause::Panicked), 1);
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_guard_dropped_by_a_panic_is_kept_if_the_pool_was_told_so() {
    for_both_kinds(|builder, server| {
        let pool = builder.keep_on_unwind().min_size(1).max_size(1).wait_ready(PLENTY);
        let pool = pool.build().unwrap();
        let held = pool.get().unwrap();
        let id = held.id;
        drop_by_panic(held);
        assert_eq!(pool.get_timeout(PLENTY).unwrap().id, id);
        let mut broken = pool.get().unwrap();
        broken.broken = true;
        drop_by_panic(broken);
        assert_ne!(pool.get_timeout(PLENTY).unwrap().id, id, "but not a broken one");
        let held = pool.get().unwrap();
        server.fake().has_broken_panics(true);
        drop_by_panic(held);
        server.recover();
        assert_balanced(&pool, server.books(), 0);
        assert_eq!(pool.stats().evictions.by(EvictionCause::Panicked), 1);
        assert_unharmed(pool, server);
    });
}

#[test]
fn a_pool_dropped_by_a_panic_together_with_its_guards_closes_everything() {
    for_both_kinds(|builder, server| {
        let pool = builder.min_size(2).max_size(2).wait_ready(PLENTY).build().unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let _held = pool.get().unwrap();
            let _pool = pool;
            panic!("on purpose");
        }));
        assert!(panic.is_err());
        eventually("everything is closed", || server.alive() == 0);
    });
}

/// A guard in a thread's own keeping.
type Keep = RefCell<Option<PooledConnection<Server>>>;

thread_local! {
    static KEPT: Keep = const { RefCell::new(None) };
}

/// Gets a connection on a thread of its own and leaves it to the thread's destructors. `early`:
/// they come after those of all that the pool keeps there.
fn leave_to_the_thread(pool: &Pool<Server>, early: bool) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let touch = || KEPT.with_borrow(|kept| assert!(kept.is_none()));
            if early {
                touch();
            }
            // It waits, and so leaves something of the pool's on this thread.
            assert!(matches!(pool.get_timeout(MOMENT), Err(GetError::TimedOut { .. })));
            pool.change(|settings| settings.max_size = 2).unwrap();
            let held = pool.get_timeout(PLENTY).unwrap();
            KEPT.set(Some(held));
        });
        thread.join().unwrap();
    });
}

#[test]
fn a_guard_dropped_with_its_thread_comes_home() {
    for early in [true, false] {
        for_both_kinds(|builder, server| {
            let pool = builder.capacity(2).max_size(1).min_size(1).wait_ready(PLENTY);
            let pool = pool.build().unwrap();
            let held = pool.get().unwrap();
            leave_to_the_thread(&pool, early);
            assert_balanced(&pool, server.books(), 1);
            drop(held);
            assert_balanced(&pool, server.books(), 0);
            assert_eq!(pool.stats().idle, 2);
            assert_unharmed(pool, server);
        });
    }
}

#[test]
fn a_guard_dropped_with_its_thread_is_closed_in_the_background_if_its_pool_was_maintained_manually()
{
    for_both_kinds(|builder, server| {
        let pool = builder
            .manual_maintenance()
            .min_size(1)
            .max_size(1)
            .wait_ready(PLENTY)
            .build()
            .unwrap();
        std::thread::spawn(move || {
            KEPT.with_borrow(|kept| assert!(kept.is_none()));
            let held = pool.get().unwrap();
            assert!(matches!(pool.get_timeout(MOMENT), Err(GetError::TimedOut { .. })));
            KEPT.set(Some(held));
            drop(pool);
        })
        .join()
        .unwrap();
        eventually("it is closed", || server.alive() == 0);
    });
}

#[test]
fn a_guard_dropped_with_its_thread_serves_another_that_waits() {
    let server = Server::default();
    let pool = Pool::builder(server.clone()).min_size(1).max_size(1).wait_ready(PLENTY);
    let pool = pool.build().unwrap();
    std::thread::scope(|scope| {
        let (let_go, may_go) = mpsc::channel::<()>();
        let (sender, is_lent) = mpsc::channel();
        let pool = &pool;
        scope.spawn(move || {
            KEPT.set(Some(pool.get().unwrap()));
            sender.send(()).unwrap();
            let _ = may_go.recv();
        });
        is_lent.recv().unwrap();
        let waiter = scope.spawn(|| pool.get_timeout(PLENTY).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        drop(let_go);
        waiter.join().unwrap().unwrap();
    });
    assert_unharmed(pool, &server);
}

// Clocks

#[test]
fn a_clock_turned_to_the_end_of_time_confuses_nobody() {
    let fake = Fake::new();
    let (clock, hand) = Clock::mock();
    let pool = fixed(&fake, 2).manual_maintenance().clock(clock).build().unwrap();
    let held = pool.get().unwrap();
    hand.advance(Duration::MAX);
    drop(held);
    assert!(pool.holders().is_empty());
    assert_settled(&pool, fake.books());
}

#[test]
fn a_made_up_connection_may_have_been_idle_for_ever() {
    let longer_than_a_clock_can_tell = Duration::from_nanos(u64::MAX) + Duration::from_nanos(1);
    for idle in [Duration::from_secs(1 << 40), longer_than_a_clock_can_tell, Duration::MAX] {
        let info = ConnectionInfo::made_up(Duration::MAX).with_idle(idle);
        assert!(info.idle() > Duration::from_secs(1 << 30), "{idle:?}: {:?}", info.idle());
        assert_eq!(PingOnBorrow::default().on_borrow(&info), Verdict::Ping);
    }
}

// Pings that are dropped half-way

#[test]
fn a_ping_dropped_half_way_costs_the_connection_unless_the_driver_says_it_is_harmless() {
    for is_harmless in [false, true] {
        let fake = AsyncFake::default();
        if is_harmless {
            fake.0.pings_are_cancel_safe();
        }
        let pool = Pool::builder_async(fake.clone())
            .manual_maintenance()
            .min_size(1)
            .max_size(1)
            .health(PingOnBorrow::always())
            .clock(Clock::mock().0)
            .wait_ready(PLENTY)
            .build()
            .unwrap();
        use_each(&pool, 1);
        {
            let mut future = pin!(pool.get_async());
            assert!(poll_once(&mut future).is_pending(), "the ping is under way");
        }
        pool.maintain();
        let mut future = pin!(pool.get_async());
        // The replacement has been opened a moment ago, and is not pinged.
        assert!(!is_harmless || poll_once(&mut future).is_pending());
        let Poll::Ready(Ok(held)) = poll_once(&mut future) else { panic!("{pool:?}") };
        assert_eq!(held.id, u64::from(!is_harmless));
        drop(held);
        let evictions = pool.stats().evictions.by(EvictionCause::PingCancelled);
        assert_eq!(evictions, u64::from(!is_harmless));
        assert_settled(&pool, fake.0.books());
    }
}
