//! Panics that are meant to be are not worth a line of output; all others are counted.

use std::panic::panic_any;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub const ON_PURPOSE: &str = "on purpose";

/// What a test, a fake or tokio says when it is meant to panic, or begins with.
const EXPECTED: [&str; 7] = [
    ON_PURPOSE,
    "chance has it",
    "the fake panics",
    "a fake destructor panics",
    "has_broken panics",
    "there is no reactor running",
    "Cannot start a runtime from within a runtime",
];

static UNEXPECTED: AtomicUsize = AtomicUsize::new(0);

/// From now on, expected panics say nothing, on whatever thread.
pub fn expect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let message = payload.downcast_ref::<&str>().copied();
            let message = message.or(payload.downcast_ref::<String>().map(String::as_str));
            let begins = |message: &str| EXPECTED.iter().any(|it| message.starts_with(it));
            if !message.is_some_and(begins) {
                UNEXPECTED.fetch_add(1, SeqCst);
                usual(info);
            }
        }));
    });
}

/// So many panics that no test meant, on whatever thread, since the first call.
pub fn unexpected_panics() -> usize {
    expect_panics();
    UNEXPECTED.load(SeqCst)
}

/// Panics, without a word on the terminal.
pub fn panic_on_purpose() -> ! {
    expect_panics();
    panic_any(ON_PURPOSE)
}
