//! A driver of which every method panics one time in ten, under load. No caller may see a panic,
//! and when it is over every slot must be there.

use crate::Plan;
use crate::measure::{Row, ms, on_tasks, on_threads, runtime};
use caliburn::health::PingOnBorrow;
use caliburn::{AsyncManager, BlockingManager, Builder, Deadline, ErrorClass, Manager, Pool};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const SLOTS: usize = 16;
const CALLERS: usize = 16;
const LASTS: Duration = ms(2000);
const LIMIT: Duration = ms(250);

/// The blocking driver. Clones share their chance.
#[derive(Clone, Default)]
struct Shaky(Arc<State>);

#[derive(Clone, Default)]
struct AsyncShaky(Shaky);

#[derive(Default)]
struct State {
    is_calm: AtomicBool,
    drawn: AtomicU64,
    panics: AtomicUsize,
}

/// Its destructor panics, too.
struct Session(Shaky);

impl Drop for Session {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.0.shake();
        }
    }
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Shaky {
    /// One time in `n`, as long as it lasts.
    fn chance(&self, n: u64) -> bool {
        let drawn = self.0.drawn.fetch_add(0x9E37_79B9_7F4A_7C15, SeqCst);
        let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 33).is_multiple_of(n) && !self.0.is_calm.load(SeqCst)
    }

    fn shake(&self) {
        if self.chance(10) {
            self.0.panics.fetch_add(1, SeqCst);
            panic!("the driver panics");
        }
    }

    /// Fails now and then, so that errors are classified.
    fn open(&self) -> Result<Session, Refused> {
        self.shake();
        if self.chance(20) { Err(Refused) } else { Ok(Session(self.clone())) }
    }
}

macro_rules! driver {
    ($driver:ty, $self:ident => $shaky:expr) => {
        impl Manager for $driver {
            type Connection = Session;
            type Error = Refused;

            fn has_broken(&$self, _: &mut Session) -> bool {
                $shaky.shake();
                false
            }

            fn needs_reset(&$self, _: &mut Session) -> bool {
                $shaky.shake();
                $shaky.chance(5)
            }

            fn classify(&$self, _: &Refused) -> ErrorClass {
                $shaky.shake();
                ErrorClass::Transient
            }

            fn ping_is_cancel_safe(&$self) -> bool {
                $shaky.shake();
                false
            }
        }
    };
}

driver!(Shaky, self => self);
driver!(AsyncShaky, self => self.0);

impl BlockingManager for Shaky {
    fn connect(&self, _: &Deadline) -> Result<Session, Refused> {
        self.open()
    }

    fn ping(&self, _: &mut Session, _: &Deadline) -> Result<(), Refused> {
        self.shake();
        Ok(())
    }

    fn reset(&self, _: &mut Session, _: &Deadline) -> Result<(), Refused> {
        self.shake();
        Ok(())
    }

    fn close(&self, session: Session, _: &Deadline) {
        self.shake();
        drop(session);
    }
}

impl AsyncManager for AsyncShaky {
    async fn connect(&self, _: &Deadline) -> Result<Session, Refused> {
        tokio::task::yield_now().await;
        self.0.open()
    }

    async fn ping(&self, _: &mut Session, _: &Deadline) -> Result<(), Refused> {
        tokio::task::yield_now().await;
        self.0.shake();
        Ok(())
    }

    async fn reset(&self, _: &mut Session, _: &Deadline) -> Result<(), Refused> {
        tokio::task::yield_now().await;
        self.0.shake();
        Ok(())
    }

    async fn close(&self, session: Session, _: &Deadline) {
        tokio::task::yield_now().await;
        self.0.shake();
        drop(session);
    }
}

/// What one caller came to.
#[derive(Default)]
struct Seen {
    served: usize,
    failed: usize,
    panics: usize,
}

impl Seen {
    /// Notes how a `get` and the return that follows ended.
    fn note<C, E>(&mut self, got: Result<Result<C, E>, impl Sized>) {
        match got {
            Ok(Ok(guard)) => match catch_unwind(AssertUnwindSafe(|| drop(guard))) {
                Ok(()) => self.served += 1,
                Err(_) => self.panics += 1,
            },
            Ok(Err(_)) => self.failed += 1,
            Err(_) => self.panics += 1,
        }
    }
}

fn pool<M: Manager>(builder: Builder<M>) -> Pool<M> {
    let builder = builder.max_size(SLOTS).checkout_timeout(LIMIT).health(PingOnBorrow::always());
    builder.build().expect("nothing is waited for")
}

/// Runs callers in silence, then counts what can be borrowed at once.
fn rows<M: Manager>(
    name: &str,
    shaky: &Shaky,
    pool: &Pool<M>,
    callers: impl FnOnce() -> Vec<Seen>,
) -> Vec<Row> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let all = callers();
    shaky.0.is_calm.store(true, SeqCst);
    let guards: Vec<_> = (0..SLOTS).map_while(|_| pool.get_timeout(ms(3000)).ok()).collect();
    std::panic::set_hook(hook);
    let lost = SLOTS - guards.len();
    let sum = |of: fn(&Seen) -> usize| all.iter().map(of).sum::<usize>();
    let panics = shaky.0.panics.load(SeqCst);
    vec![
        Row::new(
            format!("panics in every method, {name}: slots lost"),
            "0",
            format!("{lost}"),
            lost == 0,
            format!("{SLOTS} slots, {LASTS:.0?}, {panics} panics, one call in 10, destructors too"),
        ),
        Row::new(
            format!("panics in every method, {name}: callers that saw one"),
            "0",
            format!("{}", sum(|seen| seen.panics)),
            sum(|seen| seen.panics) == 0 && panics > 0,
            format!("{} gets served, {} failed", sum(|seen| seen.served), sum(|seen| seen.failed)),
        ),
    ]
}

pub(crate) fn threads(_: &Plan) -> Vec<Row> {
    let shaky = Shaky::default();
    let pool = pool(Pool::builder(shaky.clone()));
    let end = Instant::now() + LASTS;
    let callers = || {
        on_threads(CALLERS, |_| {
            let mut seen = Seen::default();
            while Instant::now() < end {
                seen.note(catch_unwind(AssertUnwindSafe(|| pool.get())));
            }
            seen
        })
    };
    rows(&format!("{CALLERS} threads"), &shaky, &pool, callers)
}

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let (shaky, runtime) = (AsyncShaky::default(), runtime());
    let handle = runtime.handle().clone();
    let builder = Pool::builder_async(shaky.clone());
    let pool = pool(builder.spawner(move |task| drop(handle.spawn(task))));
    let end = Instant::now() + LASTS;
    let callers = || {
        on_tasks(&runtime, CALLERS, |_| {
            let pool = pool.clone();
            async move {
                let mut seen = Seen::default();
                while Instant::now() < end {
                    let own = pool.clone();
                    // A task of its own, so that a panic would show.
                    let get = tokio::spawn(async move { own.get_async().await });
                    seen.note(get.await);
                }
                seen
            }
        })
    };
    rows(&format!("{CALLERS} tasks"), &shaky.0, &pool, callers)
}
