//! Three dots on a line for each pool: half of the waits, all but one in a hundred, all but one in
//! a thousand. A thinner line goes on to the longest.

use super::axis::Axis;
use super::drawing::{Anchor, Drawing};
use crate::side_by_side::contest::Who;
use crate::side_by_side::sheet::figure;

const WIDTH: f64 = 820.0;
const LEFT: f64 = 190.0;
const ROW: f64 = 24.0;

/// p50, p99, p99.9 and the longest, in µs.
pub(super) type Tail = (Who, [f64; 4]);

pub(super) fn picture(title: &str, panels: &[(&str, Vec<Tail>)]) -> String {
    let mut drawing = Drawing::new(WIDTH);
    drawing.text(8.0, 22.0, Anchor::Start, 15, title);
    let all = panels.iter().flat_map(|(_, rows)| rows.iter().flat_map(|row| row.1));
    let axis = Axis::around(LEFT, WIDTH - LEFT - 100.0, all);
    let mut y = 34.0;
    for (name, rows) in panels {
        y += 20.0;
        drawing.text(8.0, y, Anchor::Start, 13, name);
        let top = y + 8.0;
        axis.draw(&mut drawing, top, top + ROW * rows.len() as f64, |micros| {
            micros_or_more(micros, |number| number.to_string())
        });
        for (n, (who, tail)) in rows.iter().enumerate() {
            let y = top + ROW * (n as f64 + 0.5);
            drawing.text(LEFT - 8.0, y + 4.0, Anchor::End, 12, who.name);
            let places = tail.map(|time| axis.place(time));
            drawing.span(places[0], places[2], y, 2.5, who.kind);
            drawing.span(places[2], places[3], y, 1.0, who.kind);
            for (x, radius) in places.into_iter().zip([3.0, 4.5, 6.0]) {
                drawing.dot(x, y, radius, who.kind);
            }
            let last = micros_or_more(tail[2], figure);
            drawing.text(places[2].max(places[3]) + 10.0, y + 4.0, Anchor::Start, 12, &last);
        }
        y = top + ROW * rows.len() as f64 + 22.0;
    }
    drawing.finish(y + 4.0)
}

/// In the unit that one would say it in.
fn micros_or_more(micros: f64, show: impl Fn(f64) -> String) -> String {
    match micros {
        ..1e3 => format!("{} µs", show(micros)),
        1e3..1e6 => format!("{} ms", show(micros / 1e3)),
        _ => format!("{} s", show(micros / 1e6)),
    }
}
