//! What pools cost each other, and how their upkeep grows: `cargo bench --bench neighbours`, a
//! minute and a half; `-- --quick` for less.
//!
//! *Limits.* A task waits for the one connection of a pool, which another borrower keeps; its limit
//! is 1 ms. Measured is how much later it is told, while in another pool of the process a strategy,
//! a waker or a spawner blocks for a second, or 16,384 connections are closed: because the limit is
//! lowered, or because they have been idle for too long.
//!
//! *Threads.* 2,000 connections that need a reset come back at once to a driver that blocks.
//!
//! *Many pools.* The CPU time of a process with 10,000 idle pools of four, and of one with a busy
//! pool among them, whose borrower comes each millisecond and leaves work behind.
//!
//! *Size.* What a connection costs to open and to close, in pools of 4,096 and of 65,536: CPU time
//! of the process, the best of three pools.

#[path = "neighbours/growth.rs"]
mod growth;
mod harness;
#[path = "neighbours/limits.rs"]
mod limits;
#[path = "neighbours/many.rs"]
mod many;

use harness::figures::conditions;
use harness::length::Length;
use harness::table::Table;

fn main() {
    let Some(length) = Length::asked() else { return };
    let mut table = Table::new(&["what", "measured", "asked"]);
    limits::rows(&mut table, length);
    many::threads(&mut table, length);
    growth::rows(&mut table, length);
    many::idle_pools(&mut table, length);
    println!("{}\n\n{table}", conditions());
}
