//! The password is wrong, from the start or from some moment on. Whoever asks must be told so, and
//! soon; the server must not be stormed.

use crate::wired::Wired;
use crate::{Bench, overshoot};
use caliburn::health::PingAfterFailure;
use caliburn::{BlockingManager, Deadline, GetError, ManagerError};
use caliburn_benches::common::{PLENTY, Server, Wire, WireError};
use caliburn_benches::harness::*;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

const CALLERS: usize = 16;
const CONNECT: Duration = ms(50);
const LIMIT: Duration = ms(2000);
/// What a caller does before it tries again.
const PAUSE: Duration = ms(5);
const LASTS: Duration = ms(3000);
/// From then on attempts are counted.
const ONSET: Duration = ms(500);

/// Whether it says that the password is wrong.
fn says_why<M: Wired>(result: &Got<M>) -> bool {
    let Err(GetError::Connect { cause, .. }) = result else { return false };
    matches!(**cause, ManagerError::Failed(WireError::Denied))
}

/// What a connect takes that is denied: the median of some.
fn denied_after(server: &Server) -> Duration {
    let wire = Wire::to(server.address());
    let one = |_| {
        let (result, took) = timed(|| BlockingManager::connect(&wire, &Deadline::after(LIMIT)));
        assert!(matches!(result, Err(WireError::Denied)), "the password is right");
        took
    };
    let median = (0..5).map(one).collect::<Spread>().median();
    Duration::from_secs_f64(median / 1e3)
}

pub(crate) fn wrong<M: Wired>(bench: &mut Bench) {
    for (when, open) in [("at the start", 0), ("later", 8)] {
        let server = Server::start();
        let wire = Wire::to(server.address());
        let builder = M::builder(&wire, bench).max_size(8).min_size(open);
        let builder = builder.checkout_timeout(LIMIT).health(PingAfterFailure);
        let pool = builder.wait_ready(PLENTY).build().expect("the server works");
        server.hello_takes(CONNECT);
        server.set_password("changed");
        server.kill_sessions();
        let begun = Instant::now();
        let callers = M::FACE.begin(bench.runtime.handle(), CALLERS, |_| {
            let pool = pool.clone();
            async move {
                let mut failed = Vec::new();
                while begun.elapsed() < LASTS {
                    let begun = Instant::now();
                    let result = M::FACE.get(&pool).await;
                    let (took, is_told) = (begun.elapsed(), says_why::<M>(&result));
                    match result {
                        // Perhaps a dead one, of which the pool does not know yet.
                        Ok(mut conn) => drop(M::say(&mut conn, "echo 1").await),
                        Err(_) => failed.push((took, is_told)),
                    }
                    M::FACE.sleep(PAUSE).await;
                }
                failed
            }
        });
        let attempts = || wire.0.attempts.load(SeqCst);
        thread::sleep(ONSET);
        let (onset, before) = (Instant::now(), attempts());
        thread::sleep(LASTS.saturating_sub(begun.elapsed()));
        let rate = (attempts() - before) as f64 / onset.elapsed().as_secs_f64();
        let failed: Vec<_> = bench.runtime.block_on(callers.join_all()).concat();
        let silent = failed.iter().filter(|(_, is_told)| !is_told).count();
        let took: Spread = failed.into_iter().map(|(took, _)| took).collect();
        let connect = denied_after(&server);
        let (longest, over) = (took.most(), overshoot(took.most(), connect));
        let name = format!("wrong password {when}, {}", M::FACE);
        bench.report.row(
            format!("{name}: longest get"),
            "one connect (+5 %), with cause",
            (
                format!("{longest:.1} ms, {silent} without cause"),
                silent == 0 && took.count() > 0 && over <= 5.0,
            ),
            format!("a connect that is denied takes {connect:.1?}; {} gets failed", took.count()),
        );
        bench.report.row(
            format!("{name}: attempts"),
            "<= 2/s",
            (format!("{rate:.2}/s"), rate <= 2.0),
            format!("{CALLERS} callers try every {PAUSE:.0?}; {ONSET:.1?} to {LASTS:.1?} after"),
        );
    }
}
