//! Forks, and has the child look for what is wrong.
//!
//! The child tells what it found by a pipe and its exit code, and prints nothing; the parent waits
//! for it with a limit.
#![allow(unsafe_code)]

use std::fmt::Display;
use std::io::{Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
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

/// A child's exit code when no thread starts in it.
const NO_THREADS: i32 = 42;

/// What a child found wrong.
pub type Finding = Result<(), String>;

/// Forks, and has the child do `check`.
///
/// A thread that starts or ends holds a lock of `std`'s for a moment. In a child that was forked in
/// that moment no thread ever starts, whoever wants one. Such a child shows nothing, and another is
/// forked in its place.
pub fn in_a_child(mut check: impl FnMut() -> Finding) -> Finding {
    const FEW: usize = 5;
    for _ in 0..FEW {
        if let Some(finding) = in_one_child(&mut check) {
            return finding;
        }
    }
    Err(format!("no plain thread starts in any of {FEW} children"))
}

/// Whether a thread without any code of ours starts.
fn a_plain_thread_starts() -> bool {
    let (tell, told) = channel();
    let _thread = std::thread::spawn(move || tell.send(()));
    told.recv_timeout(LIMIT).is_ok()
}

/// What the child found, unless no thread could start in it.
fn in_one_child(check: &mut impl FnMut() -> Finding) -> Option<Finding> {
    let (mut reader, mut writer) = pipe().unwrap();
    // SAFETY: the child goes on in this function alone. It uses no lock that another thread may
    // hold but those of the code under test, to find out about them, and the allocator's, which the
    // C library sees to.
    let child = unsafe { c::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        let found = catch_unwind(AssertUnwindSafe(check));
        let found = found.unwrap_or_else(|_| Err("it panicked".into()));
        let code = match found {
            Ok(()) => 0,
            Err(_) if !a_plain_thread_starts() => NO_THREADS,
            Err(_) => 1,
        };
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
            return Some(Err(format!("it hangs: killed after {CHILD_LIMIT:?}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut found = String::new();
    reader.read_to_string(&mut found).unwrap();
    // In the second byte of the status is what the child gave `_exit`.
    match (status, found.is_empty()) {
        (status, _) if status == NO_THREADS << 8 => None,
        (0, true) => Some(Ok(())),
        (_, true) => Some(Err(format!("it ended with status {status:#x}"))),
        (_, false) => Some(Err(found)),
    }
}

pub fn require(is_so: bool, otherwise: impl Display) -> Finding {
    if is_so { Ok(()) } else { Err(otherwise.to_string()) }
}
