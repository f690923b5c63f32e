//! The code of the guide, of the front page and of the first examples, compiled and run as it
//! stands: only the names of servers are put in.
#![cfg(all(
    unix,
    feature = "rusqlite",
    feature = "postgres",
    feature = "tokio-postgres",
    feature = "mysql",
    feature = "mysql_async",
    feature = "redis",
    feature = "redis-tokio",
    feature = "r2d2",
    feature = "bb8",
    feature = "serde"
))]

use crate::common::eventually;
use crate::common::servers::{mariadb, postgres, redis};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Besides the crate itself, with all its features.
const DEPENDENCIES: &str = r#"
bb8 = "0.9"
mysql = { version = "28", default-features = false, features = ["minimal"] }
mysql_async = { version = "0.37", default-features = false, features = ["minimal"] }
postgres = "0.19"
r2d2 = "0.8"
redis = { version = "1", default-features = false }
rusqlite = "0.41"
serde_json = "1"
tempfile = "3"
tokio = { version = "1", features = ["rt", "rt-multi-thread", "macros", "net", "time"] }
tokio-postgres = "0.7"
toml = { version = "1", default-features = false, features = ["parse", "serde"] }
"#;

/// A piece of code in a page.
struct Snippet {
    /// A name for its program: of the page, and the line.
    name: String,
    code: String,
}

/// The code of a page that rustdoc would compile.
fn snippets(page: &Path) -> Vec<Snippet> {
    let text = std::fs::read_to_string(page).unwrap();
    let stem = page.file_stem().unwrap().to_str().unwrap().to_lowercase();
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let code: Vec<_> = body.map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let is_code = info.split(',').all(|word| ["", "rust", "no_run"].contains(&word));
        if is_code {
            let code = code.iter().map(|line| if *line == "#" { "" } else { line });
            let code = code.collect::<Vec<_>>().join("\n");
            found.push(Snippet { name: format!("{stem}_{}", at + 1), code });
        }
    }
    found
}

/// As rustdoc does it.
fn program(code: &str) -> String {
    if code.contains("fn main()") && !code.contains("# main()") && !code.contains("\nmain()") {
        return code.to_owned();
    }
    format!("#![allow(unused)]\nfn main() {{\n{code}\n}}\n")
}

fn pages() -> Vec<PathBuf> {
    let guide = std::fs::read_dir(Path::new(ROOT).join("src/guide")).unwrap();
    let mut pages: Vec<_> = guide.map(|entry| entry.unwrap().path()).collect();
    pages.push(Path::new(ROOT).join("README.md"));
    pages.sort();
    pages
}

/// The first examples, each a program.
fn hellos() -> Vec<Snippet> {
    let examples = std::fs::read_dir(Path::new(ROOT).join("examples")).unwrap();
    let paths = examples.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let named = paths.filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let code = std::fs::read_to_string(&path).ok()?;
        name.starts_with("hello_").then_some(Snippet { name, code })
    });
    named.collect()
}

/// Writes a package with a program for each snippet.
fn write_package(at: &Path, snippets: &[Snippet], put_in: impl Fn(&str) -> String) {
    let _ = std::fs::remove_dir_all(at.join("src"));
    std::fs::create_dir_all(at.join("src/bin")).unwrap();
    let mut manifest = format!(
        "[package]\nname = \"guide\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         caliburn = {{ path = {ROOT:?}, features = [\"bb8\", \"mysql\", \"mysql_async\", \
         \"postgres\", \"r2d2\", \"redis\", \"redis-tokio\", \"rusqlite\", \"serde\", \
         \"tokio-postgres\"] }}"
    );
    manifest.write_str(DEPENDENCIES).unwrap();
    manifest.push_str("\n[profile.dev]\ndebug = false\n");
    std::fs::write(at.join("Cargo.toml"), manifest).unwrap();
    // The versions that the crate itself is tested with.
    std::fs::copy(Path::new(ROOT).join("Cargo.lock"), at.join("Cargo.lock")).unwrap();
    for snippet in snippets {
        let code = put_in(&program(&snippet.code));
        let is_whole =
            ["db.internal", "db.example", "cache.internal"].iter().all(|name| !code.contains(name));
        assert!(is_whole, "{}: a server's name is left:\n{code}", snippet.name);
        std::fs::write(at.join(format!("src/bin/{}.rs", snippet.name)), code).unwrap();
    }
}

/// In the directory of these tests and the profile that others have there, so that what was built
/// for them is not built again.
fn build(at: &Path, target: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--target-dir"]).arg(target).current_dir(at);
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Runs a program in an empty folder; what it said if it failed, or did not end.
fn run(program: &Path) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let said = directory.path().join("said");
    let mut child = command.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    let mut status = None;
    eventually(&format!("{} ends", program.display()), || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let said = std::fs::read_to_string(said).unwrap();
    if status.unwrap().success() { Ok(()) } else { Err(said) }
}

#[test]
#[ignore = "needs PostgreSQL, MariaDB and Redis, and compiles a package"]
fn the_code_of_each_page_runs_as_it_stands() {
    let postgres = postgres::Postgres::start(&[]);
    postgres.ask("CREATE ROLE app LOGIN");
    postgres.ask("CREATE DATABASE songs OWNER app");
    postgres.ask("ALTER ROLE app SET search_path = app");
    let songs = "CREATE TABLE song (title TEXT, plays INT DEFAULT 0)";
    postgres.ask_in(
        "songs",
        &format!(
            "CREATE SCHEMA app AUTHORIZATION app; SET ROLE app; SET search_path = app; {songs}"
        ),
    );
    let mariadb = mariadb::MariaDb::start(&[]);
    mariadb.ask(&format!("USE {}; {songs}", mariadb::DATABASE));
    let redis = redis::Redis::start(&[]);

    let snippets: Vec<_> = pages().iter().flat_map(|page| snippets(page)).chain(hellos()).collect();
    assert!(snippets.len() >= 10, "{} snippets", snippets.len());
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    let database = format!("host=127.0.0.1 port={} user=app", postgres.port);
    let mysql =
        format!("mysql://{}:{}@127.0.0.1:{}/", mariadb::USER, mariadb::PASSWORD, mariadb.port);
    write_package(&package, &snippets, |code| {
        code.replace("host=db.internal user=app", &database)
            .replace("host=localhost user=app", &database)
            .replace("mysql://app:secret@db.example:3306/", &mysql)
            .replace("mysql://app:secret@db.example/", &mysql)
            .replace("mysql://app:secret@localhost/", &mysql)
            .replace("mysql://localhost", &format!("{mysql}{}", mariadb::DATABASE))
            .replace("redis://app:secret@cache.internal/0", &redis.url())
            .replace("redis://127.0.0.1/", &redis.url())
    });
    let target = package.ancestors().nth(2).unwrap();
    build(&package, target);
    let mut failures = Vec::new();
    for Snippet { name, .. } in &snippets {
        if let Err(said) = run(&target.join("debug").join(name)) {
            failures.push(format!("{name}: {said}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
