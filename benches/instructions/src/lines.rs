//! Which cache lines a trip touches: lackey tells every access to memory.

use crate::code::Code;
use crate::paths::Path;
use crate::profile::Profile;
use crate::tools::this_program;
use crate::valgrind::run;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;

/// The cache lines that one trip touches, other than those of its stack and of its thread's own
/// variables.
pub(crate) struct Lines {
    pub(crate) written: usize,
    /// And not written.
    read: usize,
}

impl Lines {
    pub(crate) fn of(path: &Path, profile: &Profile, code: &Code) -> Result<Self, String> {
        let options = ["--tool=lackey", "--trace-mem=yes"];
        let (trace, said) = run(path, "--log-file", &options)?;
        let bad = || format!("the trips did not say where they are: {said}");
        let (base, stack) = said.trim().split_once(' ').ok_or_else(bad)?;
        let base: u64 = base.parse().map_err(|_| bad())?;
        let stack: u64 = stack.parse().map_err(|_| bad())?;
        let road = profile.road();
        let entry = code.entry(path.function).ok_or("the path's function is gone")?;
        let is_road =
            |address: u64| road.contains_key(&address) && !code.is_about_the_thread(address);
        Ok(a_trip(&trace, [base, stack, entry], is_road))
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cache lines written, {} only read", self.written, self.read)
    }
}

/// In lackey's format: `I  address,size` for an instruction, then ` L`, ` S` and ` M` for what it
/// loads, stores and modifies. A trip is what lies between two entries, so the last one but one.
fn a_trip(trace: &str, [base, stack, entry]: [u64; 3], is_road: impl Fn(u64) -> bool) -> Lines {
    const STACK: u64 = 1 << 20;
    let (mut trip, mut before, mut is_counted) = (Touched::default(), Touched::default(), false);
    for line in trace.lines() {
        let address =
            line.get(3..).and_then(|rest| rest.split_once(',')).map(|(address, _)| address);
        let Some(Ok(address)) = address.map(|text| u64::from_str_radix(text, 16)) else { continue };
        if line.starts_with('I') {
            let address = address.wrapping_sub(base);
            if address == entry {
                before = std::mem::take(&mut trip);
            }
            is_counted = address == entry || is_road(address);
        } else if is_counted && address.abs_diff(stack) > STACK {
            let lines = if line.starts_with(" L") { &mut trip.read } else { &mut trip.written };
            lines.insert(address / 64);
        }
    }
    let read = before.read.difference(&before.written).count();
    Lines { written: before.written.len(), read }
}

/// The numbers of cache lines.
#[derive(Default)]
struct Touched {
    read: BTreeSet<u64>,
    written: BTreeSet<u64>,
}

/// Tells where this program and its stack lie in memory.
pub(crate) fn tell_where() -> Result<(), String> {
    let program = this_program()?;
    let maps = fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    let own = maps.lines().find(|line| line.ends_with(&*program.to_string_lossy()));
    let base = own.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    let base = base.ok_or("this program is not mapped")?;
    println!("{base} {}", &raw const base as u64);
    Ok(())
}
