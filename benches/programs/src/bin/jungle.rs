//! "Welcome to the jungle", after HikariCP's wiki: a spike of demand on a quiet pool.

use caliburn_benches::burst::Burst;
use caliburn_benches::harness::contest::Rounds;
use caliburn_benches::harness::figures::{ms, versions};
use caliburn_benches::harness::options::Options;
use caliburn_benches::pools::Which;
use caliburn_benches::say;
use std::time::Duration;

const HELP: &str = "\
A spike of demand on a quiet pool: caliburn, r2d2, bb8 and deadpool, in turn, eleven times.

  --quick  once each
  --help   this text
";

fn main() {
    let rounds = Options::length_only(HELP).pick(11, 1);
    let jungle = Burst { callers: 50, idle: 5, most: 50, connect: ms(150), query: ms(2) };
    let rounds = Rounds { most: rounds, least: rounds, within: Duration::ZERO };
    let sheet = jungle.measure("jungle", "50 callers on 5 open connections", rounds);
    say!("{}\n", versions(&Which::PACKAGES));
    say!("{}; connect 150 ms, query 2 ms; ideal: {:?}\n", sheet.title, jungle.ideal());
    say!("{sheet}");
}
