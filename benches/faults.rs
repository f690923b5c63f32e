//! What the pool does when things go wrong, in figures: `cargo bench --bench faults`.
//!
//! Each scenario injures something (the server, the network, the driver), measures, and adds its
//! rows to one table. A figure that is missed is marked `!` and counted, and that is all: what a
//! busy machine makes of a millisecond is for the reader to judge. `-- <part of a name>` runs some
//! of the scenarios, and `-- --long` lets outages and overload last for 30 s.

extern crate caliburn_testing as common;

#[path = "faults/closing.rs"]
mod closing;
#[path = "faults/crowd.rs"]
mod crowd;
#[path = "faults/cut.rs"]
mod cut;
#[path = "faults/handoff.rs"]
mod handoff;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/measure.rs"]
mod measure;
#[path = "faults/mute.rs"]
mod mute;
#[path = "faults/outage.rs"]
mod outage;
#[path = "faults/overload.rs"]
mod overload;
#[path = "faults/paced.rs"]
mod paced;
#[path = "faults/panics.rs"]
mod panics;
#[path = "faults/password.rs"]
mod password;
#[path = "faults/spike.rs"]
mod spike;

use measure::Row;
use std::time::Instant;

/// What the scenarios are told.
struct Plan {
    /// Outages and overload last for 30 s.
    is_long: bool,
}

type Scenario = (&'static str, fn(&Plan) -> Vec<Row>);

const SCENARIOS: &[Scenario] = &[
    ("mute connect, threads", mute::connect_threads),
    ("mute connect, tasks", mute::connect_tasks),
    ("mute ping, threads", mute::ping_threads),
    ("mute ping, tasks", mute::ping_tasks),
    ("outage black hole, threads", outage::black_hole_threads),
    ("outage black hole, tasks", outage::black_hole_tasks),
    ("outage refused, threads", outage::refused_threads),
    ("outage refused, tasks", outage::refused_tasks),
    ("spike, threads", spike::threads),
    ("spike, tasks", spike::tasks),
    ("overload, threads", overload::threads),
    ("overload, tasks", overload::tasks),
    ("one return during a hanging connect, threads", handoff::threads),
    ("one return during a hanging connect, tasks", handoff::tasks),
    ("half of 64 cut, threads", cut::threads),
    ("half of 64 cut, tasks", cut::tasks),
    ("wrong password, threads", password::threads),
    ("wrong password, tasks", password::tasks),
    ("limit of a get, threads", limits::threads),
    ("limit of a get, tasks", limits::tasks),
    ("limit of a call", limits::calls),
    ("panics, threads", panics::threads),
    ("panics, tasks", panics::tasks),
    ("close of a mute server, threads", closing::threads),
    ("close of a mute server, tasks", closing::tasks),
    ("10,000 waiting tasks", crowd::tasks),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = Plan { is_long: arguments.iter().any(|argument| argument == "--long") };
    let parts: Vec<&String> = arguments.iter().filter(|part| !part.starts_with("--")).collect();
    let begun = Instant::now();
    let load_before = load();
    let mut rows = Vec::new();
    for (name, scenario) in SCENARIOS {
        if parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str())) {
            eprint!("\r{name:70}");
            rows.extend(scenario(&plan));
        }
    }
    eprint!("\r{:70}\r", "");
    measure::print(&rows);
    let reached = rows.iter().filter(|row| row.is_reached).count();
    println!("\n{reached} of {} reached, in {:.0?}", rows.len(), begun.elapsed());
    println!("load of the machine: {load_before} before, {} after", load());
}

/// The system's own word for how busy it was in the last minute.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").into()
}
