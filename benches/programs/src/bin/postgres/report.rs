//! The tables.

use crate::Plan;
use crate::cell::Cell;
use crate::pools::{BARGING, CONTROL, Contender, OURS, SIZE};
use caliburn_benches::harness::*;
use std::fmt::Write;

/// Which cells a table shows.
struct View {
    title: &'static str,
    shows: fn(&Contender) -> bool,
}

const VIEWS: [View; 3] = [
    View { title: "as delivered", shows: |who| who.is_default },
    View { title: "nobody checks", shows: |who| !who.checks },
    View { title: "everybody checks", shows: |who| who.checks },
];

/// The same group of cells, as far as a table shows it.
fn shown<'a>(view: &View, cells: &'a [Cell<'_>]) -> Vec<&'a Cell<'a>> {
    cells.iter().filter(|cell| (view.shows)(cell.who)).collect()
}

/// The quickest of those that are not caliburn.
fn best_peer<'a>(cells: &[&'a Cell<'a>]) -> Option<&'a Cell<'a>> {
    let peers = cells.iter().copied().filter(|cell| cell.who.is_peer());
    peers.max_by(|a, b| a.rate().total_cmp(&b.rate()))
}

fn micros(micros: f64) -> String {
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

fn table(view: &View, groups: &[Vec<Cell<'_>>], face: Face) -> Table {
    let mut table = Table::new(&[
        "query",
        &face.to_string(),
        "pool",
        "turns/s",
        "of the best peer",
        "p50, µs",
        "p99, µs",
        "p99.9, µs",
        "least served",
        "CPU, µs",
    ]);
    for cells in groups.iter().filter(|cells| cells[0].who.face == face) {
        let cells = shown(view, cells);
        let best = best_peer(&cells);
        for cell in &cells {
            let ratio = best.map(|best| cell.ratios(best).show_all(|r| format!("{r:.2}")));
            let [p50, p99, p999] = cell.within([0.5, 0.99, 0.999]).map(micros);
            table.row([
                cell.query.to_string(),
                cell.count.to_string(),
                cell.who.name.to_owned(),
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

fn settings(view: &View, cells: &[Cell<'_>]) -> String {
    let setting = |cell: &&Cell<'_>| format!("{}: {}", cell.who.name, cell.who.setting);
    shown(view, cells).iter().map(setting).collect::<Vec<_>>().join("; ")
}

/// With a word of warning: whose borrowers wait for ever has few long waits to count.
fn called(cell: &Cell<'_>) -> String {
    let name = cell.who.name;
    if cell.least() < 0.1 { format!("{name} (starves some)") } else { name.to_owned() }
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
fn outcomes(own: &Cell<'_>, cells: &[&Cell<'_>]) -> Vec<Outcome> {
    let find = |name| cells.iter().find(|cell| cell.who.name == name).copied();
    let (first, again) = (find(OURS), find(CONTROL));
    let pair = first.zip(again);
    let Some(best) = best_peer(cells) else { return Vec::new() };
    let ratio = own.ratios(best).median();
    let noise = pair.map(|(first, again)| first.ratios(again).median());
    let turns = || format!("{ratio:.2} of the turns of {}", called(best));
    let mut all = vec![Outcome::of(ratio, noise, turns)];
    for (share, name) in [(0.99, "p99"), (0.999, "p99.9")] {
        let time = |cell: &Cell<'_>| cell.within([share])[0];
        let peers = cells.iter().copied().filter(|cell| cell.who.is_peer());
        let Some(peer) = peers.min_by(|a, b| time(a).total_cmp(&time(b))) else { continue };
        let ratio = time(peer) / time(own);
        let noise = pair.map(|(first, again)| time(first) / time(again));
        let longer = || format!("{:.2} times the {name} of {}", 1.0 / ratio, called(peer));
        all.push(Outcome::of(ratio, noise, longer));
    }
    all
}

/// How often one setting of caliburn is at least as good as the best of the peers, and where not.
fn standing(name: &str, groups: &[Vec<Cell<'_>>]) -> String {
    let (mut reached, mut level, mut asked, mut rest) = (0, 0, 0, String::new());
    for view in &VIEWS {
        for cells in groups {
            let cells = shown(view, cells);
            let Some(own) = cells.iter().find(|cell| cell.who.name == name) else { continue };
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
                let (count, face, query) = (own.count, own.who.face, own.query);
                let (title, complaints) = (view.title, complaints.join(", "));
                let _ = writeln!(rest, "- {count} {face}, {query}, {title}: {complaints}");
            }
        }
    }
    format!(
        "\n{name}: at least as good as the best of the peers in {reached} of {asked} figures; \
         behind in {level} by no more\nthan caliburn differs from itself. The others:\n\n{rest}"
    )
}

pub(crate) fn report(plan: &Plan, server: &str, groups: &[Vec<Cell<'_>>]) -> String {
    let mut text = versions(&[
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
    let conditions = conditions();
    let _ = write!(
        text,
        ", PostgreSQL {server} on the same machine; {conditions}

{rounds} rounds with {times:?} for each pool. {SIZE} connections in each, all open.
"
    );
    for view in &VIEWS {
        for face in [Face::Tasks, Face::Threads] {
            let mut groups_of_face = groups.iter().filter(|cells| cells[0].who.face == face);
            if let Some(cells) = groups_of_face.next() {
                let (title, settings) = (view.title, settings(view, cells));
                let _ = write!(text, "\n{face}, {title} ({settings}):\n\n");
                let _ = write!(text, "{}", table(view, groups, face));
            }
        }
    }
    text + &standing(OURS, groups) + &standing(BARGING, groups)
}
