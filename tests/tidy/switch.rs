//! The one switch between the standard library and the model checker.

use crate::asking::{ask_all, catches};
use crate::names::{Named, has_word, paths};
use crate::text::Source;

/// (e) One switch between the standard library and the model checker.
fn only_the_switch_knows_std_sync_and_loom(source: &Source) -> Vec<String> {
    // Adapters stand outside: they may name the crate's public face only, so no switch.
    if source.path == "sync.rs" || source.is_in("sync") || source.is_in("adapters") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for Named { line, path, .. } in paths(source, &["std", "core", "alloc", "loom"]) {
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
