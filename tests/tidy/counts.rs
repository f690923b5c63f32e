//! How large the pool is, in figures to quote: `cargo test --test tidy -- --nocapture counts`.

use crate::arrows::{arrows, without_tests};
use crate::asking::crate_sources;
use crate::names::{is_part_of_a_name, word_at};
use crate::text::Source;

const KINDS: [&str; 4] = ["struct", "enum", "trait", "type"];

/// How many of each of `KINDS` the file defines, at whatever visibility; without those of tests,
/// and without the types of traits and of what implements them.
fn types(source: &Source) -> [usize; 4] {
    let code = without_tests(&source.code());
    KINDS.map(|kind| {
        let is_definition = |at: &usize| {
            let name = code[at + kind.len()..].strip_prefix(' ').unwrap_or_default();
            let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
            is_name && !(kind == "type" && is_in_a_trait(&code[..*at]))
        };
        word_at(&code, kind).filter(is_definition).count()
    })
}

/// Whether the code ends right inside a `trait` or an `impl`.
fn is_in_a_trait(code: &str) -> bool {
    let mut open = vec![false];
    let mut start = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                // `pub(crate) unsafe trait X`, below its attributes.
                let head =
                    code[start..at].lines().filter(|line| !line.trim_start().starts_with('#'));
                let mut words = head.flat_map(|line| line.split(|c| !is_part_of_a_name(c)));
                let before = ["", "pub", "crate", "super", "unsafe"];
                let first = words.find(|word| !before.contains(word));
                open.push(matches!(first, Some("impl" | "trait")));
                start = at + 1;
            }
            '}' => {
                open.pop();
                start = at + 1;
            }
            ';' => start = at + 1,
            _ => {}
        }
    }
    open.last().is_some_and(|is_trait| *is_trait)
}

#[test]
fn counts_of_the_files_arrows_and_types_of_the_pool() {
    let code = "pub struct A<T>(T);\nenum B { C }\n\
                pub(crate) trait D { type E; fn f() { struct G; } }\ntype H = A<u8>;\n\
                #[x]\nimpl D for [A<u8>] { type E = u8; }\n// struct I;\nlet r#type = 1;\n\
                #[cfg(test)]\nmod tests { struct J; }\ntype K = B;";
    assert_eq!(types(&Source::new("x.rs", code)), [2, 1, 1, 2]);

    let sources = crate_sources();
    let pool: Vec<&Source> = sources.iter().filter(|source| source.is_in("pool")).collect();
    let lines: usize = pool.iter().map(|source| source.lines.len()).sum();
    let is_in = |path: &str| path.starts_with("pool/");
    let arrows = arrows(&sources);
    let inside = arrows.keys().filter(|(from, to)| is_in(from) && is_in(to)).count();
    let counted = pool.iter().map(|source| types(source)).fold([0; 4], |mut all, of_one| {
        all.iter_mut().zip(of_one).for_each(|(all, one)| *all += one);
        all
    });
    let all: usize = counted.iter().sum();
    let [structs, enums, traits, aliases] = counted;
    println!("src/pool: {} files, {lines} lines, {inside} arrows between them", pool.len());
    println!("{all} types: {structs} struct, {enums} enum, {traits} trait, {aliases} type");
    assert!(inside > 0 && all > 0, "nothing to count is a scan that no longer sees");
}
