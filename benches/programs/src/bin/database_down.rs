//! "Bad behaviour: database down", after HikariCP's wiki: the network path goes away without a
//! word.
//!
//! A pool checks every connection before it lends it, over real sockets. One borrower gets a
//! connection, queries and gives it back, over and over. In mid-run the path is cut, and healed
//! some time later. Does `get` come back within its limit each time, what does it say, and how soon
//! is all well again?

use caliburn_benches::common::{PathMode, Proxy, Server};
use caliburn_benches::harness::*;
use caliburn_benches::pools::{Books, Check, Limits, Line, Peer, Refusal, Which};
use clap::Parser;
use cpu_time::ProcessTime;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Connections in each pool.
const SIZE: usize = 5;
/// A get so often.
const EVERY: Duration = ms(200);
/// How long all is well first, and how long the first success is waited for afterwards.
const BEFORE: Duration = ms(1000);
const AFTER: Duration = ms(5000);

/// The network path to the database is cut for 5.3 s without a word, and healed: caliburn, r2d2,
/// bb8 and deadpool, one after another.
#[derive(Parser)]
struct Options {
    /// A limit of the driver's own on each answer, as 250ms
    #[arg(long, value_parser = humantime::parse_duration)]
    socket_timeout: Option<Duration>,
    /// Connections from before the cut stay mute for ever, as after a failover
    #[arg(long)]
    lost: bool,
    /// A request given up half-way makes the driver call its connection broken
    #[arg(long)]
    careful: bool,
    #[command(flatten)]
    length: Length,
}

impl Options {
    fn limits(&self) -> Limits {
        let get = self.length.pick(ms(1000), ms(300));
        // As many dead connections as there can be, and one connect, add up to the limit.
        let check = Check { ping: get / 2 / SIZE as u32, connect: get / 2 };
        Limits { max: SIZE, idle: SIZE, get, check: Some(check), shed: None }
    }

    /// How long the path is cut: no get that takes its whole limit ends just then.
    fn down(&self) -> Duration {
        self.length.pick(ms(5300), ms(700))
    }
}

/// One turn of the borrower, as far as it has come.
struct Turn {
    begun: Instant,
    /// How long `get` took.
    got: Option<(Duration, Result<(), Refusal>)>,
    /// When the query was over, and whether it went well.
    ended: Option<(Instant, bool)>,
}

/// What happened on one pool, for whoever looks from outside.
#[derive(Default)]
struct Log(Mutex<Vec<Turn>>);

impl Log {
    fn turns(&self) -> MutexGuard<'_, Vec<Turn>> {
        self.0.lock().expect("no panic")
    }

    async fn turn(&self, pool: &dyn Peer) {
        let begun = Instant::now();
        self.turns().push(Turn { begun, got: None, ended: None });
        let note = |result| {
            if let Some(turn) = self.turns().last_mut() {
                turn.got = Some((begun.elapsed(), result));
            }
        };
        let result = pool.turn(&note).await;
        if let Some(turn) = self.turns().last_mut() {
            turn.ended = Some((Instant::now(), result.is_ok()));
        }
    }

    /// Whether a turn that ended after `since` went well, and when.
    fn success_since(&self, since: Instant) -> Option<Instant> {
        self.turns().iter().find_map(|turn| match (&turn.got, turn.ended) {
            (Some((_, Ok(()))), Some((ended, true))) if ended >= since => Some(ended),
            _ => None,
        })
    }
}

/// The process as it was at a moment.
struct Moment {
    at: Instant,
    cpu: ProcessTime,
    connects: usize,
}

impl Moment {
    fn now(books: &Books) -> Self {
        Self { at: Instant::now(), cpu: ProcessTime::now(), connects: books.begun() }
    }
}

/// What one pool came to, of the gets that were begun while the path was cut: its row, and the last
/// error.
fn outcome(
    which: Which,
    log: &Log,
    options: &Options,
    [cut, healed]: [&Moment; 2],
) -> ([String; 7], Option<String>) {
    // From the healing to the end of the first query that went well.
    let recovery = log.success_since(healed.at).map(|at| at - healed.at);
    let turns = log.turns();
    let is_meant = |turn: &&Turn| (cut.at..healed.at).contains(&turn.begun);
    let turns: Vec<&Turn> = turns.iter().filter(is_meant).collect();
    let took = |turn: &Turn| turn.got.as_ref().map_or(turn.begun.elapsed(), |(took, _)| *took);
    let longest = turns.iter().max_by_key(|turn| took(turn)).expect("a get each 200 ms");
    let stuck = if longest.got.is_none() { "still stuck after " } else { "" };
    let limit = options.limits().get.mul_f64(1.05);
    let late = turns.iter().filter(|turn| took(turn) > limit).count();
    let refusal = |turn: &&Turn| turn.got.as_ref()?.1.as_ref().err().cloned();
    let refusals: Vec<Refusal> = turns.iter().filter_map(refusal).collect();
    let (causes, errors) = (refusals.iter().filter(|it| it.has_cause).count(), refusals.len());
    let cpu = healed.cpu.duration_since(cut.cpu).as_secs_f64();
    let share = 100.0 * cpu / (healed.at - cut.at).as_secs_f64();
    let row = [
        which.name().into(),
        format!("{stuck}{:.2} s", took(longest).as_secs_f64()),
        format!("{late} of {}", turns.len()),
        if errors == 0 { "no error".into() } else { format!("{causes} of {errors}") },
        recovery.map_or(format!("not within {AFTER:?}"), |time| format!("{} ms", time.as_millis())),
        (healed.connects - cut.connects).to_string(),
        format!("{:.0} ms ({share:.1} %)", cpu * 1e3),
    ];
    (row, refusals.into_iter().next_back().map(|refusal| refusal.text))
}

type Ran = Result<([String; 7], Option<String>), Box<dyn Error>>;

fn run(which: Which, options: &Options, runtime: &Runtime) -> Ran {
    let server = Server::start();
    let proxy = Arc::new(Proxy::to(server.address()));
    let books = Books::default();
    let driver = Line {
        address: proxy.address(),
        limit: options.socket_timeout,
        is_careful: options.careful,
        books: books.clone(),
        runtime: runtime.handle().clone(),
    };
    let pool = runtime.block_on(which.build(options.limits(), driver))?;
    let (log, is_over) = (Arc::new(Log::default()), Arc::new(AtomicBool::new(false)));
    let (tell_cut, when_cut) = mpsc::channel();
    let (tell_end, when_ended) = mpsc::channel::<()>();
    let cut_at = Instant::now() + BEFORE;
    let _borrower = which.face().begin(runtime.handle(), 1, |_| {
        let (log, is_over, pool) = (Arc::clone(&log), Arc::clone(&is_over), Arc::clone(&pool));
        let (proxy, books, is_lost) = (Arc::clone(&proxy), books.clone(), options.lost);
        // Dropped when the borrower is done.
        let (mut tell_cut, tell_end) = (Some(tell_cut.clone()), tell_end.clone());
        async move {
            let _tell_end = tell_end;
            while !is_over.load(SeqCst) {
                let begun = Instant::now();
                // Between two turns, so that nobody is in the middle of a query.
                if begun >= cut_at
                    && let Some(tell) = tell_cut.take()
                {
                    // What was sent meanwhile arrives when the path is healed, as TCP would see to
                    // it, only without TCP's delay.
                    proxy.set(PathMode::Hold);
                    if is_lost {
                        proxy.forget();
                    }
                    let _ = tell.send(Moment::now(&books));
                }
                log.turn(&*pool).await;
                tokio::time::sleep_until((begun + EVERY).into()).await;
            }
        }
    });
    drop(tell_end);
    // Looked at from outside, as the borrower may hang.
    let patience = BEFORE + options.limits().get * 10;
    let hung = |_| "it hung before the path was cut";
    let cut = when_cut.recv_timeout(patience).map_err(hung)?;
    if log.success_since(cut.at - BEFORE).is_none() {
        return Err("no query went well before the path was cut".into());
    }
    thread::sleep(options.down());
    let healed = Moment::now(&books);
    proxy.set(PathMode::Pass);
    while log.success_since(healed.at).is_none() && healed.at.elapsed() < AFTER {
        thread::sleep(ms(10));
    }
    let outcome = outcome(which, &log, options, [&cut, &healed]);
    is_over.store(true, SeqCst);
    proxy.cut();
    let _ = when_ended.recv_timeout(Duration::from_secs(5));
    Ok(outcome)
}

fn main() {
    let options = Options::parse();
    let runtime = Runtime::new().expect("a runtime");
    let progress = Progress::new(Which::ALL.len());
    let mut table = table([
        "pool",
        "longest get while down",
        "gets late by > 5 %",
        "errors with a cause",
        "first success after",
        "connects begun while down",
        "CPU while down",
    ]);
    let mut remarks = String::new();
    for which in Which::ALL {
        progress.say(which.name());
        match run(which, &options, &runtime) {
            Ok((row, last)) => {
                table.add_row(row);
                remarks +=
                    &last.map_or(String::new(), |text| format!("{}: {text:?}\n", which.name()));
            }
            Err(error) => remarks += &format!("{}: did not run: {error}\n", which.name()),
        }
        progress.advance(1);
    }
    drop(progress);
    let Options { socket_timeout, lost, careful, .. } = options;
    let (Limits { get, check, .. }, down) = (options.limits(), options.down());
    say!(
        "{}

Pools of {SIZE}; a get each {EVERY:?}, within {get:?}; {check:?}. The path was cut for {down:?}.
The driver's own limit: {socket_timeout:?}; lost: {lost}; careful: {careful}.

{table}

The last error while down:
{remarks}",
        versions(&Which::PACKAGES),
    );
    // Borrowers that still hang must not keep the program.
    runtime.shutdown_background();
}
