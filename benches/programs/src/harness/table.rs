//! A table in Markdown with its columns aligned, so that it can be read here and pasted there.

use super::figures::conditions;
use std::fmt;

pub struct Table(Vec<Vec<String>>);

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&title| title.to_owned()).collect()])
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.0[0].len()).map(width).collect();
        for (n, row) in self.0.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if n == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{:-<1$}", "", width + 2))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
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
        let table = Table::new(&["what", "asked", "measured", "conditions"]);
        Self { table, asked: 0, missed: 0 }
    }
}

impl Report {
    /// A figure of which nothing is asked.
    pub fn note(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.table.row([what.into(), String::new(), measured.into(), String::new()]);
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
        self.table.row([what.into(), asked, measured, conditions.into()]);
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
        crate::say!("{table}\n{} of {asked} reached; {}", asked - missed, conditions());
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
