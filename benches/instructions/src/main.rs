//! How many instructions a round trip through caliburn takes, and which.
//!
//! `count` compares with the budget, `write` writes the budget and the listing anew, `listing PATH`
//! prints the instructions of one path. Run it with `--release`: `benches/LISTING.md` has more.

mod budget;
mod code;
mod figures;
mod lines;
mod listing;
mod paths;
mod profile;
mod tools;
mod valgrind;

use budget::{Budget, HEADER, compiler};
use code::Code;
use figures::Figures;
use lines::Lines;
use paths::Path;
use profile::Profile;
use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["count"] => count(),
        ["write"] => write(),
        ["listing", name] => find(name).and_then(print),
        // What runs under valgrind.
        ["travel", name] => find(name).and_then(travel),
        _ => Err("usage: count | write | listing PATH".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn find(name: &str) -> Result<&'static Path, String> {
    let names = || paths::ALL.map(|path| path.name).join(", ");
    paths::ALL.iter().find(|path| path.name == name).ok_or_else(|| format!("there are {}", names()))
}

fn travel(path: &Path) -> Result<(), String> {
    lines::tell_where()?;
    (path.travel)(valgrind::TRIPS);
    Ok(())
}

/// Fails if anything is not as the budget says, if that was counted with this compiler: for better
/// or for worse, it wants to be written down.
fn count() -> Result<(), String> {
    let budget = Budget::read()?;
    let code = Code::of_this_program()?;
    let mut is_kept = true;
    println!("{HEADER}");
    for path in &paths::ALL {
        let figures = Figures::of(path, &Profile::of(path)?, &code)?;
        println!("{:<18} {figures}", path.name);
        let allowed = budget.paths.get(path.name);
        if !allowed.is_some_and(|allowed| figures.keep_to(allowed)) {
            println!("{:<18} {}", "  in the budget", allowed.map_or("-", String::as_str));
            is_kept = false;
        }
    }
    if is_kept {
        return Ok(());
    }
    let now = compiler();
    if budget.compiler == now {
        return Err("not as in the budget. If it is meant to be so: `write`".into());
    }
    // A new compiler is nobody's mistake; one who brings it in should `write`.
    println!(
        "not as in the budget, which holds for {}; this is {now}: `write` it anew",
        budget.compiler
    );
    Ok(())
}

fn write() -> Result<(), String> {
    let code = Code::of_this_program()?;
    let mut counted = Vec::new();
    for path in &paths::ALL {
        let profile = Profile::of(path)?;
        counted.push((path.name, Figures::of(path, &profile, &code)?));
        listing::put_on_page(path, &listing::listing(path, &profile, &code)?)?;
    }
    Budget::write(&counted)
}

fn print(path: &Path) -> Result<(), String> {
    let (profile, code) = (Profile::of(path)?, Code::of_this_program()?);
    let listing = listing::listing(path, &profile, &code)?;
    let figures = Figures::of(path, &profile, &code)?;
    let lines = Lines::of(path, &profile, &code)?;
    let text = format!("{listing}{HEADER}\n{:<18} {figures}\n{lines}\n", path.name);
    // Whoever reads it through a pipe may have seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
