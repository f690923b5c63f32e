//! One table: who took part, and what came of it, round by round.

use super::contest::{Kind, Outcome, Record, Who};
use super::figures::{Spread, figure};
use super::table::table;
use std::fmt;

/// The column that tells who starves some borrowers.
pub const JAIN: &str = "Jain";
/// The column of what is measured in multiples of the floor.
pub const RATIO: &str = "x floor";
/// Medians no further from each other than this may change places in the next run.
const CLOSE: f64 = 0.02;

/// Which figure is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
    /// Nobody is better for it.
    Neither,
}

/// How a column shows the figures of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    Median,
    /// The quartiles as well.
    Quartiles,
    /// A median that is a whole number.
    Count,
}

/// What is measured about everybody.
pub struct Column {
    pub title: &'static str,
    pub better: Better,
    pub show: Show,
}

struct Row {
    who: Who,
    /// For each column the figures of all rounds.
    figures: Vec<Vec<f64>>,
}

/// The table.
pub struct Sheet {
    pub key: &'static str,
    pub title: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// A column's title, and of each outcome its figure.
pub type Measure<'a, T, R> = (&'static str, Better, Show, &'a dyn Fn(&Outcome<T, R>) -> f64);

/// A table that is to have a row for each record.
pub struct Recorded<'a, T, R>(Sheet, &'a [Record<T, R>]);

impl<T, R> Recorded<'_, T, R> {
    /// The table, with these columns.
    pub fn with(self, measures: &[Measure<'_, T, R>]) -> Sheet {
        let Self(mut sheet, records) = self;
        for (title, better, show, _) in measures {
            sheet = sheet.column(title, *better, *show);
        }
        for record in records {
            sheet.row(record.who, measures.iter().map(|(.., figure)| record.of(figure)).collect());
        }
        sheet
    }
}

impl Sheet {
    /// A row for each record; its columns are to come.
    pub fn of<'a, T, R>(
        key: &'static str,
        title: impl Into<String>,
        records: &'a [Record<T, R>],
    ) -> Recorded<'a, T, R> {
        Recorded(Self::new(key, title), records)
    }

    /// A table without columns; all of them have to come before the first row.
    pub fn new(key: &'static str, title: impl Into<String>) -> Self {
        Self { key, title: title.into(), columns: Vec::new(), rows: Vec::new() }
    }

    /// One more column.
    pub fn column(mut self, title: &'static str, better: Better, show: Show) -> Self {
        self.columns.push(Column { title, better, show });
        self
    }

    /// One more row: for each column the figures of all rounds.
    pub fn row(&mut self, who: Who, figures: Vec<Vec<f64>>) {
        assert_eq!(figures.len(), self.columns.len(), "a figure for each column");
        self.rows.push(Row { who, figures });
    }

    /// The best median of a column among those that compete.
    fn best(&self, column: usize, competes: impl Fn(Kind) -> bool) -> Option<(Who, f64)> {
        let better = self.columns[column].better;
        let rows = self.rows.iter().filter(|row| competes(row.who.kind));
        let medians = rows.filter_map(|row| Some((row.who, median(&row.figures[column])?)));
        match better {
            Better::Less => medians.min_by(|a, b| a.1.total_cmp(&b.1)),
            Better::More => medians.max_by(|a, b| a.1.total_cmp(&b.1)),
            Better::Neither => None,
        }
    }

    /// With a word of warning: whose borrowers wait for ever has few long waits to count.
    fn called(&self, who: Who) -> String {
        let row = self.rows.iter().find(|row| row.who == who);
        let column = self.columns.iter().position(|column| column.title == JAIN);
        let jain = row.zip(column).and_then(|(row, n)| median(&row.figures[n]));
        let starves = jain.is_some_and(|jain| jain < 0.9);
        if starves { format!("{} (starves some)", who.name) } else { who.name.to_owned() }
    }

    /// How many columns there are to be best in, and those in which a peer is better than caliburn.
    pub fn shortfalls(&self) -> (usize, Vec<String>) {
        let (mut asked, mut found) = (0, Vec::new());
        for (n, column) in self.columns.iter().enumerate() {
            let ours = self.best(n, |kind| kind == Kind::Ours);
            let peer = self.best(n, |kind| kind == Kind::Peer);
            let (Some((_, ours)), Some((who, theirs))) = (ours, peer) else { continue };
            asked += 1;
            let is_worse = match column.better {
                Better::Less => ours > theirs,
                Better::More => ours < theirs,
                Better::Neither => false,
            };
            if is_worse && figure(ours) != figure(theirs) {
                let Self { key, title, .. } = self;
                let (column, name) = (column.title, self.called(who));
                let close = (ours / theirs - 1.0).abs() < CLOSE;
                let (ours, theirs) = (figure(ours), figure(theirs));
                let close = if close { " (within 2 %)" } else { "" };
                found.push(format!("{key} {title}, {column}: {ours}, {name} {theirs}{close}"));
            }
        }
        (asked, found)
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = vec![""];
        head.extend(self.columns.iter().map(|column| column.title));
        let mut table = table(head);
        for row in &self.rows {
            let mut cells = vec![row.who.name.to_owned()];
            for (n, column) in self.columns.iter().enumerate() {
                let best = self.best(n, |kind| kind != Kind::Floor);
                cells.push(cell(row, &row.figures[n], column, best));
            }
            table.add_row(cells);
        }
        table.fmt(f)
    }
}

/// The median, bold if nobody has a better one, and the quartiles.
fn cell(row: &Row, figures: &[f64], column: &Column, best: Option<(Who, f64)>) -> String {
    let Some(middle) = median(figures) else { return "-".into() };
    let shown = |number| match column.show {
        Show::Count => format!("{number:.0}"),
        Show::Median | Show::Quartiles => figure(number),
    };
    let mut text = shown(middle);
    let is_best = best.is_some_and(|(_, best)| shown(best) == text);
    if is_best && row.who.kind != Kind::Floor {
        text = format!("**{text}**");
    }
    match column.show {
        Show::Quartiles if figures.len() > 2 => {
            let spread: Spread = figures.iter().copied().collect();
            let [low, high] = [0.25, 0.75].map(|share| figure(spread.at(share)));
            format!("{text} ({low} to {high})")
        }
        _ => text,
    }
}

/// The figure in the middle.
fn median(figures: &[f64]) -> Option<f64> {
    (!figures.is_empty()).then(|| figures.iter().copied().collect::<Spread>().median())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Who = Who { name: "caliburn", kind: Kind::Ours };
    const PEER: Who = Who { name: "peer", kind: Kind::Peer };
    const FLOOR: Who = Who { name: "floor", kind: Kind::Floor };

    fn sheet(ours: f64, peer: f64) -> Sheet {
        let mut sheet = Sheet::new("W0", "trips").column("ns", Better::Less, Show::Median);
        sheet.row(FLOOR, vec![vec![1.0; 3]]);
        sheet.row(OURS, vec![vec![0.0, ours, 9e9]]);
        sheet.row(PEER, vec![vec![peer; 3]]);
        sheet
    }

    #[test]
    fn the_best_median_is_bold_and_the_floor_does_not_compete() {
        let text = sheet(2.0, 3.0).to_string();
        assert!(text.contains("**2.00**") && text.contains(" 3.00") && text.contains(" 1.00"));
    }

    #[test]
    fn a_better_peer_is_admitted() {
        assert_eq!(sheet(2.0, 3.0).shortfalls(), (1, vec![]));
        assert_eq!(sheet(3.0, 3.001).shortfalls(), (1, vec![]));
        let admitted = vec!["W0 trips, ns: 4.00, peer 3.00".to_owned()];
        assert_eq!(sheet(4.0, 3.0).shortfalls(), (1, admitted));
    }
}
