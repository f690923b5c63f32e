//! The memory orderings and the table of their reasons.

use crate::asking::{ask_all, catches, src};
use crate::names::{has_word, is_part_of_a_name};
use crate::text::{Line, Source};
use std::fs;

/// All of `O1`, `O2`, … in a comment.
fn orders(comment: &str) -> Vec<String> {
    comment
        .split(|c| !is_part_of_a_name(c))
        .filter(|word| {
            let number = word.strip_prefix('O').unwrap_or_default();
            !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect()
}

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
/// How far above an ordering its number may stand.
const REACH: usize = 8;

/// (c) Each ordering says by which row of the table it is chosen: in a comment on the same line, or
/// at most eight lines above. Such a comment speaks for the first statement below it that names
/// orderings, and never beyond the end of a block.
fn orderings_have_numbers(source: &Source) -> Vec<String> {
    let names_one = |line: &Line| {
        let mut after = line.code.split("Ordering::").skip(1);
        after.any(|rest| ORDERINGS.iter().any(|name| rest.starts_with(name)))
    };
    let has_number = |line: &Line| !orders(&line.comment).is_empty();
    let mut complaints = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        if !names_one(line) || has_number(line) {
            continue;
        }
        let mut is_earlier_statement = false;
        let above = source.lines[at.saturating_sub(REACH)..at].iter().rev();
        let mut reach = above.take_while(|line| {
            let code = line.code.trim_end();
            is_earlier_statement |= code.ends_with(';');
            let is_end = has_word(code, "fn") || code.trim() == "}";
            let is_spent = is_earlier_statement && names_one(line);
            !(is_end || is_spent)
        });
        if !reach.any(has_number) {
            let what = "an ordering without the number of its reason (`// O…`)";
            complaints.push(source.complaint(at, what));
        }
    }
    complaints
}

/// (d) Each number is a row of the table.
fn numbers_are_in_the_table(source: &Source, table: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        for order in orders(&line.comment).into_iter().filter(|order| !table.contains(order)) {
            complaints.push(source.complaint(at, format!("{order} is not in the ordering table")));
        }
    }
    complaints
}

/// The numbers of the table's rows: `| O1 | …`.
fn table(readme: &str) -> Vec<String> {
    let rows = readme.lines().filter_map(|line| line.trim().strip_prefix('|'));
    rows.flat_map(|row| orders(row.split('|').next().unwrap_or_default())).collect()
}

#[test]
fn each_memory_ordering_has_the_number_of_its_reason() {
    let rule = orderings_have_numbers;
    catches("x.rs", "x.load(Ordering::Relaxed);\ny.load(Ordering::Acquire); // O1", &[1], rule);
    catches(
        "x.rs",
        "// O2: why\nx\n  .store(1, Ordering::Release);\nx.load(Ordering::Relaxed);",
        &[4],
        rule,
    );
    catches("x.rs", "// Or2, O, OK\nx.store(1, Ordering::Release);", &[2], rule);
    catches("x.rs", "// O1\nfn x() {\n  x.load(Ordering::Relaxed)\n}", &[3], rule);
    catches("x.rs", &format!("// O1\n{}x.load(Ordering::Relaxed)", "y\n".repeat(8)), &[10], rule);
    catches("x.rs", "use crate::sync::Ordering;\nOrdering::Less;\n// Ordering::Relaxed", &[], rule);
    ask_all(rule);
}

#[test]
fn each_number_of_a_memory_ordering_is_explained_in_the_table() {
    let sample = "text of O9\n| # | where |\n|---|---|\n| O1 | like O7 |\n| **O2** | x |";
    assert_eq!(table(sample), ["O1", "O2"]);
    let rule = |source: &Source| numbers_are_in_the_table(source, &table(sample));
    catches("x.rs", "// O1: a\n// O2, O3: b\nlet x = \"O4\"; // O7", &[2, 3], rule);
    let readme = fs::read_to_string(src().join("raw/README.md")).unwrap();
    let table = table(&readme);
    assert!(!table.is_empty(), "src/raw/README.md has no ordering table");
    ask_all(|source| numbers_are_in_the_table(source, &table));
}
