//! Keeps the walls between the rooms: a plain scan of the text of `src/`, without a parser.
//!
//! Each rule is a function from a file to complaints. It is asked about every file of the crate, and about a
//! small sample that breaks it, so that a rule that no longer sees anything turns red as well.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

// ---------------------------------------------------------------------------------------------- the text

/// A source file: its path below `src/`, its lines, and what of each line is code and what comment.
struct Source {
    path: String,
    lines: Vec<Line>,
}

#[derive(Default)]
struct Line {
    text: String,
    /// Without comments, and with strings emptied.
    code: String,
    comment: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let mut state = State::Code;
        let lines = text.lines().map(|line| split(line, &mut state)).collect();
        Self { path: path.into(), lines }
    }

    /// The names of the module that the file is: `pool/guard.rs` is `[pool, guard]`.
    fn module(&self) -> Vec<&str> {
        let stem = self.path.trim_end_matches(".rs");
        stem.split('/').filter(|name| !["lib", "mod"].contains(name)).collect()
    }

    fn is_in(&self, room: &str) -> bool {
        self.module().first() == Some(&room)
    }

    fn complaint(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("src/{}:{}: {what}", self.path, line + 1)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    Text,
    /// In a string that ends with a quote and so many hashes.
    RawText(usize),
    Comment(usize),
}

fn split(text: &str, state: &mut State) -> Line {
    let chars: Vec<char> = text.chars().collect();
    let mut line = Line { text: text.into(), ..Line::default() };
    let mut at = 0;
    let is = |at: usize, what: &str| {
        what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c))
    };
    while at < chars.len() {
        match *state {
            State::Code if is(at, "//") => {
                line.comment.extend(&chars[at..]);
                break;
            }
            State::Code if is(at, "/*") => {
                *state = State::Comment(1);
                at += 1;
            }
            State::Code if chars[at] == '"' => {
                let hashes = chars[..at].iter().rev().take_while(|c| **c == '#').count();
                let is_raw = at > hashes && chars[at - hashes - 1] == 'r';
                *state = if is_raw { State::RawText(hashes) } else { State::Text };
                line.code.push('"');
            }
            // A character, as opposed to a lifetime.
            State::Code if chars[at] == '\'' && (is(at + 1, "\\") || is(at + 2, "'")) => {
                let first = if is(at + 1, "\\") { at + 3 } else { at + 2 };
                let end = (first..chars.len()).find(|end| chars[*end] == '\'');
                line.code.push_str("' '");
                at = end.unwrap_or(at);
            }
            State::Code => line.code.push(chars[at]),
            State::Text if chars[at] == '\\' => at += 1,
            State::Text if chars[at] == '"' => {
                line.code.push('"');
                *state = State::Code;
            }
            State::RawText(hashes) if is(at, &format!("\"{}", "#".repeat(hashes))) => {
                line.code.push('"');
                at += hashes;
                *state = State::Code;
            }
            State::Text | State::RawText(_) => {}
            State::Comment(depth) if is(at, "*/") => {
                *state = if depth == 1 { State::Code } else { State::Comment(depth - 1) };
                at += 1;
            }
            State::Comment(depth) if is(at, "/*") => {
                *state = State::Comment(depth + 1);
                at += 1;
            }
            State::Comment(_) => line.comment.push(chars[at]),
        }
        at += 1;
    }
    line
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `text` as a word of its own.
fn word_at<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part_of_a_name) && !after.is_some_and(is_part_of_a_name)
    })
}

fn has_word(text: &str, word: &str) -> bool {
    word_at(text, word).next().is_some()
}

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

/// A path named in the code, `use` groups taken apart: the line of its first word, and its words.
type Named = (usize, Vec<String>);

/// Every path in the code that begins with one of `roots`, as `crate::raw::slots::Lent`.
fn paths(source: &Source, roots: &[&str]) -> Vec<Named> {
    let code: String = source.lines.iter().fold(String::new(), |all, line| all + &line.code + "\n");
    let mut found = Vec::new();
    for root in roots {
        for at in word_at(&code, root) {
            let is_continued = code[at + root.len()..].starts_with("::");
            let is_continuation = code[..at].ends_with("::") || code[..at].ends_with('$');
            // Inside a group of another root it is that one's business.
            if is_continued && !is_continuation {
                let line = code[..at].matches('\n').count();
                let mut rest = &code[at..];
                expand(&mut rest, &[], line, &mut found);
            }
        }
    }
    found
}

/// Reads one tree, `a::b` or `a::{b, c::d}`, off the front of `rest`.
fn expand(rest: &mut &str, before: &[String], line: usize, found: &mut Vec<Named>) {
    let mut path = before.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            *rest = group;
            while !rest.trim_start().is_empty() && !rest.trim_start().starts_with('}') {
                let length = rest.len();
                expand(rest, &path, line, found);
                let next = rest.trim_start();
                *rest = next.strip_prefix(',').unwrap_or(next);
                if rest.len() == length {
                    return;
                }
            }
            *rest = rest.trim_start().strip_prefix('}').unwrap_or(rest);
            return;
        }
        let end = rest.find(|c| !is_part_of_a_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if !name.is_empty() {
            path.push(name.into());
        } else if let Some(after) = after.strip_prefix('*') {
            path.push("*".into());
            *rest = after;
            break;
        }
        *rest = after;
        match rest.strip_prefix("::") {
            Some(after) => *rest = after,
            None => break,
        }
    }
    if let Some(after) = rest.trim_start().strip_prefix("as ") {
        let after = after.trim_start();
        *rest = &after[after.find(|c| !is_part_of_a_name(c)).unwrap_or(after.len())..];
    }
    found.push((line, path));
}

/// What the file names of its own crate, as paths from the root: `super` resolved, `self` left out.
fn own_names(source: &Source) -> Vec<Named> {
    let module: Vec<String> = source.module().into_iter().map(str::to_owned).collect();
    paths(source, &["crate", "super"])
        .into_iter()
        .map(|(line, path)| {
            let ups = path.iter().take_while(|word| *word == "super").count();
            let mut full = Vec::new();
            if ups > 0 {
                full.extend(module[..module.len().saturating_sub(ups)].iter().cloned());
                full.extend(path[ups..].iter().cloned());
            } else {
                full.extend(path[1..].iter().cloned());
            }
            (line, full)
        })
        .collect()
}

// --------------------------------------------------------------------------------------------- the rules

/// At the bottom: for all rooms.
const SHARED: [&str; 2] = ["no_unwind", "sync"];
const MIDDLE: [&str; 6] = ["config", "stats", "health", "manager", "error", "clock"];

/// (a) Imports point down only. `public` are the names that the crate exports.
fn imports_point_down(source: &Source, public: &[String]) -> Vec<String> {
    let module = source.module();
    let Some(room) = module.first().copied() else { return Vec::new() };
    let mut complaints = Vec::new();
    for (line, path) in own_names(source) {
        let Some(named) = path.first().map(String::as_str).filter(|named| *named != "*") else {
            continue;
        };
        let is_static_ref = path[..] == ["raw", "slots", "StaticRef"];
        let is_allowed = named == room
            || match room {
                room if SHARED.contains(&room) => false,
                "raw" => SHARED.contains(&named),
                "stats" if is_static_ref => true,
                room if MIDDLE.contains(&room) => {
                    SHARED.contains(&named) || MIDDLE.contains(&named)
                }
                "pool" => SHARED.contains(&named) || named == "raw" || MIDDLE.contains(&named),
                // `crate::Pool`, `crate::health::…`: as anybody outside would say it.
                "adapters" => public.iter().any(|public| public == named),
                _ => false,
            };
        if !is_allowed {
            let path = path.join("::");
            complaints
                .push(source.complaint(line, format!("`{room}` may not name `crate::{path}`")));
        }
    }
    complaints
}

/// The names that `lib.rs` exports.
fn public_names(lib: &Source) -> Vec<String> {
    let code: String = lib.lines.iter().fold(String::new(), |all, line| all + &line.code + "\n");
    let mut names = Vec::new();
    for item in code.split(';').map(str::trim_start) {
        let item = item.rsplit("]\n").next().unwrap_or(item).trim_start();
        if let Some(module) = item.strip_prefix("pub mod ") {
            names.push(module.trim().into());
        } else if let Some(tree) = item.strip_prefix("pub use ") {
            let mut found = Vec::new();
            expand(&mut &*tree, &[], 0, &mut found);
            names.extend(found.into_iter().filter_map(|(_, mut path)| path.pop()));
        }
    }
    names
}

/// (b) `unsafe` in one file only, and there with its argument.
fn unsafe_has_its_place_and_its_argument(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        if !has_word(&line.code, "unsafe") {
            continue;
        }
        if source.path != "raw/slots.rs" {
            complaints.push(source.complaint(at, "`unsafe` outside raw/slots.rs"));
            continue;
        }
        // Straight above: a comment, with nothing but attributes in between.
        let above = source.lines[..at].iter().rev().take_while(|line| {
            let code = line.code.trim();
            (code.is_empty() && !line.comment.is_empty()) || code.starts_with("#[")
        });
        let argument: String = above.map(|line| &*line.comment).collect();
        if !argument.contains("SAFETY:") && !argument.contains("# Safety") {
            complaints
                .push(source.complaint(at, "`unsafe` without `// SAFETY:` straight above it"));
        }
    }
    complaints
}

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
/// How far above an ordering its number may stand.
const REACH: usize = 8;

/// (c) Each ordering says by which row of the table it is chosen: in a comment on the same line, or at most
/// eight lines above. Such a comment speaks for the first statement below it that names orderings, and
/// never beyond the end of a block.
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

/// (e) One switch between the standard library and the model checker.
fn only_the_switch_knows_std_sync_and_loom(source: &Source) -> Vec<String> {
    // Adapters stand outside: they may name the crate's public face only, so no switch.
    if source.path == "sync.rs" || source.is_in("adapters") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (line, path) in paths(source, &["std", "core", "alloc", "loom"]) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_forbidden = match path[..] {
            ["loom", ..] | [_, "sync" | "thread", ..] | [_, "cell", "UnsafeCell"] => true,
            // The model must know of a spinning thread, too.
            [_, "hint", "spin_loop"] => true,
            _ => false,
        };
        if is_forbidden {
            let path = path.join("::");
            complaints.push(source.complaint(line, format!("`{path}` outside sync.rs")));
        }
    }
    if source.path == "lib.rs" {
        return complaints;
    }
    for (at, line) in source.lines.iter().enumerate() {
        let code = line.text.split("//").next().unwrap_or_default();
        let is_condition = code.contains("cfg") && has_word(code, "loom");
        if is_condition || code.contains("feature = \"loom\"") {
            complaints.push(source.complaint(at, "a condition on loom outside sync.rs"));
        }
    }
    complaints
}

const MAX_LINES: usize = 450;

/// (f) A file is read in one go.
fn files_are_short(source: &Source) -> Vec<String> {
    let length = source.lines.len();
    if length <= MAX_LINES {
        return Vec::new();
    }
    vec![source.complaint(MAX_LINES, format!("{length} lines, {MAX_LINES} at most"))]
}

/// (g) Nothing unfinished, and no room for odds and ends.
fn nothing_is_unfinished_and_every_room_has_a_name(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        for word in ["TODO", "FIXME", "XXX"] {
            if has_word(&line.text, word) {
                complaints.push(source.complaint(at, format!("unfinished: {word}")));
            }
        }
        for word in ["todo", "unimplemented"] {
            if word_at(&line.code, word).any(|at| line.code[at + word.len()..].starts_with('!')) {
                complaints.push(source.complaint(at, format!("unfinished: {word}!")));
            }
        }
    }
    for name in source.module() {
        if ["util", "utils", "helper", "helpers", "common", "misc", "core", "inner"].contains(&name)
        {
            complaints
                .push(source.complaint(0, format!("`{name}` says nothing about what is in it")));
        }
    }
    complaints
}

// --------------------------------------------------------------------------------- asking about the crate

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

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[track_caller]
fn ask_all(rule: impl Fn(&Source) -> Vec<String>) {
    let mut sources = Vec::new();
    read(&src(), "", &mut sources);
    assert!(sources.len() > 20, "where is the source?");
    let complaints: Vec<String> = sources.iter().flat_map(rule).collect();
    let all = complaints.iter().fold(String::new(), |mut all, complaint| {
        let _ = write!(all, "\n  {complaint}");
        all
    });
    assert!(complaints.is_empty(), "{} complaints:{all}", complaints.len());
}

/// The rule finds fault with the sample in exactly these lines.
#[track_caller]
fn catches(path: &str, sample: &str, lines: &[usize], rule: impl Fn(&Source) -> Vec<String>) {
    let complaints = rule(&Source::new(path, sample));
    let found: Vec<usize> = complaints
        .iter()
        .map(|complaint| complaint.split(':').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(found, lines, "in\n{sample}\n{complaints:#?}");
}

#[test]
fn imports_point_down_only() {
    let public = ["Pool".to_owned(), "health".to_owned()];
    let rule = |source: &Source| imports_point_down(source, &public);
    catches("sync.rs", "use crate::raw::PoolHooks;", &[1], rule);
    catches("raw/slots.rs", "use super::PoolHooks;\nuse super::super::pool::Pool;", &[2], rule);
    catches("raw/mod.rs", "use crate::sync::Arc;\nuse crate::{\n  clock,\n  sync\n};", &[2], rule);
    catches("raw/waiters.rs", "let now = crate::clock::now();", &[1], rule);
    catches("clock.rs", "use crate::{sync::Arc, pool::Pool};\nuse super::pool;", &[1, 2], rule);
    catches("health/age.rs", "use crate::raw::slots::StaticRef;\nuse super::info;", &[1], rule);
    catches("stats.rs", "use crate::raw::slots::{StaticRef, Lent};", &[1], rule);
    catches("pool/mod.rs", "use crate::raw::RawPool;\nuse crate::adapters::Sqlite;", &[2], rule);
    catches(
        "adapters/a.rs",
        "use crate::{Pool, health::Verdict, raw};\nuse caliburn::X;",
        &[1],
        rule,
    );
    catches("pool/x.rs", "//! See [`crate::adapters`].\nlet x = \"crate::adapters\";", &[], rule);
    catches("attic.rs", "use crate::sync::Arc;", &[1], rule);

    let mut sources = Vec::new();
    read(&src(), "", &mut sources);
    let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap();
    let public = public_names(lib);
    for name in ["Pool", "Stats", "MAX_CAPACITY", "health", "BuildError"] {
        assert!(public.iter().any(|public| public == name), "{name} not found in {public:?}");
    }
    ask_all(|source| imports_point_down(source, &public));
}

#[test]
fn unsafe_code_lies_in_one_file_and_each_piece_has_its_argument() {
    let rule = unsafe_has_its_place_and_its_argument;
    catches("pool/x.rs", "// SAFETY: sure\nunsafe { x() };\n#![deny(unsafe_code)]", &[2], rule);
    catches("raw/slots.rs", "// SAFETY: sure\nunsafe { x() };\nunsafe { y() };", &[3], rule);
    catches("raw/slots.rs", "/// # Safety\n///\n/// sure\n#[inline]\nunsafe fn x() {}", &[], rule);
    catches("raw/slots.rs", "// SAFETY: sure\n\nunsafe impl Send for X {}", &[3], rule);
    ask_all(rule);
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

#[test]
fn only_the_switch_names_std_sync_std_thread_or_the_model_checker() {
    let rule = only_the_switch_knows_std_sync_and_loom;
    catches(
        "pool/x.rs",
        "use std::sync::Arc;\n/// use std::sync::Arc;\nstd::thread::park();",
        &[1, 3],
        rule,
    );
    catches("pool/x.rs", "use std::{fmt, sync::{Arc, Mutex}};", &[1, 1], rule);
    catches(
        "raw/x.rs",
        "use std::cell::{Cell, UnsafeCell};\nuse core::sync::atomic::fence;",
        &[1, 2],
        rule,
    );
    catches("raw/x.rs", "use loom::cell::UnsafeCell;\nuse crate::sync::UnsafeCell;", &[1], rule);
    catches(
        "raw/x.rs",
        "#[cfg(loom)]\nif cfg!(all(x, loom)) {}\nfeature = \"loom\"",
        &[1, 2, 3],
        rule,
    );
    catches("sync.rs", "#[cfg(loom)]\nuse std::sync::Arc;", &[], rule);
    ask_all(rule);
}

#[test]
fn no_source_file_is_longer_than_450_lines() {
    catches("x.rs", &"\n".repeat(450), &[], files_are_short);
    catches("x.rs", &"\n".repeat(451), &[451], files_are_short);
    ask_all(files_are_short);
}

#[test]
fn nothing_is_left_unfinished_and_no_module_is_a_place_for_odds_and_ends() {
    let rule = nothing_is_unfinished_and_every_room_has_a_name;
    catches(
        "x.rs",
        "// TODO: x\n/// FIXME\n//XXX\ntodo!();\nunimplemented!()",
        &[1, 2, 3, 4, 5],
        rule,
    );
    catches("pool/utils.rs", "let todo = 1;", &[1], rule);
    catches("helper/mod.rs", "", &[1], rule);
    ask_all(rule);
}

#[test]
fn comments_strings_and_characters_are_told_from_code() {
    let text =
        "a \"b // c\" 'd' '\"' '\\'' &'e f // g \"h\"\ni /* j\nk */ l \"m\nn\" r#\"o\"p\"# q";
    let source = Source::new("x.rs", text);
    let code: Vec<_> = source.lines.iter().map(|line| line.code.as_str()).collect();
    assert_eq!(code, ["a \"\" ' ' ' ' ' ' &'e f ", "i ", " l \"", "\" r#\"\" q"]);
    assert_eq!(source.lines[0].comment, "// g \"h\"");
    assert!(source.is_in("x"));
}
