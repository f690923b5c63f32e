//! Which part a server plays: a replica is one that refuses writes.

use crate::RoleReport;

/// Asks for it. (MariaDB has no `super_read_only`, which implies this one.)
pub(in crate::adapters::mysql) const ROLE: &str = "SELECT @@GLOBAL.read_only";

/// What the answer says: a number, or in newer servers a word.
pub(in crate::adapters::mysql) fn read(answer: Option<String>) -> RoleReport {
    match answer.as_deref() {
        Some("0" | "OFF") => RoleReport::primary(None),
        Some(_) => RoleReport::replica(None),
        None => RoleReport::default(),
    }
}
