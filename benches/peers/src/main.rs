//! caliburn beside other pools and beside the physical floor, in one program, by turns: what a
//! round trip costs alone and among others, how long those wait who have to, what a burst of
//! callers sees.

use caliburn_peers::options::{Options, complain};
use caliburn_peers::pools::versions_of;
use caliburn_peers::side_by_side::effort::Effort;
use caliburn_peers::side_by_side::sheet::Sheet;
use caliburn_peers::side_by_side::{
    POOLS, burst, crowded, handoff, plots, short_tasks, short_threads, uncontended,
};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

const HELP: &str = "\
caliburn beside r2d2, deadpool, bb8, mobc, sqlx's pool and object pools, and beside the physical floor. Prints tables,
and draws the plots of the README. Less than three minutes; best on a machine that does nothing else.

  --only W1        only these tables, as W1 or W1,W4:
                     W1  one thread or task alone            W4  waits in a shortage
                     W2  two threads                         W5  hand-off to those who wait
                     W3  16 threads                          W7  a burst of callers
                   (memory, W6, is a program of its own: --bin memory)
  --quick          some 15 seconds for all, to see that it runs
  --plots FOLDER   where the plots go (benches/peers/plots; with --only or --quick nowhere)
  --help           this text
";

/// A table, and how it is made.
type Part = (&'static str, fn(Effort) -> Sheet);

const PARTS: [Part; 10] = [
    ("W1", uncontended::threads),
    ("W1", uncontended::tasks),
    ("W2", crowded::two),
    ("W3", crowded::sixteen),
    ("W4", short_tasks::tails),
    ("W4", short_threads::working),
    ("W4", short_threads::sleeping),
    ("W5", short_tasks::hand_overs),
    ("W5", handoff::parked),
    ("W7", burst::served),
];

const LEGEND: &str = "\
Medians, and in brackets the quartiles of the rounds. Bold: nobody has a better median (floors do not compete). \"x floor\" is
the ratio of a slice to the mean of the two slices of the floor right before and after it. Nobody tests on checkout.
W2, W3: CPU time of threads on two cores; slices in which they did not meet are repeated, and count if in the end they did.
W4: of ideal = beside as many borrowers as objects, without a pool. Waits are quantiles of single slices; who starves
waits for the whole of one, which is 0.1 s.
";

struct Plan {
    effort: Effort,
    parts: Vec<Part>,
    plots: Option<PathBuf>,
}

impl Plan {
    fn read() -> Self {
        let options = Options::read(HELP, &["--only", "--plots"], &["--quick"]);
        let effort = if options.has("--quick") { Effort::Quick } else { Effort::Full };
        let only = options.text("--only").map(str::to_uppercase);
        let wants =
            |key: &str| only.as_ref().is_none_or(|only| only.split(',').any(|word| word == key));
        let parts: Vec<_> = PARTS.into_iter().filter(|(key, _)| wants(key)).collect();
        if parts.is_empty() {
            complain("--only names no table");
        }
        let is_whole = only.is_none() && effort == Effort::Full;
        let usual = || is_whole.then(|| concat!(env!("CARGO_MANIFEST_DIR"), "/plots").into());
        let plots = options.text("--plots").map(PathBuf::from).or_else(usual);
        Self { effort, parts, plots }
    }
}

fn report(sheets: &[Sheet]) -> String {
    let mut text = versions_of(&POOLS);
    let _ = write!(text, "\n\n{LEGEND}");
    let (mut asked, mut found) = (0, Vec::new());
    for sheet in sheets {
        let _ = write!(text, "\n{} {}:\n\n{sheet}", sheet.key, sheet.title);
        let (more, shortfalls) = sheet.shortfalls();
        asked += more;
        found.extend(shortfalls);
    }
    let reached = asked - found.len();
    let _ = writeln!(
        text,
        "\ncaliburn is at least as good as the best peer in {reached} of {asked} columns."
    );
    if !found.is_empty() {
        let _ = writeln!(text, "It is not in these (caliburn's median, the best peer's):\n");
        found.iter().for_each(|line| text += &format!("- {line}\n"));
    }
    text
}

fn main() {
    let plan = Plan::read();
    let begun = Instant::now();
    let sheets: Vec<_> = plan.parts.iter().map(|(_, part)| part(plan.effort)).collect();
    let _ = std::io::stdout().write_all(report(&sheets).as_bytes());
    eprintln!("{:.0?} in all", begun.elapsed());
    let Some(folder) = plan.plots else { return };
    match plots::draw(&sheets, &folder) {
        Ok(names) => eprintln!("plots in {}: {}", folder.display(), names.join(", ")),
        Err(error) => complain(&format!("{}: {error}", folder.display())),
    }
}
