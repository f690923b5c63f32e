//! What a pool adds to a query: caliburn and the other pools for PostgreSQL, on a server of their
//! own.
//!
//! The shortest query there is, from one machine to itself, on few cores: nowhere does a pool weigh
//! more.

mod cell;
mod report;

use caliburn_peers::options::Options;
use caliburn_peers::postgres::{Borrowers, Contender, Name, Query, Times, Which};
use caliburn_peers::servers::postgres::Postgres;
use cell::Cell;
use std::io::Write;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const HELP: &str = "\
Borrow, SELECT 1, give back: caliburn, deadpool-postgres and bb8-postgres from tasks, caliburn and r2d2_postgres from
threads, in short slices of time by turns. Needs PostgreSQL (initdb, postgres, psql).

  --seconds N      how long each pool is measured, in all, for each kind of query and number of borrowers (6)
  --only TEXT      only what has this in its name: a pool, 'tasks', 'threads', 'query_one', 'simple_query'
  --borrowers N    only so many borrowers at once (2, 16 and 64)
  --control        caliburn a second time, as it is: what it differs from itself by is chance
  --bare           caliburn with a manager of its own that does no more than those of the others
  --lifo           deadpool a second time, lending what came back last, as caliburn does
  --cached         instead: with statements that the pool keeps, where it does (caliburn and deadpool)
  --outsiders      instead: threads that block on what tasks would await, as the main function of a program may
  --quick          a few seconds for all, to see that it runs
  --help           this text
";

const BORROWERS: [usize; 3] = [2, 16, 64];

struct Plan {
    rounds: usize,
    times: Times,
    only: Option<String>,
    counts: Vec<usize>,
    besides: Vec<Name>,
    borrowers: Vec<Borrowers>,
    queries: Vec<Query>,
}

impl Plan {
    fn read() -> Self {
        let names = ["--seconds", "--only", "--borrowers"];
        let options = Options::read(
            HELP,
            &names,
            &["--control", "--bare", "--lifo", "--cached", "--outsiders", "--quick"],
        );
        let millis = Duration::from_millis;
        let (rounds, times) = if options.has("--quick") {
            (2, Times { warm_up: millis(5), measured: millis(20) })
        } else {
            let times = Times { warm_up: millis(100), measured: millis(400) };
            let all = Duration::from_secs(options.count("--seconds", 6, 3600) as u64);
            (all.div_duration_f64(times.measured).ceil() as usize, times)
        };
        let counts = match options.count("--borrowers", 0, 1000) {
            0 => BORROWERS.to_vec(),
            count => vec![count],
        };
        let only = options.text("--only").map(Into::into);
        let besides =
            [("--control", Name::Control), ("--bare", Name::Bare), ("--lifo", Name::DeadpoolLifo)];
        let besides = besides
            .into_iter()
            .filter(|(flag, _)| options.has(flag))
            .map(|(_, name)| name)
            .collect();
        let borrowers = if options.has("--outsiders") {
            vec![Borrowers::Outsiders]
        } else {
            vec![Borrowers::Tasks, Borrowers::Threads]
        };
        let queries =
            if options.has("--cached") { vec![Query::Cached] } else { Query::ALL.to_vec() };
        Self { rounds, times, only, counts, besides, borrowers, queries }
    }

    /// All that is to be measured, those that are compared with each other in one group.
    fn groups(&self) -> Vec<Vec<Cell>> {
        let mut groups = Vec::new();
        for &borrowers in &self.borrowers {
            for &query in &self.queries {
                for &count in &self.counts {
                    let cells = borrowers.pools(&self.besides).into_iter();
                    let cells = cells.map(|which| Cell::new(which, count, query));
                    let cells: Vec<_> = cells.filter(|cell| self.wants(cell)).collect();
                    groups.extend((!cells.is_empty()).then_some(cells));
                }
            }
        }
        groups
    }

    fn wants(&self, cell: &Cell) -> bool {
        self.only.as_ref().is_none_or(|only| cell.to_string().contains(only.as_str()))
    }
}

/// The pools that are there, each built when it is first asked for.
struct Pools<'a> {
    built: Vec<(Which, Box<dyn Contender>)>,
    dsn: String,
    runtime: &'a Runtime,
}

impl Pools<'_> {
    fn get(&mut self, which: Which) -> &dyn Contender {
        let place = self.built.iter().position(|(built, _)| *built == which);
        let place = place.unwrap_or_else(|| {
            self.built.push((which, which.build(&self.dsn, self.runtime)));
            self.built.len() - 1
        });
        &*self.built[place].1
    }
}

fn main() {
    let plan = Plan::read();
    let mut groups = plan.groups();
    let server = Postgres::start(&["max_connections=200"]);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut pools = Pools { built: Vec::new(), dsn: server.dsn(), runtime: &runtime };
    for which in groups.iter().flatten().map(|cell| cell.which) {
        pools.get(which);
    }
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for cells in &mut groups {
            // Whoever goes first in one round goes last in the next.
            let places = cells.len();
            for place in 0..places {
                let cell = &mut cells[(round + place) % places];
                cell.measure(pools.get(cell.which), plan.times);
            }
        }
    }
    let version = server.ask("SHOW server_version");
    let report = report::report(&plan, &version, &groups);
    let _ = std::io::stdout().write_all(report.as_bytes());
    drop(pools);
}
