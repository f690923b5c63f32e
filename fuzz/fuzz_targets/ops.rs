//! Operations on the public face of a pool, beside the model that the property tests have.
#![no_main]

#[path = "../../tests/common/fake.rs"]
mod common;
#[path = "../../tests/common/model/mod.rs"]
mod model;

use libfuzzer_sys::{arbitrary, fuzz_target};
use model::{Op, Setup};

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    setup: (u8, u8, u8, u8),
    ops: Vec<(u8, u8)>,
}

fuzz_target!(|input: Input| {
    let (capacity, max_size, min_size, kind) = input.setup;
    let ops: Vec<Op> = input.ops.iter().take(200).map(|(kind, n)| Op::of(*kind, *n)).collect();
    model::run(Setup::of(capacity, max_size, min_size, kind), &ops);
});
