//! Pictures of some of the tables.

mod axis;
mod bars;
mod dots;
mod drawing;

use super::sheet::Sheet;
use super::uncontended::{RATIO, RATIO_TWO};
use super::waits::WAITS;
use std::fs;
use std::io;
use std::path::Path;

/// Draws what there are figures for, and says which files were written.
pub fn draw(sheets: &[Sheet], folder: &Path) -> io::Result<Vec<&'static str>> {
    let of = |key: &str| sheets.iter().filter(|sheet| sheet.key == key).collect::<Vec<_>>();
    let mut pictures = Vec::new();
    let lone = of("W1");
    if let [threads, tasks] = lone[..] {
        let panels = [
            ("one thread", threads.medians(RATIO)),
            ("one task, one worker", tasks.medians(RATIO)),
            ("one task, two workers", tasks.medians(RATIO_TWO)),
        ];
        let title = "One round trip, in multiples of the floor (less is better)";
        pictures.push(("round_trips.svg", bars::picture(title, &panels)));
    }
    if let ([two], [many]) = (&of("W2")[..], &of("W3")[..]) {
        let panels =
            [(two.title.as_str(), two.medians(RATIO)), (many.title.as_str(), many.medians(RATIO))];
        let title = "CPU time of a round trip among others, in multiples of the floor";
        pictures.push(("crowds.svg", bars::picture(title, &panels)));
    }
    let short = of("W4");
    if !short.is_empty() {
        let panels = short.iter().map(|sheet| (sheet.title.as_str(), tails(sheet)));
        let title = "Waits in a shortage: p50, p99, p99.9 (the figure) and on to the longest; less is better";
        pictures.push(("tails.svg", dots::picture(title, &panels.collect::<Vec<_>>())));
    }
    fs::create_dir_all(folder)?;
    for (name, picture) in &pictures {
        fs::write(folder.join(name), picture)?;
    }
    Ok(pictures.into_iter().map(|(name, _)| name).collect())
}

fn tails(sheet: &Sheet) -> Vec<dots::Tail> {
    let [p50, p99, p999, longest] = WAITS.map(|title| sheet.medians(title));
    let places = 0..p50.len();
    let tail = |n: usize| (p50[n].0, [p50[n].1, p99[n].1, p999[n].1, longest[n].1]);
    places.map(tail).collect()
}
