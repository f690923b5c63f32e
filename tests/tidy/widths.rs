//! Lines that fit on a screen beside others: at most 100 columns, of code, comments, strings,
//! pages, manifests and scripts alike.

use crate::asking::accept;
use crate::links::{PAGES, ROOT};
use std::fs;
use std::path::{Path, PathBuf};

const MOST: usize = 100;

/// All text in these folders, and these files, besides the pages.
const PLACES: [&str; 19] = [
    ".ci",
    "benches",
    "examples",
    "fuzz/Cargo.toml",
    "fuzz/fuzz_targets",
    "loom-tests/Cargo.toml",
    "loom-tests/src",
    "python/Cargo.toml",
    "python/benches",
    "python/ci",
    "python/examples",
    "python/lib",
    "python/pyproject.toml",
    "python/src",
    "python/tests",
    "src",
    "tests",
    ".rustfmt.toml",
    "Cargo.toml",
];

/// Written by programs, in whole or in part.
const GENERATED: [&str; 5] = ["Cargo.lock", "LISTING.md", "budget.txt", "plots", "public-api.txt"];

/// Pages whose tables may be wider: figures, states or orderings whose columns are read beside each
/// other. Markdown has no way to break a row.
const WIDE_TABLES: [&str; 3] =
    ["benches/README.md", "benches/programs/README.md", "src/raw/README.md"];

/// Without what builds leave behind.
fn files(place: &Path, found: &mut Vec<PathBuf>) {
    let name = place.file_name().unwrap().to_str().unwrap();
    if GENERATED.contains(&name) || name == "target" {
        return;
    }
    if !place.is_dir() {
        found.push(place.into());
        return;
    }
    for entry in fs::read_dir(place).unwrap() {
        files(&entry.unwrap().path(), found);
    }
}

/// The numbers of the lines that are too wide. What has no space cannot be broken.
fn wide_lines(text: &str, may_have_wide_tables: bool) -> Vec<usize> {
    let is_wide = |line: &str| {
        let text = line.trim_start().trim_start_matches(['/', '!', '#']).trim_start();
        let is_row = may_have_wide_tables && text.starts_with('|');
        line.chars().count() > MOST && text.contains(' ') && !is_row
    };
    let lines = text.lines().zip(1..);
    lines.filter(|(line, _)| is_wide(line)).map(|(_, number)| number).collect()
}

#[test]
fn no_line_is_wider_than_100_columns() {
    let mut found = Vec::new();
    for place in PLACES.iter().chain(&PAGES) {
        files(&Path::new(ROOT).join(place), &mut found);
    }
    assert!(found.len() > 300, "where is the source?");
    let mut complaints = Vec::new();
    for file in found {
        let path = file.strip_prefix(ROOT).unwrap().to_str().unwrap();
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for line in wide_lines(&text, WIDE_TABLES.contains(&path)) {
            complaints.push(format!("{path}:{line}: more than {MOST} columns"));
        }
    }
    complaints.sort();
    complaints.dedup();
    accept(&complaints);
}

#[test]
fn a_line_that_is_too_wide_is_noticed() {
    let wide = "word ".repeat(20);
    assert_eq!(wide_lines(&format!("{wide}\n{wide}x\n/// {wide}\nx"), false), [2, 3]);
    assert_eq!(wide_lines(&format!("| {wide}\n//! | {wide}\n{wide}x"), true), [3]);
    assert_eq!(wide_lines(&format!("| {wide}"), false), [1]);
    assert_eq!(wide_lines(&format!("/// {}", "word".repeat(30)), false), [0; 0]);
}
