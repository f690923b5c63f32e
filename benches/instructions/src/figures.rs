//! What one trip costs, in figures that are the same in every run.

use crate::code::Code;
use crate::lines::Lines;
use crate::paths::{Pace, Path};
use crate::profile::Profile;
use std::collections::BTreeMap;
use std::fmt;

/// So far, to either side, may a count be from the budget.
const TOLERANCE: f64 = 0.02;

pub(crate) struct Figures {
    instructions: f64,
    branches: u64,
    calls: u64,
    /// Cache lines, if that can be told.
    written: Option<usize>,
    /// The locked instructions, as `btr+2*cmpxchg`, or `-`.
    locked: String,
}

impl Figures {
    pub(crate) fn of(path: &Path, profile: &Profile, code: &Code) -> Result<Self, String> {
        let (mut branches, mut calls, mut locked) = (0, 0, BTreeMap::new());
        for (&address, &times) in &profile.road() {
            let Some(instruction) = code.at(address) else { continue };
            branches += times * u64::from(instruction.is_branch());
            calls += times * u64::from(instruction.is_call());
            if let Some(name) = instruction.locked() {
                *locked.entry(name).or_default() += times;
            }
        }
        let locked: Vec<_> = locked.into_iter().map(several).collect();
        let locked = if locked.is_empty() { "-".into() } else { locked.join("+") };
        let written = match path.pace {
            Pace::Swift => Some(Lines::of(path, profile, code)?.written),
            Pace::Slow => None,
        };
        Ok(Self { instructions: profile.per_trip(), branches, calls, written, locked })
    }

    /// Whether they are as this line of the budget says. What can be told exactly must be exact.
    pub(crate) fn keep_to(&self, budget: &str) -> bool {
        let (own, mut budget) = (self.to_string(), budget.split_whitespace());
        let instructions = budget.next().and_then(|number| number.parse::<f64>().ok());
        let off = |budget: f64| (self.instructions - budget).abs() / budget;
        instructions.is_some_and(|budget| off(budget) <= TOLERANCE)
            && budget.eq(own.split_whitespace().skip(1))
    }
}

fn several((name, times): (&str, u64)) -> String {
    if times == 1 { name.into() } else { format!("{times}*{name}") }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions, branches, calls, written, locked } = self;
        let written = written.map_or("-".into(), |lines| lines.to_string());
        write!(f, "{instructions:>12.1} {branches:>9} {calls:>6} {written:>8}  {locked}")
    }
}
