//! "Bad behaviour: database down", after HikariCP's wiki: the network path goes away without a
//! word.
//!
//! A pool checks every connection before it lends it, over real sockets. One borrower gets a
//! connection, queries and gives it back, over and over. In mid-run the path is cut, and healed
//! some time later. Does `get` come back within its limit each time, what does it say, and how soon
//! is all well again?

use caliburn_peers::driver::Books;
use caliburn_peers::line::{AsyncLine, BlockingLine, Setup};
use caliburn_peers::options::{Options, complain};
use caliburn_peers::pools::{Check, Limits, Peer, Refusal, Which, versions};
use caliburn_peers::server::Server;
use caliburn_peers::table::Table;
use cpu_time::ProcessTime;
use std::error::Error;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const HELP: &str = "\
The network path to the database is cut without a word, and healed: caliburn, r2d2, bb8 and deadpool, one after
another.

  --size N               connections in each pool (5)
  --limit TIME           the limit of get (1s)
  --every TIME           a get so often (200ms)
  --before TIME          how long all is well first (1s)
  --down TIME            how long the path is cut (5.3s: no get that takes its whole limit ends just then)
  --after TIME           how long to wait for the first success afterwards (5s)
  --socket-timeout TIME  a limit of the driver's own on each answer (none)
  --lost                 connections from before the cut stay mute for ever, as after a failover
  --careful              the driver calls a connection broken on which a request was given up half-way
  --help                 this text

A time is a number and a unit: 150ms, 1.5s.
";

struct Plan {
    limits: Limits,
    every: Duration,
    before: Duration,
    down: Duration,
    after: Duration,
    socket_timeout: Option<Duration>,
    is_lost: bool,
    is_careful: bool,
}

impl Plan {
    fn read() -> Self {
        let times = ["--limit", "--every", "--before", "--down", "--after", "--socket-timeout"];
        let names = [&["--size"], &times[..]].concat();
        let options = Options::read(HELP, &names, &["--lost", "--careful"]);
        let time = |name, default| options.time(name, Duration::from_millis(default));
        let size = options.count("--size", 5, 100);
        let limit = time("--limit", 1000);
        // As many dead connections as there can be, and one connect, add up to the limit.
        let check = Check { ping: limit / 2 / size as u32, connect: limit / 2 };
        if check.ping < Duration::from_millis(10) {
            complain(&format!(
                "--limit is {limit:?}: less than 20 ms for each of {size} connections"
            ));
        }
        Self {
            limits: Limits { max: size, idle: size, get: limit, check: Some(check) },
            every: time("--every", 200),
            before: time("--before", 1000),
            down: time("--down", 5300),
            after: time("--after", 5000),
            socket_timeout: options
                .text("--socket-timeout")
                .map(|_| options.time("--socket-timeout", Duration::ZERO)),
            is_lost: options.has("--lost"),
            is_careful: options.has("--careful"),
        }
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What one pool came to: the gets that were begun while the path was cut, and what followed.
#[derive(Default)]
struct Outcome {
    gets: usize,
    longest: Duration,
    /// The longest has not come back at all.
    is_stuck: bool,
    /// Gets that took more than the limit and a twentieth.
    late: usize,
    refusals: Vec<Refusal>,
    /// Connections lent while nothing could get through.
    lent: usize,
    connects: usize,
    cpu: Duration,
    down: Duration,
    /// From the healing to the end of the first query that went well.
    recovery: Option<Duration>,
}

impl Outcome {
    fn of(log: &Log, plan: &Plan, cut: &Moment, healed: &Moment) -> Self {
        let mut outcome = Self {
            connects: healed.connects - cut.connects,
            cpu: healed.cpu.duration_since(cut.cpu),
            down: healed.at - cut.at,
            recovery: log.success_since(healed.at).map(|at| at - healed.at),
            ..Self::default()
        };
        let turns = log.turns();
        for turn in turns.iter().filter(|turn| (cut.at..healed.at).contains(&turn.begun)) {
            let took = turn.got.as_ref().map_or_else(|| turn.begun.elapsed(), |(took, _)| *took);
            outcome.gets += 1;
            outcome.late += usize::from(took > plan.limits.get.mul_f64(1.05));
            if took > outcome.longest {
                (outcome.longest, outcome.is_stuck) = (took, turn.got.is_none());
            }
            match &turn.got {
                Some((_, Err(refusal))) => outcome.refusals.push(refusal.clone()),
                // One that hung until all was well is not to blame for lending then.
                Some((took, Ok(()))) if turn.begun + *took < healed.at => outcome.lent += 1,
                _ => {}
            }
        }
        outcome
    }

    fn row(&self, which: Which, plan: &Plan) -> Vec<String> {
        let (Self { gets, late, connects, .. }, cpu) = (self, self.cpu.as_secs_f64());
        let errors = self.refusals.len();
        let causes = self.refusals.iter().filter(|refusal| refusal.has_cause).count();
        vec![
            which.to_string(),
            match self.is_stuck {
                true => format!("still stuck after {}", seconds(self.longest)),
                false => seconds(self.longest),
            },
            format!("{late} of {gets}"),
            if errors == 0 { "no error".into() } else { format!("{causes} of {errors}") },
            match self.recovery {
                Some(time) => format!("{} ms", time.as_millis()),
                None => format!("not within {:?}", plan.after),
            },
            connects.to_string(),
            format!("{:.0} ms ({:.1} %)", cpu * 1e3, 100.0 * cpu / self.down.as_secs_f64()),
        ]
    }

    /// What there is to say beside the table.
    fn remark(&self, which: Which) -> String {
        let mut remark = match self.refusals.last() {
            Some(last) => format!("{which}: \"{}\"\n", last.text.trim_end()),
            None => String::new(),
        };
        if self.lent > 0 {
            remark += &format!("{which}: lent {} connections while the path was cut\n", self.lent);
        }
        remark
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

type Run = Result<Outcome, Box<dyn Error>>;

fn run(which: Which, plan: &Plan, runtime: &Runtime) -> Run {
    let server = Arc::new(Server::start()?);
    let books = Books::default();
    let setup = Setup {
        address: server.address(),
        limit: plan.socket_timeout,
        is_careful: plan.is_careful,
        books: books.clone(),
    };
    let drivers = (BlockingLine(setup.clone()), AsyncLine(setup));
    let pool = runtime.block_on(which.build(plan.limits, drivers.0, drivers.1))?;

    let (log, is_over) = (Arc::new(Log::default()), Arc::new(AtomicBool::new(false)));
    let (tell_cut, when_cut) = mpsc::channel();
    let (tell_end, when_ended) = mpsc::channel::<()>();
    let (every, cut_at) = (plan.every, Instant::now() + plan.before);
    which.spawn(runtime.handle(), {
        let (log, is_over) = (Arc::clone(&log), Arc::clone(&is_over));
        let (server, books) = (Arc::clone(&server), books.clone());
        let mut tell_cut = Some(tell_cut);
        async move {
            // Dropped when the borrower is done.
            let _tell_end = tell_end;
            while !is_over.load(SeqCst) {
                let begun = Instant::now();
                // Between two turns, so that nobody is in the middle of a query.
                if begun >= cut_at
                    && let Some(tell) = tell_cut.take()
                {
                    server.cut();
                    let _ = tell.send((Moment::now(&books), server.sessions()));
                }
                log.turn(&*pool).await;
                tokio::time::sleep_until((begun + every).into()).await;
            }
        }
    });
    // Looked at from outside, as the borrower may hang.
    let (cut, sessions) = when_cut
        .recv_timeout(plan.before + plan.limits.get * 10)
        .map_err(|_| "it hung before the path was cut")?;
    if log.success_since(cut.at - plan.before).is_none() {
        return Err("no query went well before the path was cut".into());
    }
    thread::sleep(plan.down);
    let healed = Moment::now(&books);
    server.heal(if plan.is_lost { sessions } else { 0 });
    while log.success_since(healed.at).is_none() && healed.at.elapsed() < plan.after {
        thread::sleep(Duration::from_millis(10));
    }
    let outcome = Outcome::of(&log, plan, &cut, &healed);
    is_over.store(true, SeqCst);
    server.hang_up();
    let _ = when_ended.recv_timeout(Duration::from_secs(5));
    Ok(outcome)
}

fn report(plan: &Plan, outcomes: &[(Which, Run)]) -> String {
    let mut table = Table::new(&[
        "pool",
        "longest get while down",
        "gets late by > 5 %",
        "errors with a cause",
        "first success after",
        "connects begun while down",
        "CPU while down",
    ]);
    let mut remarks = String::new();
    for (which, outcome) in outcomes {
        match outcome {
            Ok(outcome) => {
                table.row(outcome.row(*which, plan));
                remarks += &outcome.remark(*which);
            }
            Err(error) => remarks += &format!("{which}: did not run: {error}\n"),
        }
    }
    let Plan { limits, every, down, .. } = plan;
    let (size, limit) = (limits.max, limits.get);
    let Check { ping, connect } = limits.check.unwrap_or(Check { ping: limit, connect: limit });
    let versions = versions();
    let socket = match plan.socket_timeout {
        Some(limit) => format!("a limit of {limit:?} on each answer"),
        None => "no limit of its own".into(),
    };
    let old = if plan.is_lost { "stay mute for ever" } else { "come to life again" };
    let careful = if plan.is_careful { "does" } else { "does not" };
    format!(
        "{versions}

Pools of {size}, every connection checked before it is lent, limit of get {limit:?}, a get every {every:?}.
Path cut for {down:?}; connections from before then {old}.
Driver: {socket}; it {careful} call a connection broken on which a request was given up half-way.

{table}
The last error while down:
{remarks}
Settings. caliburn: PingOnBorrow::always(), ping_timeout {ping:?}, connect_timeout {connect:?}; for threads
PingOn::Worker, as the driver heeds no deadline. r2d2, bb8: test_on_check_out, as shipped; they have one limit, that
of get. deadpool: recycle checks; limits by stage, recycle {ping:?} and create {connect:?}, so that {size} dead connections
and one connect add up to the limit of get. A cause is one in the error that get returns: bb8 gives the driver's
errors to its error sink, deadpool those of checks to nobody. CPU is the process's, server and borrower included.
"
    )
}

fn main() {
    let plan = Plan::read();
    let runtime = Runtime::new().expect("a runtime");
    let outcomes: Vec<_> = Which::ALL
        .into_iter()
        .map(|which| {
            eprintln!("{which}");
            (which, run(which, &plan, &runtime))
        })
        .collect();
    let _ = std::io::stdout().write_all(report(&plan, &outcomes).as_bytes());
    // Borrowers that still hang must not keep the program.
    runtime.shutdown_background();
}
