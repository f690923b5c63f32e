//! No circles: of two files, or of two folders, one is the lower and can be read without the other.

use crate::arrows::{Arrows, arrows};
use crate::asking::{accept, crate_sources};
use crate::text::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// (h) No files import each other in a circle.
fn no_files_form_a_circle(sources: &[Source]) -> Vec<String> {
    circles("files", &arrows(sources))
}

/// (i) No folders do: the arrows between two folders all point the same way.
fn no_folders_form_a_circle(sources: &[Source]) -> Vec<String> {
    let mut merged = Arrows::new();
    for ((from, to), names) in arrows(sources) {
        let ends = (folder(&from).to_owned(), folder(&to).to_owned());
        if ends.0 != ends.1 {
            let file = if ends.1 == to { String::new() } else { format!("{to}: ") };
            merged
                .entry(ends)
                .or_default()
                .extend(names.iter().map(|name| format!("{file}{name}")));
        }
    }
    circles("folders", &merged)
}

/// The folder that a file is in. In the open, in `src/` itself and in `src/pool`, each file stands
/// alone.
fn folder(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("pool", _)) => path,
        Some((folder, _)) => folder,
    }
}

/// One complaint for each circle: who is in it, and what each takes from the others.
fn circles(whose: &str, arrows: &Arrows) -> Vec<String> {
    let starts: BTreeSet<&str> = arrows.keys().map(|(from, _)| &**from).collect();
    let beyond: BTreeMap<&str, BTreeSet<&str>> =
        starts.into_iter().map(|start| (start, reach(arrows, start))).collect();
    let mut complaints = Vec::new();
    let mut done = BTreeSet::new();
    for (start, ends) in &beyond {
        let is_in = |end: &&str| beyond.get(end).is_some_and(|back| back.contains(start));
        let circle: BTreeSet<&str> = ends.iter().copied().filter(is_in).collect();
        if circle.is_empty() || !done.insert(circle.clone()) {
            continue;
        }
        let mut complaint = format!("{} {whose} in a circle:", circle.len());
        for ((from, to), names) in arrows {
            if circle.contains(&**from) && circle.contains(&**to) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let _ = write!(complaint, "\n    {from} takes from {to}: {}", names.join(", "));
            }
        }
        complaints.push(complaint);
    }
    complaints
}

/// What can be come to from `start`, by one arrow or more.
fn reach<'a>(arrows: &'a Arrows, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut fresh = vec![start];
    while let Some(from) = fresh.pop() {
        for (_, to) in arrows.keys().filter(|(start, _)| start == from) {
            if reached.insert(&**to) {
                fresh.push(to);
            }
        }
    }
    reached
}

fn sample(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn no_files_of_the_source_import_each_other_in_a_circle() {
    let circle = sample(&[
        ("pool/mod.rs", "mod a; mod b; mod c; mod d;\npub use a::A;\npub struct Pool;"),
        ("pool/a.rs", "use super::{Pool, b::{B, make}};\npub struct A;"),
        ("pool/b.rs", "fn f() { super::c::go(); }"),
        ("pool/c.rs", "use crate::pool::A;\nuse super::d::D;"),
        ("pool/d.rs", "#[cfg(test)]\nmod tests { use crate::pool::A; }"),
        ("x.rs", "use crate::y::Y;"),
        ("y.rs", "use crate::x::X;"),
    ]);
    let complaints = [
        "3 files in a circle:\n    pool/a.rs takes from pool/b.rs: B, make\n    \
         pool/b.rs takes from pool/c.rs: go\n    pool/c.rs takes from pool/a.rs: A",
        "2 files in a circle:\n    x.rs takes from y.rs: Y\n    y.rs takes from x.rs: X",
    ];
    assert_eq!(no_files_form_a_circle(&circle), complaints);
    accept(&no_files_form_a_circle(&crate_sources()));
}

#[test]
fn the_arrows_between_two_folders_all_point_the_same_way() {
    let crossed = sample(&[
        ("pool/mod.rs", "mod e; mod first; mod ground;"),
        ("pool/first/mod.rs", "mod b; mod d;"),
        ("pool/ground/mod.rs", "mod a; mod c;"),
        ("pool/ground/a.rs", "use crate::pool::first::b::B;"),
        ("pool/ground/c.rs", "use super::a::A;"),
        ("pool/first/b.rs", ""),
        ("pool/first/d.rs", "use crate::pool::ground::c::C;"),
        ("pool/e.rs", "use super::ground::c::C;"),
    ]);
    assert_eq!(no_files_form_a_circle(&crossed), Vec::<String>::new());
    let complaint = "2 folders in a circle:\n    \
                     pool/first takes from pool/ground: pool/ground/c.rs: C\n    \
                     pool/ground takes from pool/first: pool/first/b.rs: B";
    assert_eq!(no_folders_form_a_circle(&crossed), [complaint]);
    // Without a folder, each file stands alone.
    let open = sample(&[
        ("pool/mod.rs", "mod a; mod b; mod c;"),
        ("pool/a.rs", "use super::b::B;"),
        ("pool/b.rs", "use crate::x::X;"),
        ("pool/c.rs", "use super::a::A;"),
        ("x.rs", ""),
        ("y.rs", "use crate::pool::c::C;"),
    ]);
    assert_eq!(no_folders_form_a_circle(&open), Vec::<String>::new());
    accept(&no_folders_form_a_circle(&crate_sources()));
}
