//! Many returns at once, and many pools.

use crate::harness::length::Length;
use crate::harness::table::{Table, verdict};
use caliburn::{BlockingManager, Deadline, Manager, Pool};
use cpu_time::ProcessTime;
use std::convert::Infallible;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const PLENTY: Duration = Duration::from_secs(60);

/// Whatever was lent needs a reset.
struct Dirty {
    reset_takes: Duration,
}

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
        if !self.reset_takes.is_zero() {
            thread::sleep(self.reset_takes);
        }
        Ok(())
    }
}

fn count_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn open(size: usize, reset_takes: Duration) -> Pool<Dirty> {
    let builder = Pool::builder(Dirty { reset_takes }).max_size(size).min_size(size);
    builder.build().expect("a thread")
}

pub(crate) fn threads(table: &mut Table, length: Length) {
    let count = length.pick(2000, 100);
    let pool = open(count, Duration::from_millis(10));
    pool.ready(PLENTY).expect("it always connects");
    let bound = pool.settings().worker_threads;
    let held: Vec<_> = (0..count).map(|_| pool.get().expect("one is idle")).collect();
    let before = count_threads();
    let (mut most, begun) = (before, Instant::now());
    drop(held);
    while pool.stats().resets < count as u64 {
        assert!(begun.elapsed() < PLENTY, "{}", pool.stats());
        most = most.max(count_threads());
        thread::sleep(Duration::from_micros(200));
    }
    let measured =
        format!("{} threads more, all done after {:.0?}", most - before, begun.elapsed());
    let asked = verdict((most - before) as f64, bound as f64, |most| format!("{most}"));
    table.row([format!("{count} resets of 10 ms at once"), measured, asked]);
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

pub(crate) fn idle_pools(table: &mut Table, length: Length) {
    let count = length.pick(10_000, 100);
    let show = |share: f64| format!("{share:.2} % of a core");
    let busy = open(4, Duration::ZERO);
    let alone = share(length, |time| use_often(&busy, time));
    table.row(["a busy pool alone".into(), show(alone), String::new()]);
    let begun = Instant::now();
    let pools: Vec<_> = (0..count).map(|_| open(4, Duration::ZERO)).collect();
    for pool in &pools {
        pool.ready(PLENTY).expect("it always connects");
    }
    println!("{count} pools are ready after {:.1?}", begun.elapsed());
    thread::sleep(Duration::from_millis(500));
    let idle = share(length, thread::sleep);
    table.row([format!("{count} idle pools of four"), show(idle), verdict(idle, 1.0, show)]);
    let among = share(length, |time| use_often(&busy, time));
    let cost = (among - alone).max(0.0);
    let measured = format!("{}: {} more than alone", show(among), show(cost));
    table.row(["the busy pool among them".into(), measured, verdict(cost, 3.0, show)]);
}
