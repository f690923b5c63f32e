//! Forks, and has the child look for what is wrong.
//!
//! The child tells what it found by a pipe and its exit code, and prints nothing; the parent waits
//! for it with a limit.
#![allow(unsafe_code)]

use std::fmt::Display;
use std::io::{Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What the C library has; these signatures are the same on all systems that have them.
mod c {
    unsafe extern "C" {
        pub(super) fn fork() -> i32;
        pub(super) fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        pub(super) fn kill(pid: i32, signal: i32) -> i32;
        pub(super) fn _exit(code: i32) -> !;
    }
    pub(super) const WNOHANG: i32 = 1;
    pub(super) const SIGKILL: i32 = 9;
}

/// Nothing that works takes nearly as long, and a child is given more than what it may find out to
/// be too long.
pub const LIMIT: Duration = Duration::from_secs(5);
const CHILD_LIMIT: Duration = Duration::from_secs(30);

/// What a child found wrong.
pub type Finding = Result<(), String>;

/// Forks, and has the child do `check`.
pub fn in_a_child(check: impl FnOnce() -> Finding) -> Finding {
    let (mut reader, mut writer) = pipe().unwrap();
    // SAFETY: the child goes on in this function alone. It uses no lock that another thread may
    // hold but those of the code under test, to find out about them, and the allocator's, which the
    // C library sees to.
    let child = unsafe { c::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        let found = catch_unwind(AssertUnwindSafe(check));
        let found = found.unwrap_or_else(|_| Err("it panicked".into()));
        let code = i32::from(found.is_err());
        let _ = writer.write_all(found.err().unwrap_or_default().as_bytes());
        // SAFETY: ends the process at once, without the destructors and handlers of its parent.
        unsafe { c::_exit(code) }
    }
    drop(writer);
    let deadline = Instant::now() + CHILD_LIMIT;
    let mut status = 0;
    // SAFETY: the status is written to a variable that lives.
    while unsafe { c::waitpid(child, &mut status, c::WNOHANG) } == 0 {
        if Instant::now() >= deadline {
            // SAFETY: it is our child, and not yet waited for.
            unsafe { c::kill(child, c::SIGKILL) };
            // SAFETY: as above.
            unsafe { c::waitpid(child, &mut status, 0) };
            return Err(format!("it hangs: killed after {CHILD_LIMIT:?}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut found = String::new();
    reader.read_to_string(&mut found).unwrap();
    match (status, found.is_empty()) {
        (0, true) => Ok(()),
        (_, true) => Err(format!("it ended with status {status:#x}")),
        (_, false) => Err(found),
    }
}

pub fn require(is_so: bool, otherwise: impl Display) -> Finding {
    if is_so { Ok(()) } else { Err(otherwise.to_string()) }
}
