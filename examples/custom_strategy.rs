//! A health strategy of one's own, side by side with one of caliburn's.
//!
//! `cargo run --example custom_strategy`

use caliburn::health::{ConnectionInfo, PingOnBorrow};
use caliburn::{BlockingManager, Deadline, EvictionCause, HealthStrategy, Manager, Pool, Verdict};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Stands for a driver: its connections are numbers.
#[derive(Default)]
struct Numbers(AtomicU32);

impl Manager for Numbers {
    type Connection = u32;
    type Error = Infallible;
}

impl BlockingManager for Numbers {
    fn connect(&self, _: &Deadline) -> Result<u32, Infallible> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        println!("  opened  connection {number}");
        Ok(number)
    }

    fn ping(&self, number: &mut u32, _: &Deadline) -> Result<(), Infallible> {
        println!("  pinged  connection {number}");
        Ok(())
    }

    fn close(&self, number: u32, _: &Deadline) {
        println!("  closed  connection {number}");
    }
}

/// Closes a connection after its third use: the server behind it leaks a little with each.
struct ThreeUses;

impl HealthStrategy for ThreeUses {
    fn on_return(&self, info: &ConnectionInfo) -> Verdict {
        if info.uses() >= 3 { Verdict::Evict(EvictionCause::Strategy) } else { Verdict::Keep }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In a tuple all strategies are asked, and the worst verdict wins.
    let pool = Pool::builder(Numbers::default())
        .max_size(1)
        .health((PingOnBorrow::always(), ThreeUses))
        .build()?;
    for _ in 0..7 {
        let conn = pool.get()?;
        println!("using     connection {}", *conn);
    }
    println!("{}", pool.close_within(Duration::from_secs(5)));
    let stats = pool.stats();
    println!("{stats}");
    let evicted = stats.evictions.by(EvictionCause::Strategy);
    println!("evicted by our own strategy: {evicted}");
    assert_eq!(evicted, 2);
    Ok(())
}
