//! Keeps the walls between the rooms: a plain scan of the text of `src/`, without a parser.
//!
//! Each rule is a function from a file, or from all files, to complaints. It is asked about the
//! crate, and about a small sample that breaks it, so that a rule that no longer sees anything
//! turns red as well.

mod arrows;
mod asking;
mod circles;
mod counts;
mod links;
mod listed;
mod names;
mod neatness;
mod orderings;
mod rooms;
mod switch;
mod text;
mod unsafe_code;
mod widths;
