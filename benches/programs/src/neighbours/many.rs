//! Many pools.

use crate::harness::options::Length;
use crate::harness::table::Report;
use caliburn::{BlockingManager, Deadline, Manager, Pool};
use cpu_time::ProcessTime;
use std::convert::Infallible;
use std::thread;
use std::time::{Duration, Instant};

const PLENTY: Duration = Duration::from_secs(60);

/// Whatever was lent needs a reset.
struct Dirty;

impl Manager for Dirty {
    type Connection = ();
    type Error = Infallible;

    fn needs_reset(&self, (): &mut ()) -> bool {
        true
    }
}

impl BlockingManager for Dirty {
    fn connect(&self, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }

    fn ping(&self, (): &mut (), _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }

    fn reset(&self, (): &mut (), _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

fn open(size: usize) -> Pool<Dirty> {
    let builder = Pool::builder(Dirty).max_size(size).min_size(size);
    builder.build().expect("a thread")
}

/// The CPU time that is spent while nobody but `work` is at it, as a share of a core; the least of
/// several looks.
fn share(length: Length, mut work: impl FnMut(Duration)) -> f64 {
    let (looks, time) = length.pick((4, Duration::from_secs(3)), (2, Duration::from_millis(300)));
    let look = |_| {
        let (begun, cpu) = (Instant::now(), ProcessTime::now());
        work(time);
        cpu.elapsed().as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0
    };
    (0..looks).map(look).fold(f64::MAX, f64::min)
}

/// A borrower each millisecond.
fn use_often(pool: &Pool<Dirty>, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        drop(pool.get().expect("one is idle"));
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn idle_pools(report: &mut Report, length: Length) {
    let count = length.pick(10_000, 100);
    let show = |share: f64| format!("{share:.2} % of a core");
    let busy = open(4);
    let alone = share(length, |time| use_often(&busy, time));
    report.note("a busy pool alone", show(alone));
    let begun = Instant::now();
    let pools: Vec<_> = (0..count).map(|_| open(4)).collect();
    for pool in &pools {
        pool.ready(PLENTY).expect("it always connects");
    }
    let ready = format!("they were ready after {:.1?}", begun.elapsed());
    thread::sleep(Duration::from_millis(500));
    let idle = share(length, thread::sleep);
    report.at_most(format!("{count} idle pools of four"), idle, 1.0, show, ready);
    let among = share(length, |time| use_often(&busy, time));
    let cost = (among - alone).max(0.0);
    let among = format!("{} in all", show(among));
    report.at_most("the busy pool among them, more than alone", cost, 3.0, show, among);
}
