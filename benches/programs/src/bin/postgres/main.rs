//! What a pool adds to a query: caliburn and the other pools for PostgreSQL, on a server of their
//! own.
//!
//! The shortest query there is, from one machine to itself, on few cores: nowhere does a pool weigh
//! more.

mod cell;
mod pools;
mod report;
mod tasks;
mod threads;

use caliburn_benches::common::Postgres;
use caliburn_benches::harness::*;
use cell::Cell;
use pools::{CONTROL, Contender, LIFO, Query};
use std::time::Duration;

const HELP: &str = "\
Borrow, SELECT 1, give back: caliburn, deadpool-postgres and bb8-postgres from tasks, caliburn and
r2d2_postgres from threads, in short slices of time by turns. Needs PostgreSQL (initdb, postgres,
psql).

  --seconds N      how long each pool is measured, for each query and number of borrowers (6)
  --only TEXT      only what has this in its name: a pool, 'tasks', 'threads', 'query_one' ...
  --borrowers N    only so many borrowers at once (2, 16 and 64)
  --control        caliburn a second time, as it is: what it differs from itself by is chance
  --lifo           deadpool a second time, lending what came back last, as caliburn does
  --cached         instead: statements that the pool keeps (caliburn and deadpool)
  --quick          a few seconds for all, to see that it runs
  --help           this text
";

const BORROWERS: [usize; 3] = [2, 16, 64];

struct Plan {
    rounds: usize,
    times: Times,
    only: Option<String>,
    counts: Vec<usize>,
    besides: Vec<&'static str>,
    queries: Vec<Query>,
}

impl Plan {
    fn read() -> Self {
        let mut options = Options::read(HELP);
        let (rounds, times) = match options.length() {
            Length::Quick => (2, Times { warm_up: ms(5), measured: ms(20) }),
            Length::Full => {
                let times = Times { warm_up: ms(100), measured: ms(400) };
                let all = Duration::from_secs(options.value("--seconds").unwrap_or(6));
                (all.div_duration_f64(times.measured).ceil() as usize, times)
            }
        };
        let counts = options.value("--borrowers").map_or(BORROWERS.into(), |count| vec![count]);
        let only = options.value("--only");
        let mut besides = Vec::new();
        besides.extend(options.has("--control").then_some(CONTROL));
        besides.extend(options.has("--lifo").then_some(LIFO));
        let is_cached = options.has("--cached");
        let queries =
            if is_cached { vec![Query::Cached] } else { vec![Query::Prepared, Query::Simple] };
        options.finish();
        Self { rounds, times, only, counts, besides, queries }
    }

    /// Those that are compared with each other, by turns.
    fn group<'a>(
        &self,
        all: &'a [Contender],
        face: Face,
        query: Query,
        count: usize,
    ) -> Vec<Cell<'a>> {
        let title = format!("{count} {face}, {query}");
        let is_wanted = |who: &&Contender| {
            let name = format!("{title}, {} {}", who.name, who.setting);
            who.face == face && self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
        };
        let all: Vec<_> = all.iter().filter(is_wanted).collect();
        let entrant = |who: &&'a Contender| {
            let (who, times) = (*who, self.times);
            Entrant::new(Kind::Peer, who.name, move || (who.take_turns)(count, query, times))
        };
        let entrants = all.iter().map(entrant).collect();
        let records = by_turns(&title, Rounds::exactly(self.rounds), entrants, || ());
        let cells = all.iter().zip(records);
        cells.map(|(&who, record)| Cell { who, count, query, record }).collect()
    }
}

fn main() {
    let plan = Plan::read();
    let server = Postgres::start(&["max_connections=250"]);
    let runtime = workers(2);
    let all = pools::everybody(&server.dsn(), &runtime, &plan.besides);
    let mut groups = Vec::new();
    for face in [Face::Tasks, Face::Threads] {
        for &query in &plan.queries {
            groups.extend(plan.counts.iter().map(|count| plan.group(&all, face, query, *count)));
        }
    }
    groups.retain(|cells| !cells.is_empty());
    let version = server.ask("SHOW server_version");
    say!("{}", report::report(&plan, &version, &groups));
}
