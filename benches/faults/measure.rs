//! What all scenarios measure with, and the table.

use std::future::Future;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// One figure.
pub(crate) struct Row {
    scenario: String,
    asked: String,
    measured: String,
    conditions: String,
    pub(crate) is_reached: bool,
}

impl Row {
    /// `is_reached`: what was asked has been measured.
    pub(crate) fn new(
        scenario: impl Into<String>,
        asked: impl Into<String>,
        measured: impl Into<String>,
        is_reached: bool,
        conditions: impl Into<String>,
    ) -> Self {
        Self {
            scenario: scenario.into(),
            asked: asked.into(),
            measured: measured.into(),
            conditions: conditions.into(),
            is_reached,
        }
    }

    fn cells(&self) -> [&str; 5] {
        let mark = if self.is_reached { " " } else { "!" };
        [mark, &self.scenario, &self.asked, &self.measured, &self.conditions]
    }
}

/// All rows, under each other.
pub(crate) fn print(rows: &[Row]) {
    let head = [" ", "scenario", "asked", "measured", "conditions"];
    let cells: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let [_, a, b, c]: [usize; 4] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for [mark, scenario, asked, measured, conditions] in cells {
        println!("{mark} {scenario:a$} | {asked:b$} | {measured:c$} | {conditions}");
    }
}

/// Many durations, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<Duration>);

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

impl Spread {
    /// The one below which this share of them lies.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0.get((share * last).round() as usize).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(0.5)
    }

    pub(crate) fn longest(&self) -> Duration {
        self.at(1.0)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// By how many percent of `asked` it took longer.
pub(crate) fn overshoot(took: Duration, asked: Duration) -> f64 {
    (took.as_secs_f64() / asked.as_secs_f64() - 1.0) * 100.0
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two workers, I/O and timers.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// So many threads do it, all at once, each knowing its number.
pub(crate) fn on_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (start, work) = (&Barrier::new(count), &work);
    std::thread::scope(|scope| {
        let spawn = |number| {
            scope.spawn(move || {
                start.wait();
                work(number)
            })
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("no caller panics")).collect()
    })
}

/// The same with tasks.
pub(crate) fn on_tasks<T, F>(
    runtime: &Runtime,
    count: usize,
    mut work: impl FnMut(usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(count));
    let mut spawn = |number| {
        let (start, work) = (start.clone(), work(number));
        runtime.spawn(async move {
            start.wait().await;
            work.await
        })
    };
    let tasks: Vec<_> = (0..count).map(&mut spawn).collect();
    runtime.block_on(async {
        let mut all = Vec::new();
        for task in tasks {
            all.push(task.await.expect("no caller panics"));
        }
        all
    })
}
