//! The road through the code, in the order of addresses, under the lines of source that it comes
//! from.

use crate::code::{Code, Instruction};
use crate::paths::Path;
use crate::profile::Profile;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../LISTING.md");

/// What every trip comes past, function by function, the path's own first.
pub(crate) fn listing(path: &Path, profile: &Profile, code: &Code) -> Result<String, String> {
    let road = profile.road();
    let places = Code::lines(&road)?;
    let mut functions: BTreeMap<(bool, &str), Vec<(u64, &Instruction)>> = BTreeMap::new();
    let own = format!("::paths::{}", path.function);
    for address in road.keys() {
        let Some(instruction) = code.at(*address) else { continue };
        let function = instruction.function.as_str();
        let comes_later = !function.ends_with(&own);
        functions.entry((comes_later, function)).or_default().push((*address, instruction));
    }
    let mut text = String::new();
    for ((_, name), instructions) in functions {
        let _ = writeln!(text, "{name}:");
        let mut above = "";
        for (address, instruction) in instructions {
            let place = self::place(&places, address).unwrap_or(above);
            if place != above {
                let _ = writeln!(text, "  {place}  {}", line(place).unwrap_or_default());
                above = place;
            }
            let _ = writeln!(text, "      {}", shown(instruction, &road));
        }
    }
    Ok(text)
}

/// Without addresses, which say nothing. A branch that no trip takes leads `away`, one that stays
/// within its function `onward`.
fn shown(instruction: &Instruction, road: &BTreeMap<u64, u64>) -> String {
    let text = instruction.text.replace("lock ", "lock_");
    let (verb, object) = text.split_once(' ').unwrap_or((&text, ""));
    let object = match (instruction.target(), symbol(object)) {
        (Some(target), _) if !road.contains_key(&target) => "away".into(),
        (Some(_), Some(name)) if name.starts_with(&instruction.function) => "onward".into(),
        (None, Some(name)) => match object.split_once("[rip") {
            Some((before, _)) => format!("{before}[{}]", variable(name)),
            None => name.into(),
        },
        _ => object.into(),
    };
    format!("{:<7} {object}", verb.replace('_', " ")).trim_end().into()
}

/// The name that the disassembler has found for an address.
fn symbol(object: &str) -> Option<&str> {
    object.split_once(" <").and_then(|(_, name)| name.strip_suffix('>'))
}

/// What has no name of its own is called by its distance from something that has.
fn variable(name: &str) -> &str {
    if name.contains("+0x") { "a constant" } else { name }
}

/// Where the instruction at `address` comes from. Line 0 and `?` stand for nowhere in particular.
fn place(places: &BTreeMap<u64, String>, address: u64) -> Option<&str> {
    let place = places.get(&address)?;
    (!place.ends_with(":0") && !place.ends_with('?')).then_some(place)
}

/// The line of source at `place`, which is `file:line`.
fn line(place: &str) -> Option<String> {
    let (file, line) = place.split_once(':')?;
    let text = fs::read_to_string(format!("{ROOT}/{file}")).ok()?;
    Some(text.lines().nth(line.parse::<usize>().ok()?.checked_sub(1)?)?.trim().to_owned())
}

/// Puts the listing of `path` where the page has it, if the page is there and has it.
pub(crate) fn put_on_page(path: &Path, listing: &str) -> Result<(), String> {
    let Ok(page) = fs::read_to_string(PAGE) else { return Ok(()) };
    let mark = format!("<!-- {} -->\n```asm\n", path.name);
    let Some((before, rest)) = page.split_once(&mark) else { return Ok(()) };
    let Some((_, after)) = rest.split_once("```\n") else { return Ok(()) };
    let page = format!("{before}{mark}{listing}```\n{after}");
    fs::write(PAGE, page).map_err(|error| format!("{PAGE}: {error}"))
}
