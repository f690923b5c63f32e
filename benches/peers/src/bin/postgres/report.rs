//! The tables.

use crate::Plan;
use crate::cell::{Cell, Counts, median};
use caliburn_peers::pools::versions_of;
use caliburn_peers::postgres::{Borrowers, Checks, Name, SIZE, Which};
use caliburn_peers::table::{Table, median as spread};
use std::fmt::Write;
use std::time::Duration;

/// Which cells a table shows.
struct View {
    title: &'static str,
    shows: fn(Which) -> bool,
}

const VIEWS: [View; 3] = [
    View { title: "as delivered", shows: Which::is_default },
    View { title: "nobody checks", shows: |which| which.checks == Checks::Never },
    View { title: "everybody checks", shows: |which| which.checks == Checks::Always },
];

/// The same group of cells, as far as a table shows it.
fn shown<'a>(view: &View, cells: &'a [Cell]) -> Vec<&'a Cell> {
    cells.iter().filter(|cell| (view.shows)(cell.which)).collect()
}

/// The quickest of those that are not caliburn.
fn best_peer<'a>(cells: &[&'a Cell]) -> Option<&'a Cell> {
    let peers = cells.iter().copied().filter(|cell| cell.which.pool.is_peer());
    peers.max_by(|a, b| a.rate().total_cmp(&b.rate()))
}

/// Round by round, as what disturbs one slice disturbs its neighbours too.
fn ratios(cell: &Cell, to: &Cell) -> Vec<f64> {
    cell.rates().iter().zip(to.rates()).map(|(rate, other)| rate / other).collect()
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

fn table(view: &View, groups: &[Vec<Cell>], borrowers: Borrowers) -> Table {
    let mut table = Table::new(&[
        "query",
        &borrowers.to_string(),
        "pool",
        "turns/s",
        "of the best peer",
        "p50, µs",
        "p99, µs",
        "p99.9, µs",
        "least served",
        "CPU, µs",
    ]);
    for cells in groups.iter().filter(|cells| cells[0].which.borrowers == borrowers) {
        let cells = shown(view, cells);
        let best = best_peer(&cells);
        for cell in &cells {
            let ratio = best.map(|best| spread(&ratios(cell, best), |r| format!("{r:.2}")));
            let [p50, p99, p999] = cell.within([0.5, 0.99, 0.999]).map(micros);
            table.row(vec![
                cell.query.to_string(),
                cell.count.to_string(),
                cell.which.pool.to_string(),
                format!("{:.0}", cell.rate()),
                ratio.unwrap_or_default(),
                p50,
                p99,
                p999,
                format!("{:.0} %", cell.least() * 100.0),
                micros(cell.cpu()),
            ]);
        }
    }
    table
}

fn settings(view: &View, borrowers: Borrowers, besides: &[Name]) -> String {
    let pools = borrowers.pools(besides).into_iter().filter(|which| (view.shows)(*which));
    let all: Vec<_> = pools.map(|which| format!("{}: {}", which.pool, which.setting())).collect();
    all.join("; ")
}

/// What caliburn says of itself.
fn account(groups: &[Vec<Cell>]) -> Table {
    let mut table = Table::new(&["", "turns", "waits per turn", "pings", "resets"]);
    for cell in groups.iter().flatten() {
        let per_turn = |count: fn(Counts) -> u64| match cell.counts {
            Some(counts) => format!("{:.5}", count(counts) as f64 / cell.turns.max(1) as f64),
            None => "-".into(),
        };
        table.row(vec![
            cell.to_string(),
            cell.turns.to_string(),
            per_turn(|counts| counts.waits),
            per_turn(|counts| counts.pings),
            per_turn(|counts| counts.resets),
        ]);
    }
    table
}

/// With a word of warning: whose borrowers wait for ever has few long waits to count.
fn called(cell: &Cell) -> String {
    let pool = cell.which.pool;
    if cell.least() < 0.1 { format!("{pool} (starves some)") } else { pool.to_string() }
}

/// Where it is not at least as good as the best of them, figure by figure.
fn shortfalls(groups: &[Vec<Cell>]) -> String {
    let (mut text, mut reached, mut asked) = (String::new(), 0, 0);
    for view in &VIEWS {
        for cells in groups {
            let cells = shown(view, cells);
            let own = cells.iter().find(|cell| cell.which.pool == Name::Caliburn);
            let (Some(own), Some(best)) = (own, best_peer(&cells)) else { continue };
            let mut complaints = Vec::new();
            let ratio = median(ratios(own, best));
            if ratio < 1.0 {
                complaints.push(format!("{ratio:.2} of the turns of {}", called(best)));
            }
            for (share, name) in [(0.99, "p99"), (0.999, "p99.9")] {
                let peers = cells.iter().filter(|cell| cell.which.pool.is_peer());
                let peers = peers.map(|cell| (cell.within([share])[0], *cell));
                let ([own], Some((least, peer))) =
                    (own.within([share]), peers.min_by_key(|(time, _)| *time))
                else {
                    continue;
                };
                if own > least {
                    let times = own.as_secs_f64() / least.as_secs_f64();
                    let peer = called(peer);
                    complaints.push(format!("{times:.2} times the {name} of {peer}"));
                }
            }
            asked += 3;
            reached += 3 - complaints.len();
            if !complaints.is_empty() {
                let (count, borrowers, query) = (own.count, own.which.borrowers, own.query);
                let title = view.title;
                let complaints = complaints.join(", ");
                let _ = writeln!(text, "- {count} {borrowers}, {query}, {title}: {complaints}");
            }
        }
    }
    format!(
        "caliburn at least as good as the best of them: {reached} of {asked} figures. The others:\n\n{text}"
    )
}

pub(crate) fn report(plan: &Plan, server: &str, groups: &[Vec<Cell>]) -> String {
    let mut text = versions_of(&[
        "caliburn",
        "deadpool-postgres",
        "bb8-postgres",
        "bb8",
        "r2d2_postgres",
        "r2d2",
        "tokio-postgres",
        "postgres",
        "tokio",
    ]);
    let Plan { rounds, times, .. } = plan;
    let (warm_up, measured) = (times.warm_up, times.measured);
    let _ = write!(
        text,
        ", PostgreSQL {server} on the same machine

Borrow, SELECT 1, give back, over and over. {SIZE} connections in each pool, all open. {rounds} rounds, in each of which every
pool has a slice of {measured:?} after {warm_up:?} that do not count, in another order each round. turns/s: median of the rounds;
of the best peer: median of the round's ratios (least to most). p50 to p99.9: of all turns of all rounds, the wait and
the return included. Least served: turns of the borrower who had the fewest, of an even share. CPU: of this process, for
one turn; the server's comes on top. Tasks: one tokio runtime, two workers.
"
    );
    for view in &VIEWS {
        for borrowers in Borrowers::ALL {
            if groups.iter().any(|cells| cells[0].which.borrowers == borrowers) {
                let title = view.title;
                let settings = settings(view, borrowers, &plan.besides);
                let _ = write!(text, "\n{borrowers}, {title} ({settings}):\n\n");
                let _ = write!(text, "{}", table(view, groups, borrowers));
            }
        }
    }
    let _ = write!(text, "\nWhat caliburn counted:\n\n{}\n{}", account(groups), shortfalls(groups));
    text
}
