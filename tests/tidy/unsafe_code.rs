//! Where `unsafe` may stand, and with what.

use crate::asking::{ask_all, catches};
use crate::names::has_word;
use crate::text::Source;

/// The slots; what hears of forks, which `std` does not report; what looks at a driver's socket,
/// which the drivers do not show.
const UNSAFE: [&str; 3] = ["raw/slots.rs", "fork.rs", "adapters/socket/mod.rs"];

/// (b) `unsafe` in these files only, and there with its argument.
fn unsafe_has_its_place_and_its_argument(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in source.lines.iter().enumerate() {
        if !has_word(&line.code, "unsafe") {
            continue;
        }
        if !UNSAFE.contains(&&*source.path) {
            complaints
                .push(source.complaint(at, format!("`unsafe` outside {}", UNSAFE.join(", "))));
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

#[test]
fn unsafe_code_lies_in_three_files_and_each_piece_has_its_argument() {
    let rule = unsafe_has_its_place_and_its_argument;
    catches("pool/x.rs", "// SAFETY: sure\nunsafe { x() };\n#![deny(unsafe_code)]", &[2], rule);
    catches("raw/slots.rs", "// SAFETY: sure\nunsafe { x() };\nunsafe { y() };", &[3], rule);
    catches("raw/slots.rs", "/// # Safety\n///\n/// sure\n#[inline]\nunsafe fn x() {}", &[], rule);
    catches("fork.rs", "unsafe extern {}", &[1], rule);
    catches("raw/slots.rs", "// SAFETY: sure\n\nunsafe impl Send for X {}", &[3], rule);
    ask_all(rule);
}
