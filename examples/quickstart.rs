//! Threads and tasks work on one SQLite database through one pool, in bursts, while somebody cuts
//! connections. At the end nothing is lost.
//!
//! `cargo run --release --example quickstart --features rusqlite -- --help`

use caliburn::adapters::sqlite::{SqliteConnection, SqliteManager};
use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{BlockingManager, Deadline, ErrorClass, HealthStrategy, Manager, Pool, Stats};
use rusqlite::{Connection, ErrorCode};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

const HELP: &str = "\
Threads and tasks insert into one SQLite database and read from it through one pool,
in bursts, while somebody cuts connections. At the end nothing must be lost.

  --health WHAT   the health strategy (default all):
                    ping   ping before each loan
                    sweep  ping idle connections in the background
                    age    limit the age and the uses of a connection
                    all    all of these, and ping after failure
  --threads N     threads that call get (default 4)
  --tasks N       tasks that await get_async (default 12)
  --size N        the most connections (default 4)
  --seconds S     how long to go on (default 3, if --ops is not given)
  --ops N         how many operations to do
  --help          this text";

/// Work comes in bursts, with lulls between them in which connections lie idle.
const BURST: Duration = Duration::from_millis(300);
const LULL: Duration = Duration::from_millis(100);
/// How often a connection is cut.
const CUT_EVERY: Duration = Duration::from_millis(50);

/// What the command line says.
struct Plan {
    health: String,
    threads: usize,
    tasks: usize,
    size: usize,
    seconds: Option<f64>,
    ops: Option<u64>,
}

impl Plan {
    /// `None`: only help is wanted.
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut plan =
            Self { health: "all".into(), threads: 4, tasks: 12, size: 4, seconds: None, ops: None };
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--health" => plan.health = value()?,
                "--threads" => plan.threads = number(&option, &value()?)?,
                "--tasks" => plan.tasks = number(&option, &value()?)?,
                "--size" => plan.size = number(&option, &value()?)?,
                "--seconds" => plan.seconds = Some(number(&option, &value()?)?),
                "--ops" => plan.ops = Some(number(&option, &value()?)?),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        plan.strategy()?;
        if plan.threads + plan.tasks == 0 {
            return Err("somebody must work: --threads or --tasks must be more than 0".into());
        }
        if plan.threads > 1000 || plan.tasks > 100_000 {
            return Err("at most 1000 threads and 100000 tasks".into());
        }
        if !(1..=1000).contains(&plan.size) {
            return Err("--size must be from 1 to 1000".into());
        }
        if plan.seconds.is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds)) {
            return Err("--seconds must be from 0 to 86400".into());
        }
        if plan.ops.is_none() {
            plan.seconds.get_or_insert(3.0);
        }
        Ok(Some(plan))
    }

    /// Chosen at run time, as by a configuration file.
    fn strategy(&self) -> Result<Box<dyn HealthStrategy>, String> {
        let ping = PingOnBorrow::always();
        let sweep = PeriodicSweep::every(Duration::from_millis(20));
        let age = AgeEviction::default().max_lifetime(Duration::from_millis(250)).max_uses(1000);
        Ok(match self.health.as_str() {
            "ping" => Box::new(ping),
            "sweep" => Box::new(sweep),
            "age" => Box::new(age),
            "all" => Box::new((ping, sweep, age, PingAfterFailure)),
            other => return Err(format!("--health must be ping, sweep, age or all, not {other}")),
        })
    }
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} needs a number, not {value}"))
}

/// A connection that can be cut, as if a network lay between.
struct Line {
    sqlite: SqliteConnection,
    is_cut: Arc<AtomicBool>,
    /// Its driver has noticed.
    is_known_dead: bool,
}

impl Line {
    /// For one statement; each may be the first to find the line dead.
    fn sqlite(&mut self) -> Result<&mut SqliteConnection, LineError> {
        self.is_known_dead |= self.is_cut.load(Relaxed);
        if self.is_known_dead { Err(LineError::Cut) } else { Ok(&mut self.sqlite) }
    }
}

#[derive(Debug)]
enum LineError {
    Cut,
    Sqlite(rusqlite::Error),
}

impl LineError {
    /// It makes sense to try again, with another connection.
    fn is_passing(&self) -> bool {
        match self {
            Self::Cut => true,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the line was cut"),
            Self::Sqlite(error) => error.fmt(f),
        }
    }
}

impl Error for LineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cut => None,
            Self::Sqlite(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for LineError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Wraps the adapter, so that lines can be cut.
struct Cuttable {
    sqlite: SqliteManager,
    lines: Mutex<Vec<Weak<AtomicBool>>>,
}

impl Cuttable {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<Weak<AtomicBool>>> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Cuts one of the lines, whoever has it; not the same one each time.
    fn cut(&self, turn: usize) -> bool {
        let mut lines = self.lines();
        lines.retain(|line| line.strong_count() > 0);
        let line = lines.get(turn % lines.len().max(1)).and_then(Weak::upgrade);
        line.is_some_and(|line| !line.swap(true, Relaxed))
    }
}

impl Manager for Cuttable {
    type Connection = Line;
    type Error = LineError;

    fn has_broken(&self, line: &mut Line) -> bool {
        line.is_known_dead
    }

    fn needs_reset(&self, line: &mut Line) -> bool {
        self.sqlite.needs_reset(&mut line.sqlite)
    }

    fn classify(&self, error: &LineError) -> ErrorClass {
        match error {
            LineError::Cut => ErrorClass::Transient,
            LineError::Sqlite(error) => self.sqlite.classify(error),
        }
    }
}

impl BlockingManager for Cuttable {
    fn connect(&self, deadline: &Deadline) -> Result<Line, LineError> {
        let sqlite = self.sqlite.connect(deadline)?;
        let is_cut = Arc::default();
        self.lines().push(Arc::downgrade(&is_cut));
        Ok(Line { sqlite, is_cut, is_known_dead: false })
    }

    fn ping(&self, line: &mut Line, deadline: &Deadline) -> Result<(), LineError> {
        Ok(self.sqlite.ping(line.sqlite()?, deadline)?)
    }

    fn reset(&self, line: &mut Line, deadline: &Deadline) -> Result<(), LineError> {
        Ok(self.sqlite.reset(line.sqlite()?, deadline)?)
    }
}

/// What the workers say they did, and what is left to do.
struct Work {
    begun: Instant,
    ends: Option<Instant>,
    ops_left: AtomicU64,
    done: AtomicU64,
    rows: AtomicI64,
    sum: AtomicI64,
    abandoned: AtomicU64,
    met_cut: AtomicU64,
    met_busy: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Work {
    fn new(plan: &Plan) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            ends: plan.seconds.map(|seconds| begun + Duration::from_secs_f64(seconds)),
            ops_left: AtomicU64::new(plan.ops.unwrap_or(u64::MAX)),
            done: AtomicU64::new(0),
            rows: AtomicI64::new(0),
            sum: AtomicI64::new(0),
            abandoned: AtomicU64::new(0),
            met_cut: AtomicU64::new(0),
            met_busy: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    /// The number of the next operation, if there is one.
    fn next(&self) -> Option<u64> {
        if self.ends.is_some_and(|ends| Instant::now() >= ends) || self.failure().is_some() {
            return None;
        }
        self.ops_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()
    }

    /// How much is left of a lull; zero in a burst.
    fn lull(&self) -> Duration {
        let period = (BURST + LULL).as_nanos();
        let into = Duration::from_nanos((self.begun.elapsed().as_nanos() % period) as u64);
        if into < BURST { Duration::ZERO } else { BURST + LULL - into }
    }

    /// Whether the operation must be done again. What cannot pass ends everybody's work.
    fn must_repeat(&self, outcome: Result<(), LineError>) -> bool {
        match outcome {
            Ok(()) => {
                self.done.fetch_add(1, Relaxed);
                false
            }
            Err(error) if error.is_passing() => {
                let met =
                    if matches!(error, LineError::Cut) { &self.met_cut } else { &self.met_busy };
                met.fetch_add(1, Relaxed);
                true
            }
            Err(error) => {
                self.give_up(error.to_string());
                false
            }
        }
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn give_up(&self, why: String) {
        self.failure().get_or_insert(why);
    }

    /// One operation: a transaction with one insert, and a look at what was inserted.
    fn operate(&self, line: &mut Line, op: u64) -> Result<(), LineError> {
        let amount = (op % 1000) as i64;
        let insert = "INSERT INTO entry (amount) VALUES (?1)";
        line.sqlite()?.execute_batch("BEGIN IMMEDIATE")?;
        line.sqlite()?.prepare_cached(insert)?.execute([amount])?;
        if op % 10 == 7 {
            // Somebody forgets to commit: the pool rolls back.
            self.abandoned.fetch_add(1, Relaxed);
            return Ok(());
        }
        let id = line.sqlite()?.last_insert_rowid();
        line.sqlite()?.execute_batch("COMMIT")?;
        self.rows.fetch_add(1, Relaxed);
        self.sum.fetch_add(amount, Relaxed);
        let select = "SELECT amount FROM entry WHERE id = ?1";
        // It is committed, so it must not be done again: a line cut only now is for the next to
        // find.
        let Ok(sqlite) = line.sqlite() else { return Ok(()) };
        let read: i64 = sqlite.prepare_cached(select)?.query_row([id], |row| row.get(0))?;
        if read != amount {
            self.give_up(format!("row {id} holds {read}, not {amount}"));
        }
        Ok(())
    }
}

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

fn show_progress(work: &Work, stats: &Stats) {
    eprintln!(
        "{:4} s: {} operations; {} open, {} lent, {} waiting, {} evicted",
        work.begun.elapsed().as_secs(),
        work.done.load(Relaxed),
        stats.size,
        stats.lent,
        stats.waiting,
        stats.evictions.total()
    );
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
    let pool = Pool::builder(Cuttable { sqlite, lines: Mutex::default() })
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
            every(Duration::from_secs(1), &until, || show_progress(&work, &pool.stats()));
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
        let tasks: Vec<_> = (0..*tasks)
            .map(|_| runtime.spawn(task_works(pool.clone(), Arc::clone(&work))))
            .collect();
        for task in tasks {
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
    report(&work, &pool.stats(), took, cuts.into_inner());
    println!("\n{}", pool.close_within(Duration::from_secs(5)));
    if let Some(why) = work.failure().take() {
        return Err(why.into());
    }
    println!("nothing lost: {} rows", check(&path, &work)?);
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
