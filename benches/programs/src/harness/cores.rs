//! The two cores on which threads meet. Left to itself, the system may take a long while to give
//! each of two threads a core of its own, above all if others are at work.

use core_affinity::CoreId;
use std::sync::LazyLock;

static CORES: LazyLock<Vec<CoreId>> = LazyLock::new(|| {
    let mut cores = core_affinity::get_core_ids().unwrap_or_default();
    assert!(!cores.is_empty(), "the system tells its cores");
    cores.truncate(2);
    cores
});

/// How many there are.
pub(super) fn count() -> usize {
    CORES.len()
}

/// Keeps this thread, and those that it starts, on one of the two by turns. To be called on threads
/// that are made for a slice and end with it.
pub fn keep_to_core(number: usize) {
    core_affinity::set_for_current(CORES[number % CORES.len()]);
}
