//! A governor that several pools share: how many connects it lets through, whose turn it is, and
//! that no place and no turn is lost, whatever comes of a connect.

mod changes;
mod counts;
mod ends;
mod holds;
mod limits;
mod storms;

use crate::common::*;
use caliburn::{
    BlockingManager, Builder, Clock, ConnectGovernor, Deadline, Manager, MockClock, Pool,
};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A governor for which time stands still: a connect never takes long, and nothing but the end of
/// one makes room for another.
fn timeless(max_concurrent: usize) -> (ConnectGovernor, MockClock) {
    let (clock, hand) = Clock::mock();
    let builder = ConnectGovernor::builder().max_concurrent(max_concurrent);
    (builder.clock(clock).build().unwrap(), hand)
}

/// A pool to be that is maintained by hand, and has a place for one connect only if it is told so.
fn by_hand(fake: &Fake, governor: &ConnectGovernor) -> (Builder<Fake>, MockClock) {
    let (clock, hand) = Clock::mock();
    let builder = Pool::builder(fake.clone()).manual_maintenance().clock(clock);
    (builder.connect_governor(governor).idle_timeout(None), hand)
}

/// Takes one place of the governor for as long as it lives.
struct Occupant(Pool<Fake>, Fake);

impl Occupant {
    fn new(governor: &ConnectGovernor) -> Self {
        let before = governor.stats().connecting;
        let fake = Fake::new();
        fake.on_connect(Mode::Hang);
        let builder = Pool::builder(fake.clone()).max_size(1).min_size(1);
        let pool = builder.connect_governor(governor).build().unwrap();
        eventually("it connects", || fake.books().attempts.load(SeqCst) == 1);
        assert_eq!(governor.stats().connecting, before + 1);
        Self(pool, fake)
    }

    /// Its connect ends.
    fn leave(self) {
        self.1.open_gate();
        eventually("it is open", || self.0.stats().size == 1);
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        self.1.open_gate();
    }
}

/// A server that lets a connect through for each ticket.
#[derive(Debug, Default)]
struct Server {
    door: Mutex<Door>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Door {
    tickets: usize,
    inside: usize,
    /// The most that were ever inside at once.
    most: usize,
    /// Which pools came, in order.
    came: Vec<usize>,
}

impl Server {
    fn door<T>(&self, look: impl FnOnce(&mut Door) -> T) -> T {
        look(&mut self.door.lock().unwrap())
    }

    fn let_in(&self, tickets: usize) {
        self.door(|door| door.tickets = door.tickets.saturating_add(tickets));
        self.bell.notify_all();
    }

    fn came(&self) -> Vec<usize> {
        self.door(|door| door.came.clone())
    }
}

/// The manager of the pool of that number.
struct Guest(Arc<Server>, usize);

impl Manager for Guest {
    type Connection = ();
    type Error = std::fmt::Error;
}

impl BlockingManager for Guest {
    fn connect(&self, _: &Deadline) -> Result<(), std::fmt::Error> {
        let mut door = self.0.door.lock().unwrap();
        door.came.push(self.1);
        door.inside += 1;
        door.most = door.most.max(door.inside);
        while door.tickets == 0 {
            door = self.0.bell.wait(door).unwrap();
        }
        door.tickets -= 1;
        door.inside -= 1;
        Ok(())
    }

    fn ping(&self, (): &mut (), _: &Deadline) -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

/// A pool of `size`, which opens all its connections at the start.
fn guest(
    server: &Arc<Server>,
    number: usize,
    size: usize,
    governor: Option<&ConnectGovernor>,
) -> Pool<Guest> {
    let builder = Pool::builder(Guest(Arc::clone(server), number)).max_size(size).min_size(size);
    let builder = governor.into_iter().fold(builder, |builder, one| builder.connect_governor(one));
    builder.build().unwrap()
}

/// Waits until nothing is under way, and none waits.
#[track_caller]
fn assert_at_rest(governor: &ConnectGovernor) {
    let is_at_rest = || {
        let stats = governor.stats();
        stats.connecting + stats.waiting == 0
    };
    assert!(is_soon(PLENTY, is_at_rest), "{:?}", governor.stats());
}

/// A pool that comes now is not held.
#[track_caller]
fn assert_free(governor: &ConnectGovernor) {
    assert_at_rest(governor);
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(1).min_size(1).wait_ready(PLENTY);
    let pool = builder.connect_governor(governor).build().unwrap();
    assert_eq!(pool.stats().connects_held, 0);
}
