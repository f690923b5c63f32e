//! How well one pool keeps its limits while another has something to do.

use caliburn::health::{ConnectionInfo, HealthStrategy, Verdict};
use caliburn::{Pool, PooledConnection, Settings};
use caliburn_benches::harness::*;
use caliburn_benches::pools::{Adapter, Boxes, builder, full, pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const LIMIT: Duration = ms(1);
const BLOCKS_FOR: Duration = Duration::from_secs(1);
const PLENTY: Duration = Duration::from_secs(30);

/// The pool whose limits are watched.
struct Watched {
    pool: Pool<Adapter<Boxes>>,
    runtime: Runtime,
}

impl Watched {
    /// Adds how late tasks are told, in milliseconds, as long as `is_on`.
    fn watch(&self, late: &mut Vec<f64>, mut is_on: impl FnMut() -> bool) {
        let _held = self.pool.get().expect("an object");
        while is_on() {
            let begun = Instant::now();
            let got = self.runtime.block_on(self.pool.get_timeout_async(LIMIT));
            assert!(got.is_err(), "it is lent");
            late.push(millis(begun.elapsed().saturating_sub(LIMIT)));
        }
    }

    fn row(&self, report: &mut Report, what: &str, is_on: impl FnMut() -> bool) {
        let mut late = Vec::new();
        self.watch(&mut late, is_on);
        row(report, what, late);
    }
}

fn row(report: &mut Report, what: &str, late: Vec<f64>) {
    let late: Spread = late.into_iter().collect();
    let what = format!("a limit is kept late, p99: {what}");
    let rest = format!("median {:.2}, most {:.2}", late.median(), late.most());
    report.at_most(what, late.at(0.99), 5.0, |late| format!("{late:.2} ms"), rest);
}

/// Blocks once, when told to.
#[derive(Default)]
struct Blocker {
    is_armed: AtomicBool,
    has_blocked: AtomicBool,
}

impl Blocker {
    fn block(&self) {
        if self.is_armed.swap(false, SeqCst) {
            thread::sleep(BLOCKS_FOR);
            self.has_blocked.store(true, SeqCst);
        }
    }

    /// Arms it; true until it has blocked.
    fn blocks(self: &Arc<Self>) -> impl FnMut() -> bool + use<> {
        self.is_armed.store(true, SeqCst);
        let (blocker, begun) = (Arc::clone(self), Instant::now());
        move || {
            assert!(begun.elapsed() < PLENTY, "it is not called");
            !blocker.has_blocked.load(SeqCst)
        }
    }
}

struct Strategy(Arc<Blocker>);

impl HealthStrategy for Strategy {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        self.0.block();
        Verdict::Keep
    }
}

struct BlockingWaker(Arc<Blocker>);

impl Wake for BlockingWaker {
    fn wake(self: Arc<Self>) {
        self.0.block();
    }
}

pub(crate) fn rows(report: &mut Report, length: Length) {
    let watched = Watched { pool: pool(1), runtime: workers(2) };
    let (quiet, begun) = (length.pick(2, 1) * ms(500), Instant::now());
    watched.row(report, "nothing else happens", || begun.elapsed() < quiet);

    let blocker = Arc::<Blocker>::default();
    let strategy = Strategy(Arc::clone(&blocker));
    let other = full(builder(2).health(strategy).sweep_interval(Some(LIMIT)));
    watched.row(report, "a strategy blocks for a second in the sweep", blocker.blocks());
    drop(other);

    let (blocker, other) = (Arc::<Blocker>::default(), pool(1));
    let held = other.get().expect("an object");
    let waker = Waker::from(Arc::new(BlockingWaker(Arc::clone(&blocker))));
    let mut get = Box::pin(other.get_timeout_async(LIMIT));
    assert!(get.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    watched.row(report, "the waker of a borrower blocks", blocker.blocks());
    drop((get, held));

    let blocker = Arc::<Blocker>::default();
    let (spawner, runtime) = (Arc::clone(&blocker), workers(2));
    let handle = runtime.handle().clone();
    let builder = Pool::builder_async(Adapter(Boxes)).max_size(1).spawner(move |task| {
        spawner.block();
        drop(handle.spawn(task));
    });
    let other = builder.min_size(1).build().expect("a thread");
    let connection = other.get().expect("it always connects");
    let is_on = blocker.blocks();
    // It is closed by a task, and so is another opened.
    PooledConnection::discard(connection);
    watched.row(report, "a spawner blocks", is_on);
    drop(other);

    let size = length.pick(16_384, 1024);
    type Shrink = fn(&mut Settings);
    let ways: [(&str, Shrink); 2] = [
        ("the limit falls to one", |settings| settings.max_size = 1),
        ("all but one have been idle for too long", |settings| {
            settings.idle_timeout = Some(Duration::ZERO);
        }),
    ];
    for (what, shrink) in ways {
        let what = format!("{what}, {size} open");
        let (mut late, mut changing, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..length.pick(5, 1) {
            let other = pool(size);
            other.change(|settings| settings.min_size = 1).expect("a minimum of one");
            let begun = Instant::now();
            other.change(shrink).expect("settings that agree");
            changing.push(millis(begun.elapsed()));
            other.sweep();
            watched.watch(&mut late, || other.stats().size > 1);
            closing.push(millis(begun.elapsed()));
        }
        row(report, &what, late);
        let (changed, closed): (Spread, Spread) =
            (changing.into_iter().collect(), closing.into_iter().collect());
        let (changed, closed) = (changed.most(), closed.most());
        let measured = format!("{changed:.2} ms at most, all are closed after {closed:.0}");
        report.note(format!("change() itself: {what}"), measured);
    }
}
