//! What the terminal shows of a pool that is killed and healed.

use super::*;
use caliburn_testing::servers::postgres::Postgres;
use caliburn_testing::{Watch, eventually};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// Within this time a change is to be seen.
const SOON: Duration = Duration::from_secs(1);
const RED: Color = Color::Rgb(179, 38, 30);
const GREEN: Color = Color::Rgb(0, 105, 77);

fn drawn(snapshot: &Snapshot) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(110, 40)).unwrap();
    terminal.draw(|frame| view::draw(frame, snapshot, false, true)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    buffer.content().iter().map(|cell| cell.symbol()).collect()
}

/// How long after `begun` the line of the health has this colour.
#[track_caller]
fn time_until<M: Manager>(color: Color, begun: Watch, pool: &Pool<M>, log: &Log) -> Duration {
    eventually("its colour changes", || drawn(&Snapshot::of(pool, log))[(0, 1)].bg == color);
    begun.elapsed()
}

#[track_caller]
fn assert_shown<M: Manager>(pool: &Pool<M>, log: &Log, expected: &[&str]) {
    let shown = text(&drawn(&Snapshot::of(pool, log)));
    for expected in expected {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}

#[test]
fn a_pool_that_a_key_kills_is_red_within_a_second_and_green_within_one_after_another() {
    let (runtime, log, switch) = (Runtime::new().unwrap(), Log::default(), Switch::default());
    let pool = build(switch.builder(), &log).unwrap();
    load::start(&pool, &runtime);
    time_until(GREEN, Watch::start(), &pool, &log);
    assert_shown(&pool, &log, &["✓ ok", "of at most 16 connections open", "k kill or heal"]);
    eventually("there are holders", || {
        text(&drawn(&Snapshot::of(&pool, &log))).contains("top/src/load.rs:")
    });
    let begun = Watch::start();
    switch.toggle(&pool);
    let red = time_until(RED, begun, &pool, &log);
    assert_shown(&pool, &log, &["✖ down", "killed by a key"]);
    switch.toggle(&pool);
    let green = time_until(GREEN, Watch::start(), &pool, &log);
    println!("red after {red:.0?}, green after {green:.0?}");
    assert!(red <= SOON && green <= SOON, "{red:?}, {green:?}");
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_killed_postgresql_is_red_within_a_second_and_green_within_one_after_its_return() {
    let mut postgres = Postgres::start(&[]);
    let (runtime, log) = (Runtime::new().unwrap(), Log::default());
    let _inside = runtime.enter();
    let manager = AsyncPostgresManager::from_url(&postgres.dsn()).unwrap();
    let pool = build(Pool::builder_async(manager), &log).unwrap();
    load::start(&pool, &runtime);
    time_until(GREEN, Watch::start(), &pool, &log);
    for _ in 0..3 {
        let begun = Watch::start();
        postgres.kill();
        let red = time_until(RED, begun, &pool, &log);
        assert_shown(&pool, &log, &["✖ down"]);
        postgres.restart();
        let green = time_until(GREEN, Watch::start(), &pool, &log);
        println!("red after {red:.0?}, green after {green:.0?}");
        assert!(red <= SOON && green <= SOON, "{red:?}, {green:?}");
    }
}

#[test]
fn texts_from_elsewhere_give_the_terminal_no_commands() {
    let (log, switch) = (Log::default(), Switch::default());
    let mut snapshot = Snapshot::of(&build(switch.builder(), &log).unwrap(), &log);
    snapshot.events = vec!["\u{1b}[2Jclear".into()];
    snapshot.health.text = "\u{1b}]0;title\u{7}".into();
    assert!(!text(&drawn(&snapshot)).contains(char::is_control));
}

#[test]
fn a_small_terminal_shows_what_fits() {
    let (log, switch) = (Log::default(), Switch::default());
    let snapshot = Snapshot::of(&build(switch.builder(), &log).unwrap(), &log);
    for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(frame, &snapshot, true, false)).unwrap();
    }
}
