//! How far two cores are from each other. In a virtual machine that changes within seconds, as the
//! hypervisor moves the cores; what is measured while they are near says nothing of what is
//! measured while they are far.

use super::floor::Line;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    Near,
    Far,
    /// The two threads did not run at once.
    Unknown,
}

const ROUND_TRIPS: u64 = 400;
/// A line that takes longer than this, one way, comes from afar.
const FAR: Duration = Duration::from_nanos(130);
/// Two threads on one core would pass the line on once in a time slice.
const PATIENCE: Duration = Duration::from_millis(2);

/// Two threads, numbered 0 and 1, pass a line to and fro. Both have to call this at about the same
/// time, on a line that nobody has used for this before.
pub(super) fn probe(line: &Line, number: usize) -> Distance {
    let came = Instant::now();
    let mut met = came;
    let word = &line.0;
    for turn in 0..=ROUND_TRIPS {
        // The first to come waits for the other, which is no part of the distance.
        if turn == 1 {
            met = Instant::now();
        }
        // The word counts up from its first value: the even steps are those of thread 0.
        let mine = u64::MAX.wrapping_add(2 * turn + number as u64);
        let mut spins = 0_u32;
        while word.load(Ordering::Acquire) != mine {
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(256) && came.elapsed() > PATIENCE {
                return Distance::Unknown;
            }
        }
        word.store(mine.wrapping_add(1), Ordering::Release);
    }
    let one_way = met.elapsed() / (2 * ROUND_TRIPS as u32);
    if one_way > FAR { Distance::Far } else { Distance::Near }
}
