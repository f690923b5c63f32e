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

/// How many loans there are in that time if all tasks are polled late.
async fn polled_late<F>(time: Duration, borrow: impl Fn() -> F + Clone + Send + 'static) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let loans = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (loans, borrow) = (Arc::clone(&loans), borrow.clone());
            tokio::spawn(late(AFTER, async move {
                loop {
                    borrow().await;
                    loans.fetch_add(1, Relaxed);
                }
            }))
        })
        .collect();
    sleep(time).await;
    tasks.iter().for_each(|task| task.abort());
    loans.load(Relaxed)
}

async fn loans_of_a_semaphore(time: Duration) -> usize {
    let semaphore = Arc::new(Semaphore::new(CONNECTIONS));
    polled_late(time, move || {
        let semaphore = Arc::clone(&semaphore);
        async move {
            let _permit = semaphore.acquire().await.expect("it is never closed");
            sleep(WORK).await;
        }
    })
    .await
}

async fn loans_of_a_pool<P: ForTasks>(time: Duration) -> usize {
    let pool = Arc::new(P::filled(CONNECTIONS).await);
    polled_late(time, move || {
        let pool = Arc::clone(&pool);
        async move {
            let _loan = pool.get().await;
            sleep(WORK).await;
        }
    })
    .await
}

/// What all rows have in common.
struct Bench {
    runtime: Runtime,
    runs: usize,
    /// How long a program may take until it is given up.
    patience: Duration,
    /// For how long all are polled late.
    late_for: Duration,
    table: Table,
    progress: Progress,
}

impl Bench {
    fn row<P: ForTasks>(&mut self, name: &'static str) {
        let Self { runtime, runs, patience, late_for, table, progress } = self;
        let (runs, patience) = (*runs, *patience);
        progress.say(name);
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
        let fair = runtime.block_on(loans_of_a_semaphore(*late_for));
        let loans = runtime.block_on(loans_of_a_pool::<P>(*late_for));
        table.add_row([
            name.to_owned(),
            format!("{count} of {runs} served, {after}"),
            format!("{done} of {ITEMS}"),
            took,
            format!("{:.0} %", 100.0 * loans as f64 / fair as f64),
        ]);
        progress.advance(1);
    }
}

fn main() {
    let length = Length::read(ABOUT);
    let mut bench = Bench {
        runtime: workers(2),
        runs: length.pick(5, 1),
        patience: length.pick(ms(2000), ms(1000)),
        late_for: length.pick(ms(4000), ms(1000)),
        table: table([
            "pool",
            "the loser of a race, and a second get",
            "buffer_unordered, and a get in its loop",
            "all done after",
            "all polled late: loans, of a semaphore's",
        ]),
        progress: Progress::new(6),
    };
    bench.row::<GetAsync<false>>("caliburn");
    bench.row::<GetAsync<true>>("caliburn, BoundedBarging(1 min)");
    bench.row::<Bb8<Boxes>>("bb8");
    bench.row::<Deadpool<Boxes>>("deadpool");
    bench.row::<Mobc>("mobc");
    bench.row::<Sqlx>("sqlx");
    let Bench { runs, patience, table, progress, .. } = bench;
    drop(progress);
    say!("{runs} runs each, given up after {patience:?}; medians\n\n{table}");
}
