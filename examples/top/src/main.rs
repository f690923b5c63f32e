//! A pool at work, in a terminal.
//!
//! `cargo run --release -p top -- --help`

mod load;
// The page of the server shows the same.
#[path = "../../server/snapshot.rs"]
mod snapshot;
mod switch;
#[cfg(test)]
mod tests;
mod view;

use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::health::{PeriodicSweep, PingAfterFailure};
use caliburn::{Builder, Manager, Pool};
use load::Work;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use snapshot::{Log, Snapshot};
use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use switch::Switch;
use tokio::runtime::Runtime;

const HELP: &str = "\
Shows a pool at work: health, slots, waiters, waits, holders, events.

  top [URL]

URL is that of a PostgreSQL database, such as postgres://user@localhost/name, which you
can kill and restart. Without it the database is SQLite in memory, and the key k kills
and heals it. In both cases tasks come in waves, so that some wait at times.

  q  quit    p  pause the view, not the pool    k  kill or heal (SQLite)";

/// So many connections.
const SIZE: usize = 16;
const MIN_SIZE: usize = 4;
/// How long a task waits for a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often idle connections are pinged, so that a server that has gone is missed within a second.
const SWEEP: Duration = Duration::from_millis(500);
/// How often the view is drawn.
const PERIOD: Duration = Duration::from_millis(250);

fn build<M: Manager>(builder: Builder<M>, log: &Log) -> Result<Pool<M>, Box<dyn Error>> {
    Ok(builder
        .max_size(SIZE)
        .min_size(MIN_SIZE)
        .checkout_timeout(PATIENCE)
        .health((PingAfterFailure, PeriodicSweep::every(SWEEP)))
        .observer(log.clone())
        .build()?)
}

/// Until a key ends it.
fn watch<M: Manager>(
    terminal: &mut DefaultTerminal,
    pool: &Pool<M>,
    log: &Log,
    mut toggle: Option<impl FnMut()>,
) -> io::Result<()> {
    let (mut snapshot, mut is_paused) = (Snapshot::of(pool, log), false);
    let mut drawn = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, &snapshot, is_paused, toggle.is_some()))?;
        if event::poll(PERIOD.saturating_sub(drawn.elapsed()))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') => return Ok(()),
                KeyCode::Char('c') if is_control => return Ok(()),
                KeyCode::Char('p') => is_paused = !is_paused,
                KeyCode::Char('k') => toggle.iter_mut().for_each(|toggle| toggle()),
                _ => {}
            }
        }
        if drawn.elapsed() >= PERIOD {
            drawn = Instant::now();
            if !is_paused {
                snapshot = Snapshot::of(pool, log);
            }
        }
    }
}

fn show<M: Work>(
    pool: &Pool<M>,
    log: &Log,
    runtime: &Runtime,
    toggle: Option<impl FnMut()>,
) -> Result<(), Box<dyn Error>> {
    load::start(pool, runtime);
    // Restores the terminal when it returns, and when a thread panics.
    Ok(ratatui::run(|terminal| watch(terminal, pool, log, toggle))?)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    if argument.as_deref().is_some_and(|argument| argument.starts_with('-')) {
        let is_help = matches!(argument.as_deref(), Some("--help" | "-h"));
        println!("{HELP}");
        return Ok(if is_help { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        eprintln!("top needs a terminal to draw in; see top --help");
        return Ok(ExitCode::FAILURE);
    }
    let (runtime, log) = (Runtime::new()?, Log::default());
    let _inside = runtime.enter();
    match argument {
        Some(url) => {
            let builder = Pool::builder_async(AsyncPostgresManager::from_url(&url)?);
            show(&build(builder, &log)?, &log, &runtime, None::<fn()>)?;
        }
        None => {
            let switch = Switch::default();
            let pool = build(switch.builder(), &log)?;
            show(&pool, &log, &runtime, Some(|| switch.toggle(&pool)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
