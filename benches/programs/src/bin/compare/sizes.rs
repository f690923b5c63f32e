//! W9: whether a checkout takes longer in a large pool. One thread, `try_get`: all connections are
//! idle, or none is, when every word of the bitmap is looked at in vain.

use caliburn_benches::harness::*;
use caliburn_benches::pools::pool;

const TRIPS: u32 = 20_000;

fn entrant<'a>(name: &'static str, size: usize, is_exhausted: bool) -> Entrant<'a, f64> {
    let pool = pool(size);
    let lent = if is_exhausted { size } else { 0 };
    let lent: Vec<_> = (0..lent).map(|_| pool.try_get().expect("idle")).collect();
    Entrant::new(Kind::Ours, name, move || {
        let _lent = &lent;
        alone(TRIPS, || assert_eq!(pool.try_get().is_err(), is_exhausted))
    })
}

pub(crate) fn flat(length: Length) -> Sheet {
    let line = Line::default();
    let entrants = vec![
        entrant("8 slots, all idle", 8, false),
        entrant("64 slots, all idle", 64, false),
        entrant("512 slots, all idle", 512, false),
        entrant("4,096 slots, all idle", 4096, false),
        entrant("4,096 slots, none idle", 4096, true),
    ];
    let floor = || alone(TRIPS, || line.two_rmw(0));
    let records = by_turns("W9", Rounds::new(length, 101, 8), entrants, floor);
    Sheet::of("W9", "try_get by the number of slots, one thread", &records).with(&[
        ("ns", Better::Neither, Show::Quartiles, &|outcome| outcome.figure),
        (RATIO, Better::Neither, Show::Quartiles, &Outcome::ratio),
    ])
}
