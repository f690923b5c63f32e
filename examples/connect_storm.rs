//! Forty pools start at once, as after a deploy: what their server sees, and when they are whole.
//!
//! `cargo run --example connect_storm`

use caliburn::{BlockingManager, ConnectGovernor, Deadline, Manager, Pool};
use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const POOLS: usize = 40;
const SIZE: usize = 8;
/// How long the server takes over a connect, however many there are.
const CONNECT: Duration = Duration::from_millis(20);

/// What the server has seen.
#[derive(Default)]
struct Server {
    connecting: AtomicUsize,
    most: AtomicUsize,
    /// When the first connection of each pool was open.
    firsts: Mutex<Vec<Instant>>,
}

/// Stands for the driver of one pool.
struct Driver {
    server: Arc<Server>,
    opened: AtomicUsize,
}

impl Manager for Driver {
    type Connection = ();
    type Error = Infallible;
}

impl BlockingManager for Driver {
    fn connect(&self, _: &Deadline) -> Result<(), Infallible> {
        let connecting = self.server.connecting.fetch_add(1, Ordering::SeqCst) + 1;
        self.server.most.fetch_max(connecting, Ordering::SeqCst);
        thread::sleep(CONNECT);
        self.server.connecting.fetch_sub(1, Ordering::SeqCst);
        if self.opened.fetch_add(1, Ordering::SeqCst) == 0 {
            self.server.firsts.lock().expect("no thread panics with it").push(Instant::now());
        }
        Ok(())
    }

    fn ping(&self, (): &mut (), _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

fn storm(what: &str, governor: Option<&ConnectGovernor>) -> Result<(), Box<dyn Error>> {
    let server = Arc::new(Server::default());
    let begun = Instant::now();
    let pools: Vec<_> = (0..POOLS)
        .map(|_| {
            let driver = Driver { server: Arc::clone(&server), opened: AtomicUsize::new(0) };
            let mut builder = Pool::builder(driver).max_size(SIZE).min_size(SIZE);
            if let Some(governor) = governor {
                builder = builder.connect_governor(governor);
            }
            builder.build()
        })
        .collect::<Result<_, _>>()?;
    for pool in &pools {
        pool.ready(Duration::from_secs(60))?;
    }
    let whole = begun.elapsed();
    let firsts = server.firsts.lock().expect("no thread panics with it");
    let waits = firsts.iter().map(|first| first.duration_since(begun));
    let (mean, last) = (waits.clone().sum::<Duration>() / POOLS as u32, waits.max());
    println!(
        "{what:24} {:3} connects at once; all {} open after {whole:.0?}; first of each pool after \
         {mean:.0?}, the last {:.0?}",
        server.most.load(Ordering::SeqCst),
        POOLS * SIZE,
        last.unwrap_or_default(),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    storm("no governor", None)?;
    let eight = ConnectGovernor::builder().max_concurrent(8).shared("db-1")?;
    storm("max_concurrent(8)", Some(&eight))?;
    let paced = ConnectGovernor::builder().per_second(200).shared("db-2")?;
    storm("per_second(200)", Some(&paced))?;
    println!("{:?}", eight.stats());
    let rounds = u32::try_from(POOLS * SIZE / 8)?;
    println!("at best, eight at once take {:.0?}", CONNECT * rounds);
    Ok(())
}
