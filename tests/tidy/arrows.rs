//! Which file of the crate takes what from which: by the names in its code, each followed through
//! the doors (`pub use`) to the file that defines it.
//!
//! What a file takes without a name is not seen: a method, a field, a macro by its place in the
//! text.

use crate::names::{Named, expand, has_word, is_part_of_a_name, word_at};
use crate::text::Source;
use std::collections::{BTreeMap, BTreeSet};

/// From one file to another, by their paths, with the names that the first takes from the second.
pub(crate) type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// `use` inside of `use` inside of …: so deep, and no deeper.
const PATIENCE: usize = 16;

/// All arrows. Tests within the files are left out.
pub(crate) fn arrows(sources: &[Source]) -> Arrows {
    let is_code = |source: &&Source| source.module().last() != Some(&"tests");
    let files = Files(sources.iter().filter(is_code).map(File::new).collect());
    let mut arrows = Arrows::new();
    for (from, file) in files.0.iter().enumerate() {
        for (to, name) in files.taken_by(file) {
            if from != to {
                let ends = (file.path.clone(), files.0[to].path.clone());
                arrows.entry(ends).or_default().insert(name);
            }
        }
    }
    arrows
}

struct File {
    path: String,
    module: Vec<String>,
    uses: Vec<Use>,
    /// The code but for its `use`, and the tests.
    rest: String,
    /// The paths in `rest`.
    inline: Vec<Vec<String>>,
}

struct Use {
    /// `super` of an inline module is resolved.
    path: Vec<String>,
    known_as: String,
    is_public: bool,
}

/// The file that a path leads to, and the name of the item in it: without a name, it is the file's
/// module.
type Found = (usize, Option<String>);

impl File {
    fn new(source: &Source) -> Self {
        let code = without_tests(&source.code());
        let (uses, rest) = take_uses(&code);
        let inline = inline_paths(&rest);
        let module = source.module().into_iter().map(str::to_owned).collect();
        Self { path: source.path.clone(), module, uses, rest, inline }
    }

    fn defines(&self, name: &str) -> bool {
        let is_definition = |at: usize| {
            let before = self.rest[..at].trim_end().rsplit(|c| !is_part_of_a_name(c)).next();
            let keywords = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
            before.is_some_and(|before| keywords.contains(&before))
        };
        word_at(&self.rest, name).any(is_definition)
    }

    /// Whether `name` stands in the code by itself.
    fn says(&self, name: &str) -> bool {
        word_at(&self.rest, name).any(|at| !is_continued(&self.rest[..at]))
    }

    fn is_above(&self, other: &File) -> bool {
        other.module.len() > self.module.len() && other.module.starts_with(&self.module)
    }
}

struct Files(Vec<File>);

impl Files {
    fn taken_by(&self, file: &File) -> Vec<(usize, String)> {
        let mut taken = Vec::new();
        for used in &file.uses {
            let path = used.path.strip_suffix(&["*".to_owned()]);
            let Some((to, name)) = self.follow(file, path.unwrap_or(&used.path), PATIENCE) else {
                continue;
            };
            let is_door = used.is_public && file.is_above(&self.0[to]);
            match name {
                // A door is no import, but may be gone through from within, too.
                Some(name) if !is_door || file.says(&used.known_as) => taken.push((to, name)),
                None if path.is_some() && !is_door => taken.push((to, "*".into())),
                // Of a module counts what is taken from it.
                _ => {}
            }
        }
        for path in &file.inline {
            if let Some((to, Some(name))) = self.follow(file, path, PATIENCE) {
                taken.push((to, name));
            }
        }
        taken
    }

    fn at(&self, module: &[String]) -> Option<usize> {
        self.0.iter().position(|file| file.module == module)
    }

    /// Where `path` leads, said in `file`. `None`: out of the crate, or nowhere but into the file
    /// itself.
    fn follow(&self, file: &File, path: &[String], patience: usize) -> Option<Found> {
        let first = path.first()?;
        if first == "crate" {
            return self.descend(&[], &path[1..], patience);
        }
        let ups = path.iter().take_while(|word| *word == "super" || *word == "self");
        let (mut to_go, mut module) = (path, &file.module[..]);
        for up in ups {
            to_go = &to_go[1..];
            if up == "super" {
                module = &module[..module.len().checked_sub(1)?];
            }
        }
        let child = [module, &to_go[..1.min(to_go.len())]].concat();
        let is_known = to_go.len() < path.len()
            || self.at(&child).is_some()
            || file.uses.iter().any(|used| used.known_as == *first);
        if is_known { self.descend(module, to_go, patience) } else { None }
    }

    /// Where `path` leads from `module` down.
    fn descend(&self, module: &[String], path: &[String], patience: usize) -> Option<Found> {
        let mut module = module.to_vec();
        for (at, name) in path.iter().enumerate() {
            module.push(name.clone());
            if self.at(&module).is_some() {
                continue;
            }
            module.pop();
            let here = self.at(&module)?;
            let file = &self.0[here];
            let patience = patience.checked_sub(1)?;
            let through = |used: &Use| {
                let path = if used.known_as == *name {
                    [&used.path, &path[at + 1..]].concat()
                } else {
                    [used.path.strip_suffix(&["*".to_owned()])?, &path[at..]].concat()
                };
                let (to, item) = self.follow(file, &path, patience)?;
                let is_there = used.known_as == *name || self.0[to].defines(name);
                is_there.then_some((to, item))
            };
            // What comes from out of the crate is this file's to give.
            let own = (here, Some(name.clone()));
            return Some(file.uses.iter().find_map(through).unwrap_or(own));
        }
        Some((self.at(&module)?, None))
    }
}

/// The code with `#[cfg(test)]` and what it is said of emptied, lines kept.
pub(crate) fn without_tests(code: &str) -> String {
    let mut left = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(") {
        let (before, from) = rest.split_at(at);
        left.push_str(before);
        let attribute = &from[..from.find(']').map_or(from.len(), |end| end + 1)];
        let is_test = has_word(attribute, "test") && !attribute.contains("not(test");
        let gone = if is_test { attribute.len() + item(&from[attribute.len()..]) } else { 0 };
        left.extend(from[..gone].chars().filter(|c| *c == '\n'));
        let kept = if is_test { gone } else { attribute.len() };
        left.push_str(&from[gone..kept]);
        rest = &from[kept..];
    }
    left + rest
}

/// The length of the item that the code begins with: to the `;` or the brace that ends it.
fn item(code: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return at;
        }
        if depth == 0 && (c == ';' || c == '}') {
            return at + 1;
        }
    }
    code.len()
}

/// What the code imports, and the code without it.
fn take_uses(code: &str) -> (Vec<Use>, String) {
    let (mut uses, mut rest, mut done) = (Vec::new(), String::new(), 0);
    for at in word_at(code, "use") {
        let after = &code[at + "use".len()..];
        // Not the `use<'a>` of a type.
        if at < done || after.trim_start().starts_with('<') {
            continue;
        }
        let tree = &after[..after.find(';').unwrap_or(after.len())];
        let before = code[..at].trim_end();
        let word = before.rsplit([';', '{', '}', '\n']).next().unwrap_or_default();
        let mut found = Vec::new();
        expand(&mut &*tree, &[], 0, &mut found);
        uses.extend(found.into_iter().map(|Named { path, known_as, .. }| Use {
            path: out_of_inline_modules(path, &code[..at]),
            known_as,
            is_public: has_word(word, "pub"),
        }));
        rest.push_str(&code[done..at]);
        done = at + "use".len() + tree.len();
    }
    rest.push_str(&code[done..]);
    (uses, rest)
}

/// Whether what comes after the code belongs to a longer path, to a value, or to a macro.
fn is_continued(code: &str) -> bool {
    let is_field = code.ends_with('.') && !code.ends_with("..");
    is_field || code.ends_with("::") || code.ends_with('$')
}

/// The paths of two words or more, as `growth::start` or `crate::Pool`.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = code[..at].trim_end_matches(is_part_of_a_name);
        if before.len() < at && !is_continued(before) {
            let mut named = Vec::new();
            expand(&mut &code[before.len()..], &[], 0, &mut named);
            found.extend(named.into_iter().map(|named| out_of_inline_modules(named.path, before)));
        }
    }
    found
}

/// How many `mod x { … }` are open at the end of the code.
fn inline_modules_around(code: &str) -> usize {
    let mut open = Vec::new();
    for (at, c) in code.char_indices() {
        if c == '{' {
            let mut words = code[..at].split_whitespace();
            words.next_back();
            open.push(words.next_back() == Some("mod"));
        } else if c == '}' {
            open.pop();
        }
    }
    open.into_iter().filter(|is_module| *is_module).count()
}

/// The path, said at the end of `code`, as the file around the inline modules there would say it.
fn out_of_inline_modules(mut path: Vec<String>, code: &str) -> Vec<String> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    if ups > 0 {
        let within = inline_modules_around(code).min(ups);
        path[..within].fill("self".into());
    }
    path
}

/// The arrows of a sample, one a line: `a.rs b.rs: A, B`.
fn drawn(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    let line = |((from, to), names): ((String, String), BTreeSet<String>)| {
        format!("{from} {to}: {}", names.into_iter().collect::<Vec<_>>().join(", "))
    };
    arrows(&sources).into_iter().map(line).collect()
}

#[test]
fn an_arrow_goes_to_the_file_that_defines_what_is_named() {
    let room = "pub mod a; mod b;\npub use b::{B, make as forge};\npub struct Room;\nuse std::fmt;";
    let user = |code| {
        drawn(&[("room/mod.rs", room), ("room/a.rs", ""), ("room/b.rs", ""), ("x.rs", code)])
    };
    assert_eq!(user("use crate::room::Room;"), ["x.rs room/mod.rs: Room"]);
    assert_eq!(user("use crate::room::{a::A, B};"), ["x.rs room/a.rs: A", "x.rs room/b.rs: B"]);
    assert_eq!(user("fn f() { super::room::forge() }"), ["x.rs room/b.rs: make"]);
    assert_eq!(user("use crate::room;\nlet b = room::B::new();"), ["x.rs room/b.rs: B"]);
    assert_eq!(user("use crate::room::a as c;\nc::f(c::g);"), ["x.rs room/a.rs: f, g"]);
    assert_eq!(user("use crate::room::{self, fmt};"), ["x.rs room/mod.rs: fmt"]);
    assert_eq!(user("use crate::room::a::*;"), ["x.rs room/a.rs: *"]);
    assert_eq!(user("mod y { use super::super::room::B; }"), ["x.rs room/b.rs: B"]);
    assert_eq!(user("use crate::room::a;\nx(..a::MAX)"), ["x.rs room/a.rs: MAX"]);
    let none = [
        "use crate::room;",
        "use room::Room;\n::room::f();\nx.room::<A>();",
        "/// [`crate::room::Room`]\nlet x = \"crate::room::Room\";",
        "#[cfg(test)]\nmod tests { use crate::room::Room; }",
        "#[cfg(all(test, unix))]\nuse crate::room::Room;",
        "mod y { fn f() -> super::Room {} }",
    ];
    for code in none {
        assert_eq!(user(code), Vec::<String>::new(), "{code}");
    }
    assert_eq!(user("#[cfg(not(test))]\nuse crate::room::B;"), ["x.rs room/b.rs: B"]);
}

#[test]
fn a_door_is_no_arrow_unless_the_file_that_has_it_goes_through_it_itself() {
    let room = |code| drawn(&[("room.rs", code), ("room/a.rs", "use super::Room;")]);
    let back = "room/a.rs room.rs: Room";
    assert_eq!(room("mod a;\npub(crate) use a::{A, B};"), [back]);
    assert_eq!(room("pub use a::A;\nfn f(a: &A, b: c::B) {}"), ["room.rs room/a.rs: A", back]);
    assert_eq!(room("use a::A;"), ["room.rs room/a.rs: A", back]);
    assert_eq!(room("mod a;\nfn f() { a::g() }"), ["room.rs room/a.rs: g", back]);
    // A name of the parent's own imports is not the parent's.
    let files = [("room.rs", "use crate::y::Y;"), ("room/a.rs", "use super::Y;"), ("y.rs", "")];
    assert_eq!(drawn(&files), ["room.rs y.rs: Y", "room/a.rs y.rs: Y"]);
    // Through one that leads everywhere.
    let files =
        [("r.rs", "pub use a::*;"), ("r/a.rs", "struct A;"), ("x.rs", "use crate::r::{A, B};")];
    assert_eq!(drawn(&files), ["x.rs r.rs: B", "x.rs r/a.rs: A"]);
}
