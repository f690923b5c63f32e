//! Futures that were handed a connection and are not polled ("futurelock", after a report of Oxide
//! Computer): whether others are served meanwhile.
//!
//! In the first two programs a task keeps a future that stands in the line, polls something else,
//! and borrows again. A pool that hands the connection to that future, and waits for it to be
//! polled, waits for ever: the only task that could poll it stands behind it. A pool that takes the
//! connection back must not do so where all tasks are polled late: hence the third program.

use caliburn_benches::harness::*;
use caliburn_benches::pools::{Bb8, Boxes, Deadpool, ForTasks, GetAsync, Mobc, Sqlx};
use futures_util::stream::{self, StreamExt};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const ABOUT: &str = "\
Futures that were handed a connection and are not polled: caliburn, bb8, deadpool, mobc and sqlx. A
minute and a half.";

/// How long a borrower keeps what it has got.
const WORK: Duration = Duration::from_millis(1);
const ITEMS: usize = 40;
/// So many tasks borrow from so few connections, each polled so long after it was woken.
const TASKS: usize = 64;
const CONNECTIONS: usize = 4;
const AFTER: Duration = Duration::from_millis(200);

/// A task races its `get` against 50 ms, keeps the loser alive and borrows again, from a pool of
/// one whose holder returns after 100 ms. The answer is how long after that it is served.
async fn loser_of_a_race<P: ForTasks>(patience: Duration) -> Option<Duration> {
    let pool = Arc::new(P::filled(1).await);
    let held = Arc::clone(&pool);
    let (tell, told) = tokio::sync::oneshot::channel();
    let holder = tokio::spawn(async move {
        let loan = held.get().await;
        let _ = tell.send(());
        sleep(Duration::from_millis(100)).await;
        drop(loan);
        Instant::now()
    });
    told.await.expect("it is lent");
    let mut loser = pin!(pool.get());
    let won = timeout(Duration::from_millis(50), loser.as_mut()).await;
    assert!(won.is_err(), "all are lent");
    let again = timeout(patience, pool.get()).await;
    let served = Instant::now();
    let returned = holder.await.expect("no panic");
    again.ok().map(|_loan| served.saturating_duration_since(returned))
}

/// Four of forty futures at once borrow from a pool of two, and the loop that polls them borrows,
/// too. The answer is how many come to their end, and after how long.
async fn buffered<P: ForTasks>(patience: Duration) -> (usize, Duration) {
    let pool = P::filled(2).await;
    let begun = Instant::now();
    let mut done = 0;
    let borrow = |_| async {
        let _loan = pool.get().await;
        sleep(WORK).await;
    };
    let all = async {
        let mut items = pin!(stream::iter(0..ITEMS).map(borrow).buffer_unordered(4));
        while items.next().await.is_some() {
            let _loan = pool.get().await;
            sleep(WORK).await;
            done += 1;
        }
    };
    let _ = timeout(patience, all).await;
    (done, begun.elapsed())
}

/// How many loans of `lender` there are in that time if all tasks are polled late.
async fn polled_late<T, F>(
    time: Duration,
    lender: T,
    borrow: impl Fn(Arc<T>) -> F + Copy + Send + 'static,
) -> usize
where
    T: Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (lender, loans) = (Arc::new(lender), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (lender, loans) = (Arc::clone(&lender), Arc::clone(&loans));
        tasks.spawn(late(AFTER, async move {
            loop {
                borrow(Arc::clone(&lender)).await;
                loans.fetch_add(1, Relaxed);
            }
        }));
    }
    sleep(time).await;
    loans.load(Relaxed)
}

async fn loans_of_a_semaphore(time: Duration) -> usize {
    polled_late(time, Semaphore::new(CONNECTIONS), async |semaphore: Arc<Semaphore>| {
        let _permit = semaphore.acquire().await.expect("it is never closed");
        sleep(WORK).await;
    })
    .await
}

async fn loans_of_a_pool<P: ForTasks>(time: Duration) -> usize {
    polled_late(time, P::filled(CONNECTIONS).await, async |pool: Arc<P>| {
        let _loan = pool.get().await;
        sleep(WORK).await;
    })
    .await
}

/// How often, how long at most until it is given up, and for how long all are polled late.
#[derive(Clone, Copy)]
struct Plan {
    runs: usize,
    patience: Duration,
    late_for: Duration,
}

fn row<P: ForTasks>(runtime: &Runtime, plan: Plan) -> [String; 4] {
    let Plan { runs, patience, late_for } = plan;
    let millis = |spread: Spread| format!("{:.1} ms", spread.median());
    let races = (0..runs).map(|_| runtime.block_on(loser_of_a_race::<P>(patience)));
    let served: Spread = races.flatten().collect();
    let count = served.count();
    let after = if count > 0 { format!("after {}", millis(served)) } else { "never".into() };
    let (done, times): (Vec<_>, Vec<_>) =
        (0..runs).map(|_| runtime.block_on(buffered::<P>(patience))).unzip();
    let done = done.into_iter().map(|done| done as f64).collect::<Spread>().median();
    let is_done = done == ITEMS as f64;
    let took = if is_done { millis(times.into_iter().collect()) } else { "given up".into() };
    let fair = runtime.block_on(loans_of_a_semaphore(late_for));
    let loans = runtime.block_on(loans_of_a_pool::<P>(late_for));
    [
        format!("{count} of {runs} served, {after}"),
        format!("{done} of {ITEMS}"),
        took,
        format!("{:.0} %", 100.0 * loans as f64 / fair as f64),
    ]
}

/// Makes the row of a pool.
type Row = fn(&Runtime, Plan) -> [String; 4];

const POOLS: [(&str, Row); 6] = [
    ("caliburn", row::<GetAsync<false>>),
    ("caliburn, BoundedBarging(1 min)", row::<GetAsync<true>>),
    ("bb8", row::<Bb8<Boxes>>),
    ("deadpool", row::<Deadpool<Boxes>>),
    ("mobc", row::<Mobc>),
    ("sqlx", row::<Sqlx>),
];

fn main() {
    let quick = Plan { runs: 1, patience: ms(1000), late_for: ms(1000) };
    let full = Plan { runs: 5, patience: ms(2000), late_for: ms(4000) };
    let plan = Length::read(ABOUT).pick(full, quick);
    let mut table = table([
        "pool",
        "the loser of a race, and a second get",
        "buffer_unordered, and a get in its loop",
        "all done after",
        "all polled late: loans, of a semaphore's",
    ]);
    let (runtime, progress) = (workers(2), Progress::new(POOLS.len()));
    for (name, row) in POOLS {
        progress.say(name);
        table.add_row([name.to_owned()].into_iter().chain(row(&runtime, plan)));
        progress.advance(1);
    }
    drop(progress);
    let Plan { runs, patience, .. } = plan;
    say!("{runs} runs each, given up after {patience:?}; medians\n\n{table}");
}
