//! How often each instruction is executed: callgrind knows.

use crate::paths::Path;
use crate::tools::this_program;
use crate::valgrind::{TRIPS, run};
use std::collections::BTreeMap;

/// How often the instructions of this program were executed, by their address. Those of libraries
/// are left out: how many `malloc` takes is not ours to answer for.
pub(crate) struct Profile(BTreeMap<u64, u64>);

impl Profile {
    /// Counts what is executed within the path's function, and within what that calls.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        let within = format!("--toggle-collect=caliburn_instructions::paths::{}", path.function);
        let options = [
            "--tool=callgrind",
            "--dump-instr=yes",
            "--compress-pos=no",
            "--compress-strings=no",
            &within,
        ];
        let (text, _) = run(path, "--callgrind-out-file", &options)?;
        let times = read(&text, &this_program()?.to_string_lossy());
        let times = times.ok_or("callgrind wrote what cannot be read")?;
        if times.is_empty() {
            return Err(format!(
                "nothing was counted: is there still a function {}?",
                path.function
            ));
        }
        Ok(Self(times))
    }

    /// Instructions per trip.
    pub(crate) fn per_trip(&self) -> f64 {
        self.0.values().sum::<u64>() as f64 / f64::from(TRIPS)
    }

    /// The addresses that most trips come past, and how often one does.
    pub(crate) fn road(&self) -> BTreeMap<u64, u64> {
        let trips = u64::from(TRIPS);
        let road = self.0.iter().map(|(address, times)| (*address, (times + trips / 2) / trips));
        road.filter(|(_, times)| *times > 0).collect()
    }
}

/// In callgrind's format: `ob=` names the object that the following lines are about, a line that
/// begins with an address ends with a cost, and the one after `calls=` tells what the call cost,
/// which the callee has told too.
fn read(text: &str, program: &str) -> Option<BTreeMap<u64, u64>> {
    let (mut times, mut is_here) = (BTreeMap::new(), false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_here = object == program;
        } else if line.starts_with("calls=") {
            lines.next();
        } else if let Some(line) = line.strip_prefix("0x")
            && is_here
        {
            let (address, costs) = line.split_once(' ')?;
            let cost: u64 = costs.split(' ').next_back()?.parse().ok()?;
            *times.entry(u64::from_str_radix(address, 16).ok()?).or_default() += cost;
        }
    }
    Some(times)
}
