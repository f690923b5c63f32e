//! The password is wrong, from the start or from some moment on. Whoever asks must be told so, and
//! soon; the server must not be stormed.

use crate::Plan;
use crate::common::PLENTY;
use crate::common::server::Server;
use crate::common::wire::{AsyncWire, Wire, WireError};
use crate::measure::{Row, Spread, ms, on_tasks, on_threads, overshoot, runtime};
use caliburn::health::PingAfterFailure;
use caliburn::{BlockingManager, Builder, Deadline, GetError, Manager, ManagerError, Pool};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

const CALLERS: usize = 16;
const CONNECT: Duration = ms(50);
const LIMIT: Duration = ms(2000);
/// What a caller does before he tries again.
const PAUSE: Duration = ms(5);
const LASTS: Duration = ms(3000);
/// From then on attempts are counted.
const ONSET: Duration = ms(500);

/// How one `get` ended, if it failed.
struct Failed {
    took: Duration,
    says_why: bool,
}

impl Failed {
    fn new<C>(begun: Instant, result: &Result<C, GetError<WireError>>) -> Option<Self> {
        let says_why = match result {
            Ok(_) => return None,
            Err(GetError::Connect { cause, .. }) => {
                matches!(**cause, ManagerError::Failed(WireError::Denied))
            }
            Err(_) => false,
        };
        Some(Self { took: begun.elapsed(), says_why })
    }
}

fn pool<M: Manager>(builder: Builder<M>, open: usize) -> Pool<M> {
    let builder =
        builder.max_size(8).min_size(open).checkout_timeout(LIMIT).health(PingAfterFailure);
    builder.wait_ready(PLENTY).build().expect("the server works")
}

/// Counts attempts while the callers are at it: per second, after the onset.
fn attempts<T>(wire: &Wire, callers: impl FnOnce(Instant) -> T) -> (T, f64) {
    let end = Instant::now() + LASTS;
    thread::scope(|scope| {
        let counting = scope.spawn(move || {
            thread::sleep(ONSET);
            let (begun, before) = (Instant::now(), wire.0.attempts.load(SeqCst));
            thread::sleep(end.saturating_duration_since(Instant::now()));
            let attempts = wire.0.attempts.load(SeqCst) - before;
            attempts as f64 / begun.elapsed().as_secs_f64()
        });
        (callers(end), counting.join().expect("no counting panics"))
    })
}

/// What a connect takes that is denied: the median of some.
fn denied_after(wire: &Wire) -> Duration {
    let one = |_| {
        let begun = Instant::now();
        let result = BlockingManager::connect(wire, &Deadline::after(LIMIT));
        assert!(matches!(result, Err(WireError::Denied)), "the password is right");
        begun.elapsed()
    };
    (0..5).map(one).collect::<Spread>().median()
}

fn rows(name: &str, (failed, rate): (Vec<Failed>, f64), connect: Duration) -> Vec<Row> {
    let silent = failed.iter().filter(|failed| !failed.says_why).count();
    let took: Spread = failed.iter().map(|failed| failed.took).collect();
    vec![
        Row::new(
            format!("wrong password {name}: longest get"),
            "one connect (+5 %), with cause",
            format!("{:.1?}, {silent} without cause", took.longest()),
            silent == 0 && took.count() > 0 && overshoot(took.longest(), connect) <= 5.0,
            format!("a connect that is denied takes {connect:.1?}; {} gets failed", took.count()),
        ),
        Row::new(
            format!("wrong password {name}: attempts"),
            "<= 2/s",
            format!("{rate:.2}/s"),
            rate <= 2.0,
            format!("{CALLERS} callers try every {PAUSE:.0?}; {ONSET:.1?} to {LASTS:.1?} after"),
        ),
    ]
}

/// Both cases with one face: `run` has callers at the pool, which has so many connections at first.
fn cases(
    face: &str,
    run: impl Fn(&Server, &Wire, usize, &dyn Fn()) -> (Vec<Failed>, f64),
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (when, open) in [("at the start", 0), ("later", 8)] {
        let server = Server::start();
        let wire = Wire::to(server.address());
        let change = || {
            server.hello_takes(CONNECT);
            server.set_password("changed");
            server.kill_sessions();
        };
        let seen = run(&server, &wire, open, &change);
        let stranger = Wire::to(server.address());
        rows.extend(self::rows(&format!("{when}, {face}"), seen, denied_after(&stranger)));
    }
    rows
}

pub(crate) fn threads(_: &Plan) -> Vec<Row> {
    cases("threads", |_, wire, open, change| {
        let pool = pool(Pool::builder(wire.clone()), open);
        change();
        let (failed, rate) = attempts(wire, |end| {
            on_threads(CALLERS, |_| {
                let mut failed = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    let result = pool.get();
                    failed.extend(Failed::new(begun, &result));
                    // Perhaps a dead one, of which the pool does not know yet.
                    let _ = result.map(|mut conn| conn.echo(1));
                    thread::sleep(PAUSE);
                }
                failed
            })
        });
        (failed.into_iter().flatten().collect(), rate)
    })
}

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let runtime = runtime();
    cases("tasks", |_, wire, open, change| {
        let pool = pool(runtime.block_on(async { AsyncWire::builder(wire) }), open);
        change();
        let (failed, rate) = attempts(wire, |end| {
            on_tasks(&runtime, CALLERS, |_| {
                let pool = pool.clone();
                async move {
                    let mut failed = Vec::new();
                    while Instant::now() < end {
                        let begun = Instant::now();
                        let result = pool.get_async().await;
                        failed.extend(Failed::new(begun, &result));
                        if let Ok(mut conn) = result {
                            let _ = conn.echo(1).await;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                    failed
                }
            })
        });
        (failed.into_iter().flatten().collect(), rate)
    })
}
