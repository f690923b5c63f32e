//! What the pool does when things go wrong, in figures.

use caliburn_benches::faults::*;
use caliburn_benches::harness::figures::ms;
use caliburn_benches::harness::options::Options;
use caliburn_benches::harness::progress::Progress;

const HELP: &str = "\
What the pool does when things go wrong: each scenario injures the server, the network or the
driver, and measures. Two minutes and a half. A figure that is missed is marked and counted, and
that is all.

  --only TEXT  only scenarios with this in their names, as outage
  --long       outages and overload last for 30 s
  --quick      less of it
  --help       this text
";

/// By its name; takes about so many seconds.
type Scenario = (&'static str, usize, fn(&mut Bench));

const SCENARIOS: &[Scenario] = &[
    ("mute connect, threads", 2, mute::connect_threads),
    ("mute connect, tasks", 2, mute::connect_tasks),
    ("mute ping, threads", 1, mute::ping_threads),
    ("mute ping, tasks", 1, mute::ping_tasks),
    ("outage black hole, threads", 15, outage::black_hole_threads),
    ("outage black hole, tasks", 15, outage::black_hole_tasks),
    ("outage refused, threads", 7, outage::refused_threads),
    ("outage refused, tasks", 7, outage::refused_tasks),
    ("overload, threads", 9, overload::threads),
    ("overload, tasks", 9, overload::tasks),
    ("one return during a hanging connect, threads", 1, handoff::threads),
    ("one return during a hanging connect, tasks", 1, handoff::tasks),
    ("half of 64 cut, threads", 2, cut::threads),
    ("half of 64 cut, tasks", 2, cut::tasks),
    ("wrong password, threads", 8, password::threads),
    ("wrong password, tasks", 8, password::tasks),
    ("limit of a get, threads", 16, limits::threads),
    ("limit of a get, tasks", 9, limits::tasks),
    ("limit of a call", 6, limits::calls),
    ("close of a mute server, threads", 3, closing::threads),
    ("close of a mute server, tasks", 3, closing::tasks),
];

fn main() {
    let mut options = Options::read(HELP);
    let length = options.length();
    let lasts = if options.has("--long") { ms(30_000) } else { length.pick(ms(6000), ms(4000)) };
    let only = options.value::<String>("--only").unwrap_or_default();
    options.finish();
    let chosen: Vec<_> = SCENARIOS.iter().filter(|(name, ..)| name.contains(&only)).collect();
    let progress = Progress::new(chosen.iter().map(|(_, seconds, _)| seconds).sum());
    let mut bench = Bench::new(length, lasts);
    for (name, seconds, scenario) in chosen {
        progress.say(*name);
        scenario(&mut bench);
        progress.advance(*seconds);
    }
    drop(progress);
    bench.report.print();
}
