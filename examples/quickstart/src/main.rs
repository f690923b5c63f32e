//! Threads and tasks work on one SQLite database through one pool, in bursts, while connections are
//! cut under them. At the end nothing is lost.
//!
//! `cargo run --release -p quickstart -- --help`

mod line;
mod plan;
mod progress;
mod work;

use caliburn::adapters::sqlite::SqliteManager;
use caliburn::{Pool, Stats};
use line::Cuttable;
use plan::{HELP, Plan};
use progress::Progress;
use rusqlite::Connection;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use work::Work;

/// How often a connection is cut.
const CUT_EVERY: Duration = Duration::from_millis(50);

fn thread_works(pool: &Pool<Cuttable>, work: &Work) {
    while let Some(op) = work.next() {
        thread::sleep(work.lull());
        loop {
            match pool.get() {
                Ok(mut line) => {
                    if !work.must_repeat(work.operate(&mut line, op)) {
                        break;
                    }
                }
                Err(error) => return work.give_up(error.to_string()),
            }
        }
    }
}

async fn task_works(pool: Pool<Cuttable>, work: Arc<Work>) {
    while let Some(op) = work.next() {
        if !work.lull().is_zero() {
            tokio::time::sleep(work.lull()).await;
        }
        loop {
            let mut line = match pool.get_async().await {
                Ok(line) => line,
                Err(error) => return work.give_up(error.to_string()),
            };
            // SQLite blocks, so off the runtime with it; the guard goes along.
            let worker = Arc::clone(&work);
            let job = move || worker.must_repeat(worker.operate(&mut line, op));
            match tokio::task::spawn_blocking(job).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(panic) => return work.give_up(panic.to_string()),
            }
        }
    }
}

/// Does something every so often, until the other end of the channel is gone.
fn every(period: Duration, until: &Receiver<()>, mut act: impl FnMut()) {
    while until.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        act();
    }
}

fn report(work: &Work, stats: &Stats, took: Duration, cuts: u64) {
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    println!("\n{stats}\n");
    println!(
        "throughput   {:.0} checkouts/s, {:.0} operations/s for {:.1} s",
        stats.checkouts as f64 / took.as_secs_f64(),
        count(&work.done) as f64 / took.as_secs_f64(),
        took.as_secs_f64()
    );
    print!("wait time   ");
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
        print!(" {name} {:.1?},", stats.wait_time.quantile(quantile));
    }
    println!(" max {:.1?}", stats.wait_time.max());
    println!(
        "cuts         {cuts} connections cut; borrowers met {} dead ones, {} times a busy database",
        count(&work.met_cut),
        count(&work.met_busy)
    );
    println!(
        "rollbacks    {} transactions left open, rolled back on return",
        count(&work.abandoned)
    );
    println!("advice       {}", stats.advice());
    println!("evictions    {}", stats.evictions.total());
    for (cause, count) in stats.evictions.iter().filter(|(_, count)| *count > 0) {
        println!("  {count:6}     {cause}");
    }
}

/// Compares the database with what the workers say.
fn check(path: &Path, work: &Work) -> Result<i64, Box<dyn Error>> {
    let conn = Connection::open(path)?;
    let sql = "SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM entry";
    let found: (i64, i64) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let said = (work.rows.load(Relaxed), work.sum.load(Relaxed));
    if found != said {
        return Err(format!("(rows, sum): the workers committed {said:?}, found {found:?}").into());
    }
    Ok(found.0)
}

fn run(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("quickstart.db");
    Connection::open(&path)?.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE entry (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)",
    )?;
    let sqlite = SqliteManager::file(&path).busy_timeout(Duration::from_secs(5));
    let pool = Pool::builder(Cuttable::of(sqlite))
        .after_connect(|conn, _| Ok(conn.sqlite.pragma_update(None, "synchronous", "NORMAL")?))
        .max_size(plan.size)
        .min_size(plan.size.div_ceil(2))
        .health(plan.strategy()?)
        .wait_ready(Duration::from_secs(10))
        .build()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;

    let Plan { health, threads, tasks, size, .. } = plan;
    println!("health {health}, {threads} threads, {tasks} tasks, {size} connections at most");
    let work = Arc::new(Work::new(plan));
    let cuts = AtomicU64::new(0);
    thread::scope(|scope| {
        let (workers_are_done, until) = channel();
        scope.spawn(|| {
            let until = until;
            let progress = Progress::of(plan);
            every(Duration::from_secs(1), &until, || progress.show(&work, &pool.stats()));
        });
        let (no_more_cuts, until) = channel();
        scope.spawn(|| {
            let (until, mut turn) = (until, 0);
            every(CUT_EVERY, &until, || {
                turn += 1;
                cuts.fetch_add(pool.manager().cut(turn).into(), Relaxed);
            });
        });
        let workers: Vec<_> =
            (0..*threads).map(|_| scope.spawn(|| thread_works(&pool, &work))).collect();
        let spawned: Vec<_> = (0..*tasks)
            .map(|_| runtime.spawn(task_works(pool.clone(), Arc::clone(&work))))
            .collect();
        for task in spawned {
            if let Err(panic) = runtime.block_on(task) {
                work.give_up(panic.to_string());
            }
        }
        for worker in workers {
            if worker.join().is_err() {
                work.give_up("a worker panicked".into());
            }
        }
        drop((workers_are_done, no_more_cuts));
    });
    let took = work.begun.elapsed();
    let cuts = cuts.into_inner();
    report(&work, &pool.stats(), took, cuts);
    println!("\n{}", pool.close_within(Duration::from_secs(5)));
    if let Some(why) = work.failure().take() {
        return Err(why.into());
    }
    let rows = check(&path, &work)?;
    println!(
        "\nShown: {threads} threads and {tasks} tasks did {} operations through one pool of {size} \
         while {cuts} connections were cut; nothing is lost, all {rows} rows are there.",
        work.done.load(Relaxed)
    );
    Ok(())
}

fn main() -> ExitCode {
    let plan = match Plan::from_args(std::env::args().skip(1)) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
