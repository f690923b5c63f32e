//! Files that are short, finished, and named after what is in them.

use crate::asking::{ask_all, catches};
use crate::names::{has_word, word_at};
use crate::text::Source;

/// (f) A file is read in one go; where lock-free code and policy are, in a shorter one. All that is
/// unsafe lies in one file, which may be longer for it.
fn files_are_short(source: &Source) -> Vec<String> {
    let length = source.lines.len();
    let is_hard = source.is_in("pool") || source.is_in("raw");
    let most = match &*source.path {
        "raw/slots.rs" => 470,
        _ if is_hard => 400,
        _ => 450,
    };
    if length <= most {
        return Vec::new();
    }
    vec![source.complaint(most, format!("{length} lines, {most} at most"))]
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

#[test]
fn no_source_file_is_longer_than_450_lines_and_none_of_the_pool_than_400() {
    catches("raw/slots.rs", &"\n".repeat(471), &[471], files_are_short);
    for path in ["x.rs", "adapters/x.rs"] {
        catches(path, &"\n".repeat(450), &[], files_are_short);
        catches(path, &"\n".repeat(451), &[451], files_are_short);
    }
    for path in ["pool/mod.rs", "pool/ground/x.rs", "raw/x.rs"] {
        catches(path, &"\n".repeat(400), &[], files_are_short);
        catches(path, &"\n".repeat(401), &[401], files_are_short);
    }
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
