//! Draws the plots of the page on other pools from its tables, so that they say the same.

use caliburn_benches::harness::*;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::fs;

/// Draws round_trips.svg, crowds.svg and tails.svg from the tables of benches/programs/README.md.
#[derive(clap::Parser)]
struct Options {}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plots");

/// A table of the page: its title, its head and its rows.
struct Table<'a> {
    title: &'a str,
    head: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The figure in front of the quartiles.
fn number(cell: &str) -> Option<f64> {
    cell.split(' ').next()?.trim_matches('*').parse().ok()
}

impl<'a> Table<'a> {
    /// All tables under such a line: `**W4** title:`.
    fn all(page: &'a str, key: &str) -> Vec<Self> {
        let mark = format!("**{key}** ");
        let after = page.split("\n\n").zip(page.split("\n\n").skip(1));
        let tables = after.filter_map(|(title, table)| {
            let title = title.strip_prefix(&mark)?.trim_end_matches(':');
            let mut lines = table.lines().map(cells);
            let head = lines.next()?;
            Some(Self { title, head, rows: lines.skip(1).collect() })
        });
        tables.collect()
    }

    /// Who has which figures in these columns; who lacks one is left out.
    fn figures<const N: usize>(&self, columns: [&str; N]) -> Vec<(&'a str, [f64; N])> {
        let places = columns.map(|column| self.head.iter().position(|title| *title == column));
        let row = |row: &Vec<&'a str>| {
            let figures = places.map(|place| place.and_then(|place| number(row.get(place)?)));
            let is_whole = figures.iter().all(Option::is_some);
            is_whole.then(|| (row[0], figures.map(Option::unwrap_or_default)))
        };
        self.rows.iter().filter_map(row).collect()
    }
}

/// A title, and who has which figure.
type Panel<'a, const N: usize> = (&'a str, Vec<(&'a str, [f64; N])>);

const WIDTH: u32 = 880;
/// Where bars begin; to the left of it stand names.
const LEFT: u32 = 270;
const ROW: u32 = 22;
/// Above the first panel, and above and below the rows of each.
const TOP: u32 = 60;
const ABOVE: u32 = 30;
const BELOW: u32 = 44;
const GREY: RGBColor = RGBColor(125, 133, 144);

/// Okabe's and Ito's colours, which those can tell apart who see few.
const LEGEND: [(RGBColor, &str); 4] = [
    (RGBColor(213, 94, 0), "caliburn"),
    (RGBColor(230, 159, 0), "caliburn in another way"),
    (RGBColor(0, 114, 178), "others"),
    (RGBColor(153, 153, 153), "floor, without a pool"),
];

fn colour(who: &str) -> RGBColor {
    let place = match who {
        "caliburn" => 0,
        _ if who.starts_with("caliburn") => 1,
        _ if who.starts_with("floor") => 3,
        _ => 2,
    };
    LEGEND[place].0
}

fn written(size: u32, from: HPos) -> TextStyle<'static> {
    let style = ("system-ui, sans-serif", size).into_text_style(&(1, 1)).color(&GREY);
    style.pos(Pos::new(from, VPos::Center))
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn Error>>;
/// Draws the figures of one, in its row.
type Row<const N: usize> = fn(&mut Chart<'_, '_>, f64, RGBColor, &[f64; N]) -> Drawn;

/// One panel below the other, on one axis, which `unit` names.
fn draw<const N: usize>(
    file: &str,
    title: &str,
    (unit, label): (&str, fn(f64) -> String),
    panels: &[Panel<'_, N>],
    row: Row<N>,
) -> Drawn {
    let path = format!("{FOLDER}/{file}");
    let height = |rows: usize| ABOVE + ROW * rows as u32 + BELOW;
    let all = TOP + panels.iter().map(|(_, rows)| height(rows.len())).sum::<u32>();
    let root = SVGBackend::new(&path, (WIDTH, all)).into_drawing_area();
    root.draw(&Text::new(title, (8, 18), written(18, HPos::Left)))?;
    let mut x = 8;
    for (colour, name) in LEGEND {
        root.draw(&Rectangle::new([(x, 36), (x + 12, 48)], colour.filled()))?;
        root.draw(&Text::new(name, (x + 18, 42), written(14, HPos::Left)))?;
        x += 46 + 7 * name.len() as i32;
    }
    let figures = || panels.iter().flat_map(|(_, rows)| rows.iter().flat_map(|row| row.1));
    // Whole powers of ten around all of them.
    let low = 10_f64.powf(figures().fold(f64::MAX, f64::min).log10().floor());
    let high = 10_f64.powf(figures().fold(0.0, f64::max).log10().ceil());
    let (_, mut rest) = root.split_vertically(TOP);
    for (name, rows) in panels {
        let (area, below) = rest.split_vertically(height(rows.len()));
        rest = below;
        area.draw(&Text::new(*name, (8, 14), written(16, HPos::Left)))?;
        let mut chart = ChartBuilder::on(&area)
            .margin_top(ABOVE)
            .margin_left(LEFT)
            .margin_right(90)
            .x_label_area_size(BELOW)
            .build_cartesian_2d((low..high).log_scale(), rows.len() as f64..0.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().disable_y_axis().axis_style(GREY).light_line_style(TRANSPARENT);
        mesh.bold_line_style(GREY.mix(0.35))
            .x_desc(unit)
            .axis_desc_style(written(13, HPos::Center))
            .x_labels(12);
        mesh.x_label_style(written(13, HPos::Center)).x_label_formatter(&|x| label(*x)).draw()?;
        for (n, (who, figures)) in rows.iter().enumerate() {
            let y = n as f64 + 0.5;
            let name = Text::new((*who).to_owned(), (-8, 0), written(14, HPos::Right));
            chart.plotting_area().draw(&(EmptyElement::at((low, y)) + name))?;
            row(&mut chart, y, colour(who), figures)?;
        }
    }
    root.present()?;
    say!("{path}");
    Ok(())
}

fn note(chart: &Chart<'_, '_>, at: (f64, f64), text: String) -> Drawn {
    let text = Text::new(text, (10, 0), written(14, HPos::Left));
    Ok(chart.plotting_area().draw(&(EmptyElement::at(at) + text))?)
}

/// The whole figure is a bar.
fn bar(chart: &mut Chart<'_, '_>, y: f64, colour: RGBColor, [ratio]: &[f64; 1]) -> Drawn {
    let low = chart.x_range().start;
    let bar = Rectangle::new([(low, y - 0.32), (*ratio, y + 0.32)], colour.filled());
    chart.plotting_area().draw(&bar)?;
    note(chart, (*ratio, y), figure(*ratio))
}

/// Dots for p50, p99 and p99.9, each larger than the one before; a thinner line goes on to the
/// longest.
fn tail(chart: &mut Chart<'_, '_>, y: f64, colour: RGBColor, tail: &[f64; 4]) -> Drawn {
    let area = chart.plotting_area();
    let [p50, _, p999, longest] = *tail;
    area.draw(&PathElement::new([(p50, y), (p999, y)], colour.stroke_width(3)))?;
    area.draw(&PathElement::new([(p999, y), (longest, y)], colour.stroke_width(1)))?;
    for (time, radius) in tail.iter().zip([3, 5, 7]) {
        area.draw(&Circle::new((*time, y), radius, colour.filled()))?;
    }
    note(chart, (longest, y), time(p999, figure))
}

/// In the unit that one would say it in.
fn time(micros: f64, show: fn(f64) -> String) -> String {
    match micros {
        ..1e3 => format!("{} µs", show(micros)),
        1e3..1e6 => format!("{} ms", show(micros / 1e3)),
        _ => format!("{} s", show(micros / 1e6)),
    }
}

fn sorted<'a>((title, mut rows): Panel<'a, 1>) -> Panel<'a, 1> {
    rows.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]));
    (title, rows)
}

fn main() -> Drawn {
    <Options as clap::Parser>::parse();
    let page = fs::read_to_string(PAGE)?;
    let tables = |key| Table::all(&page, key);
    let lone = tables("W1");
    let [threads, tasks] = &lone[..] else { return Err("W1 has two tables".into()) };
    let ratio = ["x floor"];
    let round_trips = [
        sorted(("one thread", threads.figures(ratio))),
        sorted(("one task, one worker", tasks.figures(ratio))),
        sorted(("one task, two workers", tasks.figures(["2 workers, x floor"]))),
    ];
    let crowded: Vec<_> = ["W2", "W3"].into_iter().flat_map(tables).collect();
    let crowds: Vec<_> =
        crowded.iter().map(|table| sorted((table.title, table.figures(ratio)))).collect();
    let waits = ["p50, µs", "p99, µs", "p99.9, µs", "longest, µs"];
    let short = tables("W4");
    let tails: Vec<_> = short.iter().map(|table| (table.title, table.figures(waits))).collect();
    let floor: (&str, fn(f64) -> String) =
        ("multiples of the floor, which is two read-modify-writes", |ratio| format!("{ratio}×"));
    let whole = |micros| time(micros, |number| number.to_string());
    let title = "One round trip (less is better)";
    draw("round_trips.svg", title, floor, &round_trips, bar)?;
    let title = "CPU time of a round trip among others (less is better)";
    draw("crowds.svg", title, floor, &crowds, bar)?;
    let title =
        "Waits in a shortage: p50, p99, p99.9 (the figure), and on to the longest (less is better)";
    draw("tails.svg", title, ("time until an object is lent", whole), &tails, tail)
}
