//! What a connection costs to open and to close, by the size of the pool.

use caliburn_benches::harness::*;
use caliburn_benches::pools::pool;
use cpu_time::ProcessTime;
use std::time::Duration;

const PLENTY: Duration = Duration::from_secs(60);

/// Microseconds of CPU time for each connection, to open and to close.
fn cost(size: usize) -> [f64; 2] {
    let each = |begun: ProcessTime| begun.elapsed().as_secs_f64() * 1e6 / size as f64;
    let begun = ProcessTime::now();
    let pool = pool(size);
    let opened = each(begun);
    let begun = ProcessTime::now();
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    [opened, each(begun)]
}

pub(crate) fn rows(report: &mut Report, length: Length) {
    let sizes = length.pick([4096, 65_536], [256, 1024]);
    let rounds = length.pick(3, 1);
    let mut least = [[f64::MAX; 2]; 2];
    for _ in 0..rounds {
        for (least, size) in least.iter_mut().zip(sizes) {
            let cost = cost(size);
            *least = [least[0].min(cost[0]), least[1].min(cost[1])];
        }
    }
    for (n, what) in ["to open", "to close"].into_iter().enumerate() {
        let [few, many] = [least[0][n], least[1][n]];
        report.row(
            format!("{what} a connection, of {} and of {}", sizes[0], sizes[1]),
            "<= 5 µs; 1.2 x",
            (
                format!("{few:.2} and {many:.2} µs: {:.2} x", many / few),
                many <= 5.0 && many <= 1.2 * few,
            ),
            "CPU time",
        );
    }
}
