//! What a shortage is to those who wait.

use super::contest::{Outcome, Record};
use super::sheet::{Better, JAIN, Sheet, Show};
use std::time::Duration;

/// What came of one slice.
#[derive(Clone, Copy, Debug)]
pub struct Shortage {
    /// Loans per second.
    pub rate: f64,
    /// p50, p99, p99.9 and the longest, in µs.
    waits: [f64; 4],
    /// Jain's index: 1 if all borrowers had as many loans, 1/n if one of n had them all.
    jain: f64,
    /// CPU time of the program per loan, in µs.
    cpu: f64,
}

impl Shortage {
    /// `waits` has those of each borrower.
    pub fn of(waits: Vec<Vec<Duration>>, took: Duration, cpu: Duration) -> Self {
        let loans: Vec<f64> = waits.iter().map(|waits| waits.len() as f64).collect();
        let total: f64 = loans.iter().sum();
        let squares: f64 = loans.iter().map(|loans| loans * loans).sum();
        let mut waits: Vec<Duration> = waits.into_iter().flatten().collect();
        waits.sort_unstable();
        let at = |share: f64| {
            let place = (share * (waits.len() - 1) as f64) as usize;
            waits[place].as_secs_f64() * 1e6
        };
        Self {
            rate: total / took.as_secs_f64(),
            waits: [0.5, 0.99, 0.999, 1.0].map(at),
            jain: total * total / (loans.len() as f64 * squares),
            cpu: cpu.as_secs_f64() * 1e6 / total,
        }
    }
}

/// The columns of waits.
pub const WAITS: [&str; 4] = ["p50, µs", "p99, µs", "p99.9, µs", "longest, µs"];

/// The table of a shortage. The reference of each slice is the ideal: loans per second of as many
/// borrowers as there are objects, without a pool.
pub fn sheet(key: &'static str, title: &'static str, records: &[Record<Shortage, f64>]) -> Sheet {
    let [p50, p99, p999, longest] = WAITS;
    let mut sheet = Sheet::new(key, title)
        .column("% of ideal", Better::More, Show::Quartiles)
        .column(p50, Better::Less, Show::Median)
        .column(p99, Better::Less, Show::Median)
        .column(p999, Better::Less, Show::Quartiles)
        .column(longest, Better::Less, Show::Median)
        .column(JAIN, Better::More, Show::Median)
        .column("CPU per loan, µs", Better::Less, Show::Median);
    for record in records {
        let of = |figure: &dyn Fn(&Outcome<Shortage, f64>) -> f64| {
            record.outcomes.iter().map(figure).collect::<Vec<_>>()
        };
        let ideal = |outcome: &Outcome<_, f64>| (outcome.before + outcome.after) / 2.0;
        let mut figures = vec![of(&|outcome| 100.0 * outcome.figure.rate / ideal(outcome))];
        figures.extend((0..4).map(|n| of(&|outcome| outcome.figure.waits[n])));
        figures.push(of(&|outcome| outcome.figure.jain));
        figures.push(of(&|outcome| outcome.figure.cpu));
        sheet.row(record.who, figures);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_everything_makes_the_index_small() {
        let wait = Duration::from_micros(5);
        let second = Duration::from_secs(1);
        let fair = Shortage::of(vec![vec![wait; 10]; 4], second, second);
        assert_eq!((fair.jain, fair.rate, fair.waits), (1.0, 40.0, [5.0; 4]));
        let mut waits = vec![Vec::new(); 4];
        waits[0] = vec![wait; 10];
        assert_eq!(Shortage::of(waits, second, second).jain, 0.25);
    }
}
