//! SQLite.

mod borrowers;
mod left_behind;
