//! "Welcome to the jungle", after HikariCP's wiki: a spike of demand on a quiet pool.

use caliburn_benches::burst::Burst;
use caliburn_benches::harness::*;
use caliburn_benches::pools::Which;

const ABOUT: &str =
    "A spike of demand on a quiet pool: caliburn, r2d2, bb8 and deadpool, in turn, eleven times.";

fn main() {
    let rounds = Length::read(ABOUT).pick(11, 1);
    let jungle = Burst { callers: 50, idle: 5, most: 50, connect: ms(150), query: ms(2) };
    let title = "50 callers on 5 open connections";
    let sheet = jungle.measure("jungle", title, Rounds::exactly(rounds));
    say!("{}\n", versions(&Which::PACKAGES));
    say!("{}; connect 150 ms, query 2 ms; ideal: {:?}\n", sheet.title, jungle.ideal());
    say!("{sheet}");
}
