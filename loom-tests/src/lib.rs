//! The models of `src/raw`: the very files of the crate, compiled against loom.
//!
//! Run `cargo test` in this directory; `LOOM_MAX_PREEMPTIONS` (default 2) sets how hard it looks.
//! `./mutants.sh` plants one mistake per rule and expects a model to turn red for each.

#[cfg(not(all(loom, feature = "loom")))]
compile_error!(
    "the models need `--cfg loom`: run cargo in loom-tests/, without RUSTFLAGS of your own"
);

#[path = "../../src/no_unwind.rs"]
mod no_unwind;
#[path = "../../src/raw/mod.rs"]
#[allow(dead_code, rustdoc::all)]
mod raw;
#[path = "../../src/sync.rs"]
#[allow(dead_code, unused_imports)]
mod sync;

#[cfg(test)]
mod models;
