//! The model checker must be alive: a broken hand-over has to turn red.

use super::model;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};

fn hand_over(publish: Ordering) {
    let shared = Arc::new((AtomicU64::new(0), UnsafeCell::new(0)));
    let theirs = Arc::clone(&shared);
    let giver = loom::thread::spawn(move || {
        theirs.1.with_mut(|value| unsafe { *value = 1 });
        theirs.0.fetch_or(1, publish);
    });
    if shared.0.fetch_and(!1, Ordering::Acquire) & 1 != 0 {
        shared.1.with_mut(|value| unsafe { *value += 1 });
    }
    giver.join().unwrap();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn the_canary_dies_of_a_relaxed_publish() {
    model(|| hand_over(Ordering::Relaxed));
}

#[test]
fn the_canary_lives_with_a_release() {
    const { assert!(crate::sync::MODEL, "the models must see the shrunk, modelled code") };
    assert_eq!(crate::sync::SLOT_BITS, 2, "three slots must span two words");
    model(|| hand_over(Ordering::Release));
}
