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

/// How a figure compares.
enum Outcome {
    AtLeastAsGood,
    /// Behind by no more than caliburn differs from itself in this figure.
    Level,
    Behind(String),
}

impl Outcome {
    /// `ratio`: below 1 is behind. `noise`: the same figure of caliburn, by that of caliburn again.
    fn of(ratio: f64, noise: Option<f64>, complaint: impl FnOnce() -> String) -> Self {
        let allowed = noise.map_or(0.0, |noise| (noise - 1.0).abs());
        if ratio >= 1.0 {
            Self::AtLeastAsGood
        } else if ratio >= 1.0 - allowed {
            Self::Level
        } else {
            Self::Behind(complaint())
        }
    }
}

/// Turns, p99 and p99.9 of one setting of caliburn, each beside the best of the peers.
fn outcomes(own: &Cell, cells: &[&Cell]) -> Vec<Outcome> {
    let find = |name| cells.iter().find(|cell| cell.which.pool == name).copied();
    let (first, again) = (find(Name::Caliburn), find(Name::Control));
    let pair = first.zip(again);
    let Some(best) = best_peer(cells) else { return Vec::new() };
    let ratio = median(ratios(own, best));
    let noise = pair.map(|(first, again)| median(ratios(first, again)));
    let turns = || format!("{ratio:.2} of the turns of {}", called(best));
    let mut all = vec![Outcome::of(ratio, noise, turns)];
    for (share, name) in [(0.99, "p99"), (0.999, "p99.9")] {
        let time = |cell: &Cell| cell.within([share])[0].as_secs_f64();
        let peers = cells.iter().copied().filter(|cell| cell.which.pool.is_peer());
        let Some(peer) = peers.min_by(|a, b| time(a).total_cmp(&time(b))) else { continue };
        let ratio = time(peer) / time(own);
        let noise = pair.map(|(first, again)| time(first) / time(again));
        let longer = || format!("{:.2} times the {name} of {}", 1.0 / ratio, called(peer));
        all.push(Outcome::of(ratio, noise, longer));
    }
    all
}

/// How often one setting of caliburn is at least as good as the best of the peers, and where not.
fn standing(name: Name, groups: &[Vec<Cell>]) -> String {
    let (mut reached, mut level, mut asked, mut rest) = (0, 0, 0, String::new());
    for view in &VIEWS {
        for cells in groups {
            let cells = shown(view, cells);
            let Some(own) = cells.iter().find(|cell| cell.which.pool == name) else { continue };
            let mut complaints = Vec::new();
            for outcome in outcomes(own, &cells) {
                asked += 1;
                match outcome {
                    Outcome::AtLeastAsGood => reached += 1,
                    Outcome::Level => level += 1,
                    Outcome::Behind(complaint) => complaints.push(complaint),
                }
            }
            if !complaints.is_empty() {
                let (count, borrowers, query) = (own.count, own.which.borrowers, own.query);
                let (title, complaints) = (view.title, complaints.join(", "));
                let _ = writeln!(rest, "- {count} {borrowers}, {query}, {title}: {complaints}");
            }
        }
    }
    format!(
        "\n{name}: at least as good as the best of the peers in {reached} of {asked} figures; behind in {level} by no \
         more\nthan caliburn differs from itself. The others:\n\n{rest}"
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
    let _ = write!(text, "\nWhat caliburn counted:\n\n{}", account(groups));
    text + &standing(Name::Caliburn, groups) + &standing(Name::Barging, groups)
}
