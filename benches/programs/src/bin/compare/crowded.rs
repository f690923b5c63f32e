//! W2 and W3: threads that borrow side by side, with more objects than threads.

use caliburn_benches::harness::*;
use caliburn_benches::pools::{ForThreads, ThreadArena};
use std::time::Duration;

/// Fewer slices than this of the unusual kind say nothing.
const ENOUGH: usize = 3;

const OWN: &str = "floor: two RMW, a line each";
const OWN_STORE: &str = "floor: RMW and store, a line each";

/// Where nobody wants the same line it does not matter whether the threads meet.
fn shares_nothing(who: Who) -> bool {
    [OWN, OWN_STORE].contains(&who.name)
}

struct Side {
    threads: usize,
    objects: usize,
    slice: Duration,
    /// How often a slice is repeated in which the threads did not meet.
    attempts: usize,
}

impl<'a> ThreadArena<'a> for Side {
    type Figure = Crowd;

    fn slices<P: ForThreads + 'a>(
        &self,
        make: impl Fn(usize) -> P + 'a,
    ) -> impl FnMut() -> Crowd + 'a {
        let Self { threads, objects, slice, attempts } = *self;
        let pool = make(objects);
        move || crowd(threads, slice, attempts, |_| pool.trip())
    }
}

/// A slice, and what the floor took beside it.
type Slice = Outcome<Crowd, f64>;

fn ratio(slice: &Slice) -> f64 {
    slice.figure.cpu / ((slice.before + slice.after) / 2.0)
}

fn measure(key: &'static str, title: &str, side: &Side, rounds: Rounds) -> Sheet {
    let Side { threads, slice, attempts, .. } = *side;
    let lines: Vec<Line> = (0..threads).map(|_| Line::default()).collect();
    let shared = Line::default();
    let floor = || crowd(threads, slice, 1, |n| lines[n].two_rmw(0));
    let mut entrants = vec![
        Entrant::new(Kind::Floor, OWN, floor),
        Entrant::new(Kind::Floor, OWN_STORE, || {
            crowd(threads, slice, 1, |n| lines[n].rmw_and_store())
        }),
        Entrant::new(Kind::Floor, "floor: two RMW, one line for all", || {
            crowd(threads, slice, attempts, |n| shared.two_rmw(n as u64))
        }),
    ];
    entrants.extend(side.everybody());
    let records = by_turns(key, rounds, entrants, || floor().cpu);
    let far = |slice: &Slice| slice.figure.distance == Distance::Far;
    let all = || records.iter().flat_map(|record| &record.outcomes);
    // A machine may have its cores far apart for all of the time, and then has one kind of figures,
    // too.
    let usually_far = 2 * all().filter(|slice| far(slice)).count() > all().count();
    let unusual = |slice: &&Slice| far(slice) != usually_far;
    let is_mixed = all().filter(unusual).count() >= ENOUGH;
    let (title, other) = match usually_far {
        true => (format!("{title}, cores far apart"), "while near, x floor"),
        false => (title.to_owned(), "while far apart, x floor"),
    };
    let sheet = Sheet::new(key, title).column("CPU, ns", Better::Neither, Show::Median);
    let mut sheet = sheet.column(RATIO, Better::Less, Show::Quartiles);
    if is_mixed {
        sheet = sheet.column(other, Better::Less, Show::Quartiles);
    }
    sheet = sheet.column("rounds that count", Better::Neither, Show::Count);
    for record in &records {
        let counts = |slice: &&Slice| slice.figure.has_met() || shares_nothing(record.who);
        let counted = record.outcomes.iter().filter(counts);
        let (other, usual): (Vec<_>, Vec<_>) = counted.partition(unusual);
        let ratios = |slices: &[&Slice]| slices.iter().map(|slice| ratio(slice)).collect();
        let cpu = usual.iter().map(|slice: &&Slice| slice.figure.cpu).collect();
        let mut figures = vec![cpu, ratios(&usual)];
        if is_mixed {
            figures.push(if other.len() < ENOUGH { Vec::new() } else { ratios(&other) });
        }
        figures.push(vec![(usual.len() + other.len()) as f64]);
        sheet.row(record.who, figures);
    }
    sheet
}

/// W2.
pub(crate) fn two(length: Length) -> Sheet {
    let slice = length.pick(ms(2), ms(1));
    let side = Side { threads: 2, objects: 16, slice, attempts: 20 };
    measure("W2", "two threads, 16 objects", &side, Rounds::new(length, 41, 25))
}

/// W3.
pub(crate) fn sixteen(length: Length) -> Sheet {
    let slice = length.pick(ms(24), ms(12));
    let side = Side { threads: 16, objects: 64, slice, attempts: 4 };
    measure("W3", "16 threads, 64 objects", &side, Rounds::new(length, 21, 30))
}
