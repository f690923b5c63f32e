//! What a terminal shows of a snapshot.

use crate::snapshot::{Bar, Cell, Snapshot};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Wrap};

/// Each state: its word, its letter, and its colour. Colour is never the only difference.
const STATES: [(&str, &str, Color); 8] = [
    ("idle", "I", Color::Rgb(86, 180, 233)),
    ("lent", "L", Color::Rgb(0, 158, 115)),
    ("opening", "O", Color::Rgb(240, 228, 66)),
    ("maintenance", "M", Color::Rgb(204, 121, 167)),
    ("quarantined", "!", Color::Rgb(213, 94, 0)),
    ("in_transit", "→", Color::Rgb(230, 159, 0)),
    ("vacant", "·", Color::DarkGray),
    ("retired", "×", Color::DarkGray),
];

pub(crate) fn draw(frame: &mut Frame, snapshot: &Snapshot, is_paused: bool, has_switch: bool) {
    let rows = [
        Constraint::Length(3),
        Constraint::Length(6),
        Constraint::Length(snapshot.waits.len() as u16 + 3),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [health, slots, middle, events, keys] = Layout::vertical(rows).areas(frame.area());
    let halves = [Constraint::Percentage(40), Constraint::Percentage(60)];
    let [waits, holders] = Layout::horizontal(halves).areas(middle);
    draw_health(frame, health, snapshot, is_paused);
    draw_slots(frame, slots, snapshot);
    draw_waits(frame, waits, snapshot);
    draw_lines(frame, holders, "Holders, longest first", holder_lines(snapshot));
    let lines = snapshot.events.iter().map(|event| Line::raw(event.as_str())).collect();
    draw_lines(frame, events, "Latest events", lines);
    let switch = if has_switch { "   k kill or heal" } else { "" };
    frame.render_widget(format!(" q quit   p pause{switch}").dim(), keys);
}

fn draw_health(frame: &mut Frame, area: Rect, snapshot: &Snapshot, is_paused: bool) {
    let (sign, color) = match snapshot.health.level {
        "ok" => ("✓", Color::Rgb(0, 105, 77)),
        "degraded" => ("▲", Color::Rgb(138, 90, 0)),
        "down" => ("✖", Color::Rgb(179, 38, 30)),
        "paused" => ("‖", Color::DarkGray),
        _ => ("■", Color::DarkGray),
    };
    let paused = if is_paused { "  (paused: this is old)" } else { "" };
    let text = format!("\n {sign} {}{paused}", snapshot.health.text);
    let style = Style::new().bg(color).fg(Color::White).add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(text).style(style).wrap(Wrap { trim: false }), area);
}

fn draw_slots(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let figures = &snapshot.figures;
    let title = format!(
        "Slots: {} of at most {} connections open; {} loans, {} timeouts, {} failed connects",
        figures.size,
        figures.max_size,
        figures.checkouts,
        figures.timeouts,
        figures.connect_failures
    );
    let slots = snapshot.slots.iter().flat_map(|cell| [slot(cell), Span::raw(" ")]);
    let counts = STATES.iter().flat_map(|(state, letter, color)| {
        let count = snapshot.slots.iter().filter(|cell| cell.state == *state).count();
        [square(letter, *color), format!(" {} {count}  ", state.replace('_', " ")).into()]
    });
    let lines = vec![slots.collect(), Line::raw(""), Line::from_iter(counts)];
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}

fn slot(cell: &Cell) -> Span<'static> {
    let known = STATES.iter().find(|(state, ..)| *state == cell.state);
    let (_, letter, color) = known.unwrap_or(&("", "?", Color::DarkGray));
    square(letter, *color)
}

fn square(letter: &str, color: Color) -> Span<'static> {
    Span::styled(format!(" {letter} "), Style::new().bg(color).fg(Color::Black).bold())
}

fn draw_waits(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let width = usize::from(area.width).saturating_sub(24);
    let most = snapshot.waits.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let row = |Bar { label, count }: &Bar| {
        let length = (count * width as u64).div_ceil(most) as usize;
        Line::raw(format!("{label:>9} {:width$} {count:>10}", "█".repeat(length)))
    };
    let mut lines = vec![Line::raw("●".repeat(snapshot.waiting)).light_blue()];
    lines.extend(snapshot.waits.iter().map(row));
    let title = format!("{} waiting; how long all have waited", snapshot.waiting);
    draw_lines(frame, area, &title, lines);
}

fn holder_lines(snapshot: &Snapshot) -> Vec<Line<'_>> {
    let holders = snapshot.holders.iter();
    let line = holders.map(|held| {
        Line::raw(format!("{:>7.1} s  slot {:>3}  {}", held.seconds, held.slot, held.location))
    });
    line.collect()
}

fn draw_lines(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line>) {
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
