//! The list of failures in `tests/README.md` names every test that carries a number, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names that begin like a numbered test's, of which each must follow `before`.
fn numbered(text: &str, before: &str) -> BTreeSet<String> {
    let starts = text.match_indices("row_").filter(|(at, _)| text[..*at].ends_with(before));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    starts
        .map(|(at, _)| text[at..].chars().take_while(|c| is_name(*c)).collect::<String>())
        .filter(|name| name.matches('_').count() > 2)
        .collect()
}

#[test]
fn the_list_of_failures_names_every_numbered_test_and_no_other() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut tests = BTreeSet::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            tests.append(&mut numbered(&fs::read_to_string(path).unwrap(), "\nfn "));
        }
    }
    let listed = numbered(&fs::read_to_string(directory.join("README.md")).unwrap(), "`");
    assert!(tests.len() > 30, "{tests:?}");
    assert_eq!(tests.symmetric_difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new());
}
