//! One look at a pool, as plain data: what the page of the server and the terminal's view show.

use caliburn::observe::{Event, EventKind, Observer};
use caliburn::stats::{Histogram, PoolHealth, SlotInfo, SlotState};
use caliburn::{Manager, Pool};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The upper ends of the bars of the histogram, in milliseconds; one more bar has what is longer.
const BARS: [u64; 8] = [1, 3, 10, 30, 100, 300, 1_000, 3_000];

/// How many of the latest events are kept.
const LINES: usize = 64;

/// The latest events but for the routine, which would soon displace all others: hand a clone to
/// [`observer`](caliburn::Builder::observer).
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Observer for Log {
    fn on_event(&self, event: &Event) {
        let is_routine = matches!(
            event.kind,
            EventKind::WaitBegan { .. }
                | EventKind::WaitEnded { .. }
                | EventKind::PingBegan
                | EventKind::Pinged { .. }
                | EventKind::Reset { .. }
                | EventKind::SweepBegan
                | EventKind::ConnectSkipped
                | EventKind::ConnectHeld { .. }
        );
        if !is_routine {
            let mut lines = self.0.lock().expect("no thread panics with it");
            lines.push_front(event.to_string());
            lines.truncate(LINES);
        }
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no thread panics with it").iter().cloned().collect()
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub health: Health,
    /// One for each slot, in their order.
    pub slots: Vec<Cell>,
    pub waiting: usize,
    /// What limits the pool, in a sentence.
    pub advice: String,
    pub waits: Vec<Bar>,
    /// Longest first.
    pub holders: Vec<Held>,
    /// Latest first, a line each.
    pub events: Vec<String>,
    pub figures: Figures,
}

#[derive(Debug, Serialize)]
pub(crate) struct Health {
    /// `ok`, `degraded`, `down`, `paused` or `closed`.
    pub level: &'static str,
    /// The same with the reasons.
    pub text: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    /// As [`SlotState::as_str`] says it.
    pub state: &'static str,
    pub text: String,
}

/// How many borrowers stood in line for so long.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub label: String,
    pub count: u64,
}

/// Who holds connections: a place in the source, and what it holds.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    pub location: String,
    pub slot: usize,
    pub seconds: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub size: usize,
    pub max_size: usize,
    pub checkouts: u64,
    pub timeouts: u64,
    pub connects: u64,
    pub connect_failures: u64,
    pub evictions: u64,
}

impl Snapshot {
    pub(crate) fn of<M: Manager>(pool: &Pool<M>, log: &Log) -> Self {
        let (stats, slots) = (pool.stats(), pool.slots());
        Self {
            health: Health::of(pool),
            holders: holders(&slots),
            slots: slots.iter().map(cell).collect(),
            waiting: stats.waiting,
            advice: pool.advice().to_string(),
            waits: bars(&stats.wait_time),
            events: log.lines(),
            figures: Figures {
                size: stats.size,
                max_size: stats.max_size,
                checkouts: stats.checkouts,
                timeouts: stats.timeouts,
                connects: stats.connects,
                connect_failures: stats.connect_failures,
                evictions: stats.evictions.total(),
            },
        }
    }
}

impl Health {
    pub(crate) fn of<M: Manager>(pool: &Pool<M>) -> Self {
        let health = pool.health();
        let level = match health {
            PoolHealth::Ok => "ok",
            PoolHealth::Degraded(_) => "degraded",
            PoolHealth::Down { .. } => "down",
            PoolHealth::Paused => "paused",
            _ => "closed",
        };
        Self { level, text: health.to_string() }
    }
}

fn cell(slot: &SlotInfo) -> Cell {
    let mut text = slot.state.to_string();
    if let Some(since) = slot.since {
        text += &format!(" for {}", rounded(since));
    }
    if let Some(age) = slot.age {
        text += &format!("; {} old, {} loans", rounded(age), slot.checkouts);
    }
    Cell { state: slot.state.as_str(), text }
}

/// A figure that does not flicker.
fn rounded(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

fn holders(slots: &[SlotInfo]) -> Vec<Held> {
    let mut holders: Vec<_> = slots
        .iter()
        .enumerate()
        .filter_map(|(slot, info)| match &info.state {
            SlotState::Lent(holder) => Some(Held {
                location: match &holder.label {
                    Some(label) => format!("{} ({label})", holder.location),
                    None => holder.location.to_string(),
                },
                slot,
                seconds: holder.since.as_secs_f64(),
            }),
            _ => None,
        })
        .collect();
    holders.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    holders
}

fn bars(waits: &Histogram) -> Vec<Bar> {
    let mut below = 0;
    let mut bars: Vec<_> = BARS
        .iter()
        .map(|&end| {
            let up_to = waits.count_up_to(Duration::from_millis(end));
            let count = up_to - std::mem::replace(&mut below, up_to);
            let label =
                if end < 1_000 { format!("{end} ms") } else { format!("{} s", end / 1_000) };
            Bar { label: format!("≤ {label}"), count }
        })
        .collect();
    bars.push(Bar { label: "longer".into(), count: waits.count() - below });
    bars
}
