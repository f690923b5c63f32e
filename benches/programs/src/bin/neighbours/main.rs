//! What pools cost each other, and how their upkeep grows.

mod growth;
mod limits;
mod many;

use caliburn_benches::harness::*;

const ABOUT: &str = "\
What pools cost each other. A minute and a half.

Limits: a task waits for the one connection of a pool, which another borrower keeps; its limit is
1 ms. Measured is how much later it is told, while in another pool of the process a strategy, a
waker or a spawner blocks for a second, or 16,384 connections are closed: because the limit is
lowered, or because they have been idle for too long.
Size: what a connection costs to open and to close, in pools of 4,096 and of 65,536: CPU time, the
best of three.
Many pools: the CPU time of a process with 10,000 idle pools of four, and of one with a busy pool
among them, whose borrower comes each millisecond and leaves work behind.";

fn main() {
    let length = Length::read(ABOUT);
    let mut report = Report::default();
    let progress = Progress::new(90);
    progress.say("limits");
    limits::rows(&mut report, length);
    progress.advance(20);
    progress.say("size");
    growth::rows(&mut report, length);
    progress.advance(25);
    progress.say("many pools");
    many::idle_pools(&mut report, length);
    drop(progress);
    report.print();
}
