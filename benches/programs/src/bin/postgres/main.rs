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
use clap::Parser;
use pools::{CONTROL, Contender, LIFO, Query};
use std::time::Duration;

/// Borrow, SELECT 1, give back: caliburn, deadpool-postgres and bb8-postgres from tasks, caliburn
/// and r2d2_postgres from threads, in short slices of time by turns. Needs PostgreSQL (initdb,
/// postgres, psql).
#[derive(Parser)]
struct Options {
    /// How long each pool is measured, for each query and number of borrowers
    #[arg(long, default_value = "6")]
    seconds: u64,
    /// Only what has this in its name: a pool, 'tasks', 'threads', 'query_one' ...
    #[arg(long, default_value = "")]
    only: String,
    /// How many borrowers at once
    #[arg(long, value_delimiter = ',', default_value = "2,16,64")]
    borrowers: Vec<usize>,
    /// caliburn a second time, as it is: what it differs from itself by is chance
    #[arg(long)]
    control: bool,
    /// deadpool a second time, lending what came back last, as caliburn does
    #[arg(long)]
    lifo: bool,
    /// Instead: statements that the pool keeps (caliburn and deadpool)
    #[arg(long)]
    cached: bool,
    #[command(flatten)]
    length: Length,
}

impl Options {
    /// For how many rounds, and for how long in each.
    fn times(&self) -> (usize, Times) {
        let measured = ms(400);
        let rounds = Duration::from_secs(self.seconds).div_duration_f64(measured).ceil() as usize;
        let full = (rounds, Times { warm_up: ms(100), measured });
        self.length.pick(full, (2, Times { warm_up: ms(5), measured: ms(20) }))
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
            who.face == face && name.contains(&self.only)
        };
        let (rounds, times) = self.times();
        let all: Vec<_> = all.iter().filter(is_wanted).collect();
        let entrant = |who: &&'a Contender| {
            let who = *who;
            Entrant::new(Kind::Peer, who.name, move || (who.take_turns)(count, query, times))
        };
        let entrants = all.iter().map(entrant).collect();
        let records = by_turns(&title, Rounds::exactly(rounds), entrants, || ());
        let cells = all.iter().zip(records);
        cells.map(|(&who, record)| Cell { who, count, query, record }).collect()
    }
}

fn main() {
    let options = Options::parse();
    let server = Postgres::start(&["max_connections=250"]);
    let runtime = workers(2);
    let besides = [(options.control, CONTROL), (options.lifo, LIFO)];
    let besides: Vec<_> = besides.iter().filter(|it| it.0).map(|it| it.1).collect();
    let all = pools::everybody(&server.dsn(), &runtime, &besides);
    let queries =
        if options.cached { vec![Query::Cached] } else { vec![Query::Prepared, Query::Simple] };
    let mut groups = Vec::new();
    for face in [Face::Tasks, Face::Threads] {
        for &query in &queries {
            let group = |count: &usize| options.group(&all, face, query, *count);
            groups.extend(options.borrowers.iter().map(group));
        }
    }
    groups.retain(|cells| !cells.is_empty());
    let version = server.ask("SHOW server_version");
    say!("{}", report::report(options.times(), &version, &groups));
}
