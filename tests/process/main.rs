//! Forks, threads, memory and CPU: what concerns the whole process. One test at a time.

extern crate caliburn_testing as common;

mod down_cpu;
mod faults_foreign;
mod faults_housekeeping;
mod faults_large;
mod fork;
mod fork_servers;
mod governor;
mod hostile_memory;
mod idle_cpu;
mod memory;
mod objects;
mod redis_look;
mod redis_memory;
mod reserve;
mod router;
mod threads;
mod working_directory;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Taken by every test here: what the others do would count as well.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
