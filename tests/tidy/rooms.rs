//! The rooms of the crate, and which may name which.

use crate::asking::{ask_all, catches, crate_sources};
use crate::names::{Named, expand, own_names};
use crate::text::Source;

/// At the bottom: for all rooms.
const SHARED: [&str; 3] = ["no_unwind", "sync", "fork"];
const MIDDLE: [&str; 11] = [
    "config", "stats", "health", "manager", "driver", "observe", "error", "clock", "hooks", "data",
    "role",
];

/// (a) Imports point down only. `public` are the names that the crate exports.
fn imports_point_down(source: &Source, public: &[String]) -> Vec<String> {
    let module = source.module();
    let Some(room) = module.first().copied() else { return Vec::new() };
    let mut complaints = Vec::new();
    for Named { line, path, .. } in own_names(source) {
        let Some(named) = path.first().map(String::as_str).filter(|named| *named != "*") else {
            continue;
        };
        let is_of_ledgers =
            path[..] == ["raw", "slots", "StaticRef"] || path[..] == ["raw", "era", "Stamp"];
        let is_allowed = named == room
            || match room {
                "fork" => named == "sync",
                room if SHARED.contains(&room) => false,
                // The models do not know it.
                "raw" if named == "fork" => false,
                "raw" => SHARED.contains(&named),
                "stats" if is_of_ledgers => true,
                room if MIDDLE.contains(&room) => {
                    SHARED.contains(&named) || MIDDLE.contains(&named)
                }
                "pool" => SHARED.contains(&named) || named == "raw" || MIDDLE.contains(&named),
                "router" => {
                    let is_below = ["pool", "Pool", "PooledConnection", "Builder"].contains(&named);
                    is_below || SHARED.contains(&named) || MIDDLE.contains(&named)
                }
                // `crate::Pool`, `crate::health::…`: as anybody outside would say it.
                // Beside it, what is of the process must be anew in a forked child.
                "adapters" => named == "fork" || public.iter().any(|public| public == named),
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
    let code = lib.code();
    let mut names = Vec::new();
    for item in code.split(';').map(str::trim_start) {
        let item = item.rsplit("]\n").next().unwrap_or(item).trim_start();
        if let Some(module) = item.strip_prefix("pub mod ") {
            names.push(module.trim().into());
        } else if let Some(tree) = item.strip_prefix("pub use ") {
            let mut found = Vec::new();
            expand(&mut &*tree, &[], 0, &mut found);
            names.extend(found.into_iter().map(|named| named.known_as));
        }
    }
    names
}

#[test]
fn imports_point_down_only() {
    let public = ["Pool".to_owned(), "health".to_owned()];
    let rule = |source: &Source| imports_point_down(source, &public);
    catches("sync.rs", "use crate::raw::PoolHooks;", &[1], rule);
    catches("raw/slots.rs", "use super::PoolHooks;\nuse super::super::pool::Pool;", &[2], rule);
    catches("fork.rs", "use crate::sync::Arc;\nuse crate::no_unwind::no_unwind;", &[2], rule);
    catches("raw/waiter.rs", "use crate::fork::Inherited;", &[1], rule);
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
    catches(
        "adapters/a/b.rs",
        "use super::c;\nuse super::super::d;\nuse crate::adapters::d;\n\
         use super::super::super::pool;",
        &[4],
        rule,
    );
    catches("pool/x.rs", "//! See [`crate::adapters`].\nlet x = \"crate::adapters\";", &[], rule);
    catches("attic.rs", "use crate::sync::Arc;", &[1], rule);

    let sources = crate_sources();
    let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap();
    let public = public_names(lib);
    for name in ["Pool", "Stats", "MAX_CAPACITY", "health", "BuildError"] {
        assert!(public.iter().any(|public| public == name), "{name} not found in {public:?}");
    }
    ask_all(|source| imports_point_down(source, &public));
}
