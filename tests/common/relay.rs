//! A path to a server that counts the round trips on it.

use super::proxy::Listener;
use super::{PLENTY, eventually};
use caliburn::{Manager, Pool, PooledConnection};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// Ends with its links when it is dropped.
pub struct Relay {
    listener: Listener,
    trips: Arc<AtomicUsize>,
    links: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Self {
        let (trips, links) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (counted, kept) = (trips.clone(), links.clone());
        let listener = Listener::bind(move |client| {
            let Ok(server) = TcpStream::connect(server) else { return };
            let ends = [&client, &server].map(|end| end.try_clone().unwrap());
            kept.lock().unwrap().extend(ends);
            link(client, server, counted.clone());
        });
        Self { listener, trips, links }
    }

    pub fn port(&self) -> u16 {
        self.listener.address.port()
    }

    /// How many more round trips it takes to do something in many loans of a pool of one than in
    /// one.
    pub fn extra<M: Manager>(
        &self,
        pool: &Pool<M>,
        what: &str,
        deed: impl Fn(&mut PooledConnection<M>),
    ) -> usize {
        const LOANS: usize = 20;
        let get = || pool.get_timeout(PLENTY).unwrap();
        let at_rest = || eventually("it is home", || pool.stats().idle == 1);
        // Statements are prepared.
        deed(&mut get());
        at_rest();
        let before = self.round_trips();
        let mut held = get();
        (0..LOANS).for_each(|_| deed(&mut held));
        drop(held);
        at_rest();
        let in_one = self.round_trips() - before;
        for _ in 0..LOANS {
            deed(&mut get());
            at_rest();
        }
        let in_many = self.round_trips() - before - in_one;
        let each = in_one / LOANS;
        println!("{what}: {each} round trips, {} more in {LOANS} loans", in_many.abs_diff(in_one));
        in_many.saturating_sub(in_one)
    }

    /// How often a client has said something after the server had answered, and at the start.
    pub fn round_trips(&self) -> usize {
        self.trips.load(SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.close();
        for end in self.links.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn link(client: TcpStream, server: TcpStream, trips: Arc<AtomicUsize>) {
    let [to_client, to_server] = [&client, &server].map(|end| end.try_clone().unwrap());
    to_client.set_nodelay(true).unwrap();
    to_server.set_nodelay(true).unwrap();
    let has_answered = Arc::new(AtomicBool::new(true));
    let asks = has_answered.clone();
    thread::spawn(move || {
        pump(client, to_server, || {
            if asks.swap(false, SeqCst) {
                trips.fetch_add(1, SeqCst);
            }
        });
    });
    thread::spawn(move || pump(server, to_client, || has_answered.store(true, SeqCst)));
}

/// Notes what passes before it is passed on, so that an answer finds its question counted.
fn pump(mut from: TcpStream, mut to: TcpStream, note: impl Fn()) {
    let mut bytes = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        note();
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
