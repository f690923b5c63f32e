//! What a process does while it does nothing.

use crate::harness::*;
use cpu_time::ProcessTime;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Threads that have had nothing to do for this long have gone.
pub fn settle() {
    thread::sleep(ms(300));
}

/// Where the system tells of the other threads of this process.
fn others() -> Vec<PathBuf> {
    let own = std::process::id().to_string();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter(|task| *task.file_name() != *own).map(|task| task.path()).collect()
}

/// The names of all threads but the main one.
pub fn threads() -> Vec<String> {
    let name = |task: PathBuf| fs::read_to_string(task.join("comm")).ok();
    others().into_iter().filter_map(name).map(|name| name.trim().into()).collect()
}

/// How often a thread gave up its core to sleep, and so was woken again; all but the main one's.
fn sleeps() -> u64 {
    let count = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    others().into_iter().filter_map(count).sum()
}

/// Wake-ups per second, and CPU time in percent of a core, while nobody but `work` is at it: the
/// figures of several looks. The least counts: a busy machine makes everything dearer, and nothing
/// cheaper.
pub fn watch(length: Length, mut work: impl FnMut(Duration)) -> [Spread; 2] {
    let (looks, time) = length.pick((4, ms(2500)), (2, ms(300)));
    let look = |_| {
        let (begun, slept, cpu) = (Instant::now(), sleeps(), ProcessTime::now());
        work(time);
        // The process's own clock: `/proc/self/stat` goes by steps of 10 ms, a third of a per cent
        // here.
        let (cpu, woken, time) = (cpu.elapsed(), sleeps() - slept, begun.elapsed());
        (woken as f64 / time.as_secs_f64(), cpu.as_secs_f64() / time.as_secs_f64() * 100.0)
    };
    let (wake_ups, shares): (Vec<_>, Vec<_>) = (0..looks).map(look).unzip();
    [wake_ups, shares].map(Spread::from_iter)
}
