//! Operations on the public face of a pool, beside the models that the property tests have.
#![no_main]

extern crate caliburn_testing as common;

#[allow(dead_code, reason = "the property tests use more of it")]
#[path = "../../tests/pool/model/mod.rs"]
mod model;

use libfuzzer_sys::{arbitrary, fuzz_target};
use model::spawners::{self, Way};
use model::{Op, Setup};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    /// One in eight tries spawners: those runs take longer, as other threads take part.
    twin: u8,
    setup: (u8, u8, u8, u8),
    ops: Vec<(u8, u8)>,
}

fuzz_target!(|input: Input| {
    let (capacity, max_size, min_size, kind) = input.setup;
    let setup = Setup::of(capacity, max_size, min_size, kind);
    let ops = input.ops.iter().take(200);
    if input.twin.is_multiple_of(8) {
        let ops: Vec<_> = ops.map(|(kind, n)| spawners::Op::of(*kind, *n)).collect();
        spawners::run(setup, Way::of(input.twin / 8), &ops);
    } else {
        let ops: Vec<_> = ops.map(|(kind, n)| Op::of(*kind, *n)).collect();
        model::run(setup, &ops);
    }
});
