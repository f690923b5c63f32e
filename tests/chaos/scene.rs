//! What happens, to whatever server.

use super::common::proxy::{Mode, Proxy};
use super::common::servers::process::loopback;
use super::common::{PLENTY, eventually};
use super::places::Place;
use caliburn::{Builder, Manager, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::task::LocalSet;

const BORROWERS: u64 = 24;
const SIZE: usize = 8;
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
pub(crate) struct Scene {
    lasts: Duration,
}

impl Scene {
    pub(crate) fn short() -> Self {
        Self { lasts: Duration::from_secs(6) }
    }

    pub(crate) fn long() -> Self {
        Self { lasts: Duration::from_secs(120) }
    }
}

/// Chance that is the same each time.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

#[derive(Default)]
struct Tally {
    right: AtomicUsize,
    wrong: AtomicUsize,
    failed: AtomicUsize,
    given_up: AtomicUsize,
    without: AtomicUsize,
}

impl Tally {
    fn note(&self, answer: Option<u64>, number: u64) {
        let count = match answer {
            Some(answer) if answer == number => &self.right,
            Some(_) => &self.wrong,
            None => &self.failed,
        };
        count.fetch_add(1, SeqCst);
    }
}

fn settle<M: Manager>(builder: Builder<M>) -> Pool<M> {
    let limit = Duration::from_secs(1);
    let builder = builder.max_size(SIZE).min_size(2).checkout_timeout(2 * limit);
    let builder = builder.connect_timeout(limit).reset_timeout(limit).close_timeout(limit);
    builder.build().unwrap()
}

/// Injures the server until time is up; the most sessions that it ever had.
fn injure<P: Place>(place: &mut P, proxy: &Proxy, until: Instant) -> usize {
    let (mut chance, mut most) = (Chance::new(99), 0);
    while Instant::now() < until {
        thread::sleep(MILLISECOND * (20 + chance.below(200) as u32));
        most = most.max(place.sessions());
        match chance.below(6) {
            0 => drop(proxy.cut()),
            1 => drop(proxy.cut_where(|link| link % 3 == 0)),
            2 => {
                place.seat().freeze();
                thread::sleep(MILLISECOND * (50 + chance.below(400) as u32));
                place.seat().thaw();
            }
            3 => {
                place.seat().kill();
                thread::sleep(MILLISECOND * (chance.below(300) as u32));
                place.restart();
            }
            4 => {
                proxy.set(Mode::Delay(MILLISECOND * 20));
                thread::sleep(MILLISECOND * (50 + chance.below(200) as u32));
                proxy.set(Mode::Pass);
            }
            _ => {}
        }
    }
    most
}

/// All is well again, and nothing is lost or left.
fn take_stock<P: Place, M: Manager>(
    place: &mut P,
    pool: &Pool<M>,
    tally: &Tally,
    most: usize,
    mut ask: impl FnMut(&mut M::Connection, u64) -> Option<u64>,
) {
    let Tally { right, wrong, failed, given_up, without } = tally;
    println!(
        "{right:?} right, {wrong:?} wrong, {failed:?} failed, {given_up:?} given up, \
         {without:?} without a connection; at most {most} sessions; {}",
        pool.stats()
    );
    assert_eq!(wrong.load(SeqCst), 0, "answers of other requests");
    assert!(right.load(SeqCst) > 100, "hardly any answers");
    eventually("the accounts agree", || {
        let stats = pool.stats();
        let slots = stats.idle + stats.lent + stats.vacant + stats.retired;
        slots == SIZE && stats.lent == 0 && stats.checkouts == stats.returns
    });
    assert!(most <= SIZE + P::ON_THEIR_WAY_OUT, "{most} sessions at once");
    // What died is not lent, as it was heard of half a second ago.
    thread::sleep(500 * MILLISECOND);
    let mut all: Vec<_> = (0..SIZE).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    let answers: Vec<_> = all.iter_mut().enumerate().map(|(n, conn)| ask(conn, n as u64)).collect();
    assert_eq!(answers, (0..SIZE as u64).map(Some).collect::<Vec<_>>(), "{}", pool.stats());
    eventually("the server has the pool's sessions and no others", || place.sessions() == SIZE);
    drop(all);
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    eventually("no session is left", || place.sessions() == 0);
}

pub(crate) fn tasks<P: Place>(scene: Scene) {
    let mut place = P::start();
    let proxy = Proxy::to(loopback(place.seat().port));
    let address = proxy.address();
    let pool = settle(Pool::builder_async(place.for_tasks(address)));
    let (tally, until) = (Arc::new(Tally::default()), Instant::now() + scene.lasts);
    let borrowers = {
        let (pool, tally) = (pool.clone(), Arc::clone(&tally));
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = LocalSet::new();
            for borrower in 0..BORROWERS {
                local.spawn_local(borrow::<P>(pool.clone(), Arc::clone(&tally), borrower, until));
            }
            runtime.block_on(local);
            runtime
        })
    };
    let most = injure(&mut place, &proxy, until);
    let last_runtime = borrowers.join().unwrap();
    drop(last_runtime);
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    take_stock(&mut place, &pool, &tally, most, |conn, number| {
        runtime.block_on(P::ask_async(conn, number, Duration::ZERO))
    });
}

async fn borrow<P: Place>(pool: Pool<P::Async>, tally: Arc<Tally>, borrower: u64, until: Instant) {
    let mut chance = Chance::new(borrower + 1);
    let mut number = borrower << 32;
    while Instant::now() < until {
        let Ok(mut conn) = pool.get_async().await else {
            tally.without.fetch_add(1, SeqCst);
            continue;
        };
        for _ in 0..1 + chance.below(3) {
            number += 1;
            if chance.below(8) == 0 {
                P::begin_async(&mut conn).await;
            }
            let pause = MILLISECOND * chance.below(4) as u32;
            let asked = P::ask_async(&mut conn, number, pause);
            if chance.below(4) > 0 {
                tally.note(asked.await, number);
                continue;
            }
            let limit = Duration::from_micros(chance.below(4_000));
            match tokio::time::timeout(limit, asked).await {
                Ok(answer) => tally.note(answer, number),
                Err(_) => {
                    tally.given_up.fetch_add(1, SeqCst);
                }
            }
        }
    }
}

pub(crate) fn threads<P: Place>(scene: Scene) {
    let mut place = P::start();
    let proxy = Proxy::to(loopback(place.seat().port));
    let address = proxy.address();
    let pool = settle(Pool::builder(place.blocking(address)));
    let (tally, until) = (Tally::default(), Instant::now() + scene.lasts);
    let most = thread::scope(|scope| {
        for borrower in 0..BORROWERS {
            let (pool, tally) = (&pool, &tally);
            scope.spawn(move || {
                let mut chance = Chance::new(borrower + 1);
                let mut number = borrower << 32;
                while Instant::now() < until {
                    let Ok(mut conn) = pool.get() else {
                        tally.without.fetch_add(1, SeqCst);
                        continue;
                    };
                    for _ in 0..1 + chance.below(3) {
                        number += 1;
                        if chance.below(8) == 0 {
                            P::begin(&mut conn);
                        }
                        let pause = MILLISECOND * chance.below(4) as u32;
                        tally.note(P::ask(&mut conn, number, pause), number);
                    }
                }
            });
        }
        injure(&mut place, &proxy, until)
    });
    take_stock(&mut place, &pool, &tally, most, |conn, number| {
        P::ask(conn, number, Duration::ZERO)
    });
}
