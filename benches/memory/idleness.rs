//! What a process does while it does nothing.

use crate::harness::figures::Spread;
use crate::harness::length::Length;
use crate::harness::table::verdict;
use cpu_time::ProcessTime;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that have had nothing to do for this long have gone.
pub(crate) fn settle() {
    thread::sleep(Duration::from_millis(300));
}

/// Where the system tells of the other threads of this process.
fn others() -> Vec<PathBuf> {
    let own = std::process::id().to_string();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter(|task| *task.file_name() != *own).map(|task| task.path()).collect()
}

/// The names of all threads but the main one.
pub(crate) fn threads() -> Vec<String> {
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

pub(crate) struct Idleness {
    wake_ups: Spread,
    share: Spread,
}

/// Has a thread sleep as often as the housekeeper does, and do nothing else, while `work` is done.
pub(crate) fn beside_a_sleeper<T>(work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                thread::park_timeout(Duration::from_millis(25));
            }
        });
        let done = work();
        is_over.store(true, Relaxed);
        done
    })
}

/// The least of several looks counts: a busy machine makes everything dearer, and nothing cheaper.
pub(crate) fn watch(length: Length) -> Idleness {
    let (looks, time) =
        length.pick((4, Duration::from_millis(2500)), (2, Duration::from_millis(300)));
    let look = |_| {
        let (begun, slept, cpu) = (Instant::now(), sleeps(), ProcessTime::now());
        thread::sleep(time);
        // The process's own clock: `/proc/self/stat` goes by steps of 10 ms, a third of a per cent
        // here.
        let (cpu, woken, time) = (cpu.elapsed(), sleeps() - slept, begun.elapsed());
        (woken as f64 / time.as_secs_f64(), cpu.as_secs_f64() / time.as_secs_f64() * 100.0)
    };
    let looks: Vec<_> = (0..looks).map(look).collect();
    Idleness {
        wake_ups: looks.iter().map(|look| look.0).collect(),
        share: looks.iter().map(|look| look.1).collect(),
    }
}

impl Idleness {
    /// Wake-ups in a second, and per cent of a core: measured, and what is asked for, if anything
    /// is.
    pub(crate) fn rows(&self, asked: Option<[f64; 2]>) -> [[String; 2]; 2] {
        let row = |spread: &Spread, asked: Option<f64>, show: fn(f64) -> String| {
            let [least, most] = [0.0, 1.0].map(|share| spread.at(share));
            let asked = asked.map(|asked| verdict(least, asked, show));
            [format!("{} (most: {})", show(least), show(most)), asked.unwrap_or_default()]
        };
        [
            row(&self.wake_ups, asked.map(|asked| asked[0]), |woken| format!("{woken:.1}/s")),
            row(&self.share, asked.map(|asked| asked[1]), |share| {
                format!("{share:.3} % of a core")
            }),
        ]
    }
}
