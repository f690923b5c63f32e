//! Runs this program's trips under one of valgrind's tools.

use crate::paths::Path;
use crate::tools::{ask, this_program};
use std::process::{self, Command};
use std::{env, fs};

/// So many that what only the first one does is lost in the rounding.
pub(crate) const TRIPS: u32 = 1_000;

/// What the tool wrote into the file behind `option`, and what the trips said. All on one core, so
/// that a pool has one stripe wherever this runs.
pub(crate) fn run(path: &Path, option: &str, options: &[&str]) -> Result<(String, String), String> {
    let file = env::temp_dir().join(format!("caliburn.{}.{}", path.name, process::id()));
    let mut valgrind = Command::new("taskset");
    valgrind.args(["-c", &some_core(), "valgrind"]).args(options);
    valgrind.arg(format!("{option}={}", file.display()));
    let said = ask(valgrind.arg(this_program()?).args(["travel", path.name]));
    let written = fs::read_to_string(&file);
    // Of no interest: it lies among temporary files.
    let _ = fs::remove_file(&file);
    let said = said?;
    Ok((written.map_err(|error| format!("{}: {error}", file.display()))?, said))
}

/// The first that this process may use.
fn some_core() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = cores.and_then(|cores| cores.trim().split(['-', ',']).next());
    first.unwrap_or("0").into()
}
