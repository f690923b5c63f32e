//! The file with what each path may cost.

use crate::figures::Figures;
use crate::tools::ask;
use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.txt");

pub(crate) struct Budget {
    /// What it was counted with.
    pub(crate) compiler: String,
    /// The lines, by the names of the paths.
    pub(crate) paths: BTreeMap<String, String>,
}

impl Budget {
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        let (mut compiler, mut paths) = (String::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some(name) = comment.strip_prefix(" counted with ") {
                    compiler = name.into();
                }
            } else if let Some((name, figures)) = line.split_once(' ') {
                paths.insert(name.into(), figures.into());
            }
        }
        Ok(Self { compiler, paths })
    }

    pub(crate) fn write(counted: &[(&str, Figures)]) -> Result<(), String> {
        let mut text = format!(
            "# What a trip costs, written by `write`, guarded by `count`: see ../LISTING.md.\n\
             # counted with {}\n{}\n",
            compiler(),
            HEADER
        );
        for (name, figures) in counted {
            text += &format!("{name:<18} {figures}\n");
        }
        fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"))
    }
}

pub(crate) const HEADER: &str = "# path            instructions  branches  calls  written  locked";

/// The compiler, and what it compiles for.
pub(crate) fn compiler() -> String {
    let version = ask(Command::new("rustc").arg("-V"));
    let version = version.unwrap_or_else(|_| "an unknown rustc".into());
    format!("{}, {}", version.trim(), env::consts::ARCH)
}
