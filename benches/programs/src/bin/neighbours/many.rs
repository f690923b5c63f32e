//! Many pools.

use caliburn::{BlockingManager, Deadline, Manager, Pool};
use caliburn_benches::harness::*;
use caliburn_benches::idleness::{settle, watch};
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

/// A borrower each millisecond.
fn use_often(pool: &Pool<Dirty>, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        drop(pool.get().expect("one is idle"));
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn idle_pools(report: &mut Report, length: Length) {
    let count = length.pick(10_000, 100);
    let show = |share: f64| format!("{share:.2} % of a core");
    let share = |work: &mut dyn FnMut(Duration)| watch(length, work)[1].at(0.0);
    let busy = open(4);
    let alone = share(&mut |time| use_often(&busy, time));
    report.note("a busy pool alone", show(alone));
    let begun = Instant::now();
    let pools: Vec<_> = (0..count).map(|_| open(4)).collect();
    for pool in &pools {
        pool.ready(PLENTY).expect("it always connects");
    }
    let ready = format!("they were ready after {:.1?}", begun.elapsed());
    settle();
    let idle = share(&mut thread::sleep);
    report.at_most(format!("{count} idle pools of four"), idle, 1.0, show, ready);
    let among = share(&mut |time| use_often(&busy, time));
    let cost = (among - alone).max(0.0);
    let among = format!("{} in all", show(among));
    report.at_most("the busy pool among them, more than alone", cost, 3.0, show, among);
}
