//! What the pool does when things go wrong, in figures.

use caliburn_benches::faults::{Bench, SCENARIOS};
use caliburn_benches::harness::*;

const HELP: &str = "\
What the pool does when things go wrong: each scenario injures the server, the network or the
driver, and measures. Two minutes and a half. A figure that is missed is marked and counted, and
that is all.

  --only TEXT  only scenarios with this in their names, as outage
  --long       outages and overload last for 30 s
  --quick      less of it
  --help       this text
";

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
