//! Bars, panel by panel, all on one axis.

use super::axis::Axis;
use super::drawing::{Anchor, Drawing};
use crate::side_by_side::contest::Who;
use crate::side_by_side::sheet::figure;

const WIDTH: f64 = 820.0;
const LEFT: f64 = 270.0;
const ROW: f64 = 20.0;

pub(super) fn picture(title: &str, panels: &[(&str, Vec<(Who, f64)>)]) -> String {
    let mut drawing = Drawing::new(WIDTH);
    drawing.text(8.0, 22.0, Anchor::Start, 15, title);
    let all = panels.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.1));
    let axis = Axis::around(LEFT, WIDTH - LEFT - 70.0, all);
    let mut y = 34.0;
    for (name, rows) in panels {
        let mut rows = rows.clone();
        rows.sort_by(|a, b| a.1.total_cmp(&b.1));
        y += 20.0;
        drawing.text(8.0, y, Anchor::Start, 13, name);
        let top = y + 8.0;
        axis.draw(&mut drawing, top, top + ROW * rows.len() as f64, |ratio| format!("{ratio}×"));
        for (n, (who, ratio)) in rows.iter().enumerate() {
            let y = top + ROW * n as f64;
            let end = axis.place(*ratio);
            drawing.text(LEFT - 8.0, y + 14.0, Anchor::End, 12, who.name);
            drawing.bar(LEFT, y + 3.0, (end - LEFT).max(2.0), ROW - 6.0, who.kind);
            drawing.text(end + 6.0, y + 14.0, Anchor::Start, 12, &figure(*ratio));
        }
        y = top + ROW * rows.len() as f64 + 22.0;
    }
    drawing.finish(y + 4.0)
}
