//! caliburn beside other pools and beside the physical floor: everybody in one program, by turns.

pub mod burst;
pub mod contest;
pub mod cores;
pub mod crowded;
pub mod effort;
pub mod floor;
pub mod handoff;
pub mod near;
pub mod object;
pub mod plots;
pub mod sheet;
pub mod short_tasks;
pub mod short_threads;
pub mod slices;
pub mod tasks;
pub mod threads;
pub mod uncontended;
pub mod waits;
pub mod work;

/// Whoever takes part, by the names of their packages.
pub const POOLS: [&str; 13] = [
    "caliburn",
    "r2d2",
    "deadpool",
    "bb8",
    "mobc",
    "sqlx-core",
    "lockfree-object-pool",
    "object-pool",
    "opool",
    "sharded-slab",
    "regex-automata",
    "crossbeam-queue",
    "tokio",
];
