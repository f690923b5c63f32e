//! Asks a rule about the crate, and about a sample.

use crate::text::Source;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

fn read(below: &Path, prefix: &str, found: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            read(&path, &format!("{prefix}{name}/"), found);
        } else if name.ends_with(".rs") {
            found
                .push(Source::new(&format!("{prefix}{name}"), &fs::read_to_string(&path).unwrap()));
        }
    }
}

pub(crate) fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

pub(crate) fn crate_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read(&src(), "", &mut sources);
    assert!(sources.len() > 20, "where is the source?");
    sources
}

#[track_caller]
pub(crate) fn ask_all(rule: impl Fn(&Source) -> Vec<String>) {
    accept(&crate_sources().iter().flat_map(rule).collect::<Vec<_>>());
}

/// There is nothing to complain about.
#[track_caller]
pub(crate) fn accept(complaints: &[String]) {
    let all = complaints.iter().fold(String::new(), |mut all, complaint| {
        let _ = write!(all, "\n  {complaint}");
        all
    });
    assert!(complaints.is_empty(), "{} complaints:{all}", complaints.len());
}

/// The rule finds fault with the sample in exactly these lines.
#[track_caller]
pub(crate) fn catches(
    path: &str,
    sample: &str,
    lines: &[usize],
    rule: impl Fn(&Source) -> Vec<String>,
) {
    let complaints = rule(&Source::new(path, sample));
    let found: Vec<usize> = complaints
        .iter()
        .map(|complaint| complaint.split(':').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(found, lines, "in\n{sample}\n{complaints:#?}");
}
