//! The tables.

use crate::cell::Cell;
use crate::pools::{BARGING, CONTROL, Contender, OURS, SIZE};
use caliburn_benches::harness::*;
use std::fmt::Write;

/// A table's title, and whom it shows.
type View = (&'static str, fn(&Contender) -> bool);

const VIEWS: [View; 3] = [
    ("as delivered", |who| who.is_default),
    ("nobody checks", |who| !who.checks),
    ("everybody checks", |who| who.checks),
];

/// The same group of cells, as far as a table shows it.
fn shown<'a>(view: &View, cells: &'a [Cell<'_>]) -> Vec<&'a Cell<'a>> {
    cells.iter().filter(|cell| view.1(cell.who)).collect()
}

/// The quickest of those that are not caliburn.
fn best_peer<'a>(cells: &[&'a Cell<'a>]) -> Option<&'a Cell<'a>> {
    let peers = cells.iter().copied().filter(|cell| cell.who.is_peer());
    peers.max_by(|a, b| a.rate().total_cmp(&b.rate()))
}

fn micros(micros: f64) -> String {
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

fn rows(view: &View, groups: &[Vec<Cell<'_>>], face: Face) -> Table {
    let face_name = face.to_string();
    let mut table = table([
        "query",
        &face_name,
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
            table.add_row([
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

/// How one setting of caliburn compares with the best of the peers in one figure.
struct Comparison {
    /// Below 1 is behind.
    ratio: f64,
    /// The same figure of caliburn, by that of caliburn again.
    noise: f64,
    complaint: String,
}

/// Turns, p99 and p99.9 of one setting of caliburn.
fn compare(own: &Cell<'_>, cells: &[&Cell<'_>]) -> Vec<Comparison> {
    let find = |name| cells.iter().find(|cell| cell.who.name == name).copied();
    let noise = |of: &dyn Fn(&Cell<'_>, &Cell<'_>) -> f64| {
        find(OURS).zip(find(CONTROL)).map_or(1.0, |(first, again)| of(first, again))
    };
    let Some(best) = best_peer(cells) else { return Vec::new() };
    let turns = |cell: &Cell<'_>, other: &Cell<'_>| cell.ratios(other).median();
    let ratio = turns(own, best);
    let complaint = format!("{ratio:.2} of the turns of {}", called(best));
    let mut all = vec![Comparison { ratio, noise: noise(&turns), complaint }];
    for (share, name) in [(0.99, "p99"), (0.999, "p99.9")] {
        let time = |cell: &Cell<'_>| cell.within([share])[0];
        let speed = |cell: &Cell<'_>, other: &Cell<'_>| time(other) / time(cell);
        let peers = cells.iter().copied().filter(|cell| cell.who.is_peer());
        let Some(peer) = peers.min_by(|a, b| time(a).total_cmp(&time(b))) else { continue };
        let ratio = speed(own, peer);
        let complaint = format!("{:.2} times the {name} of {}", 1.0 / ratio, called(peer));
        all.push(Comparison { ratio, noise: noise(&speed), complaint });
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
            let all = compare(own, &cells);
            let behind: Vec<_> = all.iter().filter(|it| it.ratio < 1.0).collect();
            let is_far = |it: &&&Comparison| it.ratio < 1.0 - (it.noise - 1.0).abs();
            let far: Vec<_> = behind.iter().filter(is_far).map(|it| &*it.complaint).collect();
            asked += all.len();
            reached += all.len() - behind.len();
            level += behind.len() - far.len();
            if !far.is_empty() {
                let (count, face, query, title) = (own.count, own.who.face, own.query, view.0);
                let _ = writeln!(rest, "- {count} {face}, {query}, {title}: {}", far.join(", "));
            }
        }
    }
    format!(
        "\n{name}: at least as good as the best of the peers in {reached} of {asked} figures; \
         behind in {level} by no more\nthan caliburn differs from itself. The others:\n\n{rest}"
    )
}

pub(crate) fn report(
    (rounds, times): (usize, Times),
    server: &str,
    groups: &[Vec<Cell<'_>>],
) -> String {
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
                let (title, settings) = (view.0, settings(view, cells));
                let _ = write!(text, "\n{face}, {title} ({settings}):\n\n");
                let _ = writeln!(text, "{}", rows(view, groups, face));
            }
        }
    }
    text + &standing(OURS, groups) + &standing(BARGING, groups)
}
