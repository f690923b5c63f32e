//! Tables in Markdown with their columns aligned, so that they can be read here and pasted there.

use super::figures::conditions;
use comfy_table::{Table, presets::ASCII_MARKDOWN};

pub fn table<'a>(head: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(head);
    table
}

/// What was measured beside what was asked for. A figure that is missed is marked and counted, and
/// that is all: what a busy machine makes of a millisecond is for the reader to judge.
pub struct Report {
    table: Table,
    asked: usize,
    missed: usize,
}

impl Default for Report {
    fn default() -> Self {
        let table = table(["what", "asked", "measured", "conditions"]);
        Self { table, asked: 0, missed: 0 }
    }
}

impl Report {
    /// A figure of which nothing is asked.
    pub fn note(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.table.add_row([what.into(), String::new(), measured.into(), String::new()]);
    }

    /// `is_reached`: what was `asked` has been `measured`.
    pub fn row(
        &mut self,
        what: impl Into<String>,
        asked: impl Into<String>,
        (measured, is_reached): (impl Into<String>, bool),
        conditions: impl Into<String>,
    ) {
        let (asked, measured) = (asked.into(), measured.into());
        self.asked += 1;
        self.missed += usize::from(!is_reached);
        let asked = if is_reached { asked } else { format!("{asked}: missed") };
        self.table.add_row([what.into(), asked, measured, conditions.into()]);
    }

    /// A figure of which no more than `most` is asked.
    pub fn at_most(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        most: f64,
        show: impl Fn(f64) -> String,
        conditions: impl Into<String>,
    ) {
        let seen = (show(measured), measured <= most);
        self.row(what, format!("<= {}", show(most)), seen, conditions);
    }

    pub fn print(&self) {
        let Self { table, asked, missed } = self;
        crate::say!("{table}\n\n{} of {asked} reached; {}", asked - missed, conditions());
    }
}

/// Prints a line. Who reads it through a pipe may have seen enough, which is no failure.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}
