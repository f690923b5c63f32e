//! The list of failures in `tests/README.md` names every test that carries a number, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Names that begin like a numbered test's, of which each must follow `before`.
fn numbered(text: &str, before: &str) -> BTreeSet<String> {
    let starts = text.match_indices("row_").filter(|(at, _)| text[..*at].ends_with(before));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    starts
        .map(|(at, _)| text[at..].chars().take_while(|c| is_name(*c)).collect::<String>())
        .filter(|name| name.matches('_').count() > 2)
        .collect()
}

/// All files of a folder and those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_list_of_failures_names_every_numbered_test_and_no_other() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut tests = BTreeSet::new();
    for group in ["adapters", "chaos", "pool", "process"] {
        for file in files(&directory.join(group)) {
            tests.append(&mut numbered(&fs::read_to_string(file).unwrap(), "\nfn "));
        }
    }
    let listed = numbered(&fs::read_to_string(directory.join("README.md")).unwrap(), "`");
    assert!(tests.len() > 30, "{tests:?}");
    assert_eq!(tests.symmetric_difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new());
}
