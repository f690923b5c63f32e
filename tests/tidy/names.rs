//! The names that code says: words, paths, and what stands in the groups of a `use`.

use crate::text::Source;

pub(crate) fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `text` as a word of its own.
pub(crate) fn word_at<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part_of_a_name) && !after.is_some_and(is_part_of_a_name)
    })
}

pub(crate) fn has_word(text: &str, word: &str) -> bool {
    word_at(text, word).next().is_some()
}

/// A path named in the code, `use` groups taken apart.
pub(crate) struct Named {
    /// Of its first word.
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// What it is called from there on, if a `use` names it.
    pub(crate) known_as: String,
}

/// Every path in the code that begins with one of `roots`, as `crate::raw::slots::Lent`.
pub(crate) fn paths(source: &Source, roots: &[&str]) -> Vec<Named> {
    let code = source.code();
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
pub(crate) fn expand(rest: &mut &str, before: &[String], line: usize, found: &mut Vec<Named>) {
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
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let mut known_as = path.last().cloned().unwrap_or_default();
    if let Some(after) = rest.trim_start().strip_prefix("as ") {
        let after = after.trim_start();
        let end = after.find(|c| !is_part_of_a_name(c)).unwrap_or(after.len());
        known_as = after[..end].into();
        *rest = &after[end..];
    }
    found.push(Named { line, path, known_as });
}

/// What the file names of its own crate, as paths from the root: `super` resolved, `self` left out.
pub(crate) fn own_names(source: &Source) -> Vec<Named> {
    let module: Vec<String> = source.module().into_iter().map(str::to_owned).collect();
    paths(source, &["crate", "super"])
        .into_iter()
        .map(|Named { line, path, known_as }| {
            let ups = path.iter().take_while(|word| *word == "super").count();
            let mut full = Vec::new();
            if ups > 0 {
                full.extend(module[..module.len().saturating_sub(ups)].iter().cloned());
                full.extend(path[ups..].iter().cloned());
            } else {
                full.extend(path[1..].iter().cloned());
            }
            Named { line, path: full, known_as }
        })
        .collect()
}
