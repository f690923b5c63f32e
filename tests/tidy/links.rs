//! Pages whose links lead somewhere, on the crate page and in the repository.

use std::fs;
use std::path::Path;

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Pages that are read in the repository.
pub(crate) const PAGES: [&str; 13] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benches/LISTING.md",
    "benches/README.md",
    "benches/programs/README.md",
    "python/MIGRATING.md",
    "python/README.md",
    "python/benches/BENCHMARKS.md",
    "src/guide/README.md",
    "src/raw/README.md",
    "tests/README.md",
];

/// A page without what stands in fences.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `[name]: target`, each.
fn definitions(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let pairs = lines.filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    pairs.collect()
}

/// Where the links of a page lead: `[text](target)` and `[name]: target`.
fn targets(text: &str) -> Vec<&str> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let inline = inline.map(|(target, _)| target);
    inline.chain(definitions(text).into_iter().map(|(_, target)| target)).collect()
}

/// As the crate page and the repository's make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(page).unwrap_or_default();
    let text = prose(&text);
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    headings.any(|line| anchor(line) == wanted)
}

/// What is wrong with a link of that page.
fn complaint(page: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.contains("::") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.into() } else { page.parent()?.join(file) };
    if !file.exists() {
        return Some(format!("{}: {target}: no such file", page.display()));
    }
    let is_there = heading.is_empty() || has_anchor(&file, heading);
    (!is_there).then(|| format!("{}: {target}: no such heading", page.display()))
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading_that_are_there() {
    let mut complaints = Vec::new();
    for page in PAGES.map(|page| Path::new(ROOT).join(page)) {
        let text = prose(&fs::read_to_string(&page).unwrap());
        complaints.extend(targets(&text).into_iter().filter_map(|it| complaint(&page, it)));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The compiler of the documentation sees that the crate's own definitions lead somewhere.
#[test]
fn the_crate_leads_to_a_page_wherever_the_front_page_or_the_guide_leads_to_a_file() {
    for (page, source) in [("README.md", "src/lib.rs"), ("src/guide/README.md", "src/guide.rs")] {
        let page = prose(&fs::read_to_string(Path::new(ROOT).join(page)).unwrap());
        let source = fs::read_to_string(Path::new(ROOT).join(source)).unwrap();
        let source: Vec<_> = source.lines().filter(|line| line.starts_with("//!")).collect();
        let source = source.join("\n");
        let names = |text| definitions(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(names(&page).len() > 5);
        assert_eq!(names(&page), names(&source));
        assert!(!page.contains("]("), "its links have names: {page}");
    }
}

#[test]
fn a_link_to_nothing_is_noticed() {
    let page = Path::new(ROOT).join("README.md");
    let text = prose("[a](nowhere.md) [b](CHANGELOG.md)\n```\n[c](code.md)\n```\n[d]: #nothing");
    let found: Vec<_> = targets(&text).into_iter().filter_map(|it| complaint(&page, it)).collect();
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn the_front_page_is_short() {
    let front = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(front.lines().count() <= 110, "{} lines", front.lines().count());
}
