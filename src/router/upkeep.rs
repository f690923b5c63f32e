//! The upkeep of a router: the one that moves endpoints from state to state.

use super::endpoint::{Endpoint, MEASURES};
use super::publish::{announce, show};
use super::standing::Phase;
use super::state::{Record, State};
use crate::clock::Tick;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::{Answer, Household, PERIOD, Ring, Signs};
use crate::role::{Role, RoleDoubt, RoleReport};
use crate::sync::{Arc, Ordering, PoisonError};
use std::time::Duration;

/// When there was no connection to ask by, it is tried again after so long; and a probe stands in
/// line when it has tried for so long.
const RETRY: Duration = PERIOD;
const PATIENCE: Duration = Duration::from_millis(250);
/// One that is on trial is asked so often at least.
const ON_TRIAL: Duration = Duration::from_millis(100);
/// While there is no primary, all are asked so often at least.
const HEADLESS: Duration = Duration::from_millis(100);
/// An answer that is so much later than it may be will not come.
const LOST: Duration = Duration::from_secs(1);
/// One failure may be that of a single connection.
const FAILURES: u32 = 2;
/// What is answered on the spot is looked at on the spot, so many times in a row.
const ROUNDS: usize = 3;

impl<M: Manager> Household for State<M> {
    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn visit(self: Arc<Self>) -> Duration {
        look_round(&self);
        rest(&self)
    }

    fn postponed(&self, _: Duration) -> Option<Duration> {
        let now = self.clock.now();
        let is_due = Tick(self.chores_due.get()).min(self.timers.next()) <= now;
        let has_news = || {
            let roster = self.roster.load();
            roster.views.iter().any(|view| view.endpoint.has_news(now))
        };
        if self.ring.is_rung() || is_due || has_news() {
            return None;
        }
        Some(rest(self)).filter(|wait| !wait.is_zero())
    }

    fn is_over(&self) -> bool {
        // O11: the thread that drops the last handle rings afterwards.
        self.handles.load(Ordering::Relaxed) == 0
    }

    fn is_deserted(&self) -> bool {
        false
    }
}

/// How long the router may be left alone; announces it.
fn rest<M: Manager>(state: &State<M>) -> Duration {
    let next = Tick(state.chores_due.get()).min(state.clock.now() + PERIOD);
    let next = next.min(state.timers.next());
    state.ring.announce(next);
    state.clock.until(next.min(state.timers.next()))
}

/// Looks at all endpoints, and begins the probes that are due.
pub(super) fn look_round<M: Manager>(state: &Arc<State<M>>) {
    state.timers.fire();
    for _ in 0..ROUNDS {
        let (mut asks, mut waste) = (Vec::new(), Vec::new());
        let mut book = state.book();
        let now = state.clock.now();
        let mut next = Tick::NEVER;
        let mut questions = book.questions;
        let is_headless = book.is_headless();
        for record in &mut book.records {
            if is_headless {
                let soon = record.probe.asked_at + state.terms.probe_interval.min(HEADLESS);
                record.probe.due = record.probe.due.min(soon);
            }
            let is_due = look_at(record, state, now, &mut waste);
            if let Some(in_line) = is_due {
                questions += 1;
                record.probe.number = Some(questions);
                record.probe.asked_at = now;
                record.news = record.endpoint.pool.signs().news;
                asks.push(Ask { endpoint: Arc::clone(&record.endpoint), questions, in_line });
            }
            next = next.min(match record.probe.number {
                Some(_) => lost_at(record, state),
                None => record.probe.due,
            });
        }
        book.questions = questions;
        compare(&mut book.records, now);
        let replaced = show(state, &mut book, now);
        state.chores_due.set(next.0);
        drop(book);
        // Foreign code.
        no_unwind(|| drop(waste));
        announce(state, replaced);
        let endpoints: Vec<_> = asks.iter().map(|ask| Arc::clone(&ask.endpoint)).collect();
        asks.into_iter().for_each(|ask| ask.go(state));
        if endpoints.iter().all(|endpoint| endpoint.mailbox.is_empty()) {
            return;
        }
    }
}

fn lost_at<M: Manager>(record: &Record<M>, state: &State<M>) -> Tick {
    record.probe.asked_at + state.terms.probe_timeout.saturating_mul(2) + LOST
}

/// Moves one endpoint on. The answer is whether a probe is due, and if so whether it stands in
/// line.
fn look_at<M: Manager>(
    record: &mut Record<M>,
    state: &State<M>,
    now: Tick,
    waste: &mut Waste<M>,
) -> Option<bool> {
    let endpoint = Arc::clone(&record.endpoint);
    let signs = endpoint.pool.signs();
    let interval = state.terms.probe_interval;
    let soon = interval / 10;
    let answer = match endpoint.mailbox.take() {
        Some((number, answer)) if record.probe.number == Some(number) => Some(answer),
        Some((_, Answer::Failed(late))) => {
            waste.push(late);
            None
        }
        _ => None,
    };
    let is_lost = record.probe.number.is_some() && now >= lost_at(record, state);
    let lost = || is_lost.then(|| Answer::Failed(Arc::new(ManagerError::TimedOut)));
    if let Some(answer) = answer.or_else(lost) {
        waste.extend(hear(record, answer, signs, interval, now));
    }
    if signs.is_failing {
        if record.standing.phase() != Phase::Out {
            record.standing.failed(now);
            record.probe.due = record.probe.due.min(now + RETRY);
        }
        if let Some(cause) = endpoint.pool.last_failure() {
            waste.extend(record.cause.replace(cause));
        }
    }
    if signs.news != record.news {
        record.probe.due = record.probe.due.min(record.probe.asked_at + soon);
    }
    if endpoint.is_doubted.get() && record.probe.number.is_none() {
        endpoint.is_doubted.set(false);
        // Borrowers that try in vain over and over again do not make it ask all the time.
        record.probe.due = now.max(record.probe.asked_at + PERIOD);
    }
    measure(record, signs, now);
    let may_ask = !signs.is_closed && !signs.is_shut && record.probe.number.is_none();
    let is_kept_waiting = record.probe.wanted_since.is_some_and(|at| now.since(at) >= PATIENCE);
    let in_line = is_kept_waiting && !signs.is_failing && !endpoint.pool.is_manual();
    if !may_ask {
        // Not every round, though it is due.
        record.probe.due = record.probe.due.max(now + PERIOD);
        return None;
    }
    (now >= record.probe.due).then_some(in_line)
}

/// Causes that are of no more use, which are foreign code.
type Waste<M> = Vec<Arc<ManagerError<<M as Manager>::Error>>>;

/// An answer has come. Returns the cause that it puts an end to.
fn hear<M: Manager>(
    record: &mut Record<M>,
    answer: Answer<M::Error>,
    signs: Signs,
    interval: Duration,
    now: Tick,
) -> Option<Arc<ManagerError<M::Error>>> {
    record.probe.number = None;
    let asked_at = record.probe.asked_at;
    match answer {
        Answer::NoConnection => {
            record.probe.wanted_since.get_or_insert(asked_at);
            record.probe.due = now + RETRY;
            None
        }
        Answer::Told(report) => {
            learn(record, report, now);
            record.probe.failures = 0;
            if !signs.is_failing {
                record.standing.answered(now);
            }
            let is_up = record.standing.phase() == Phase::Up;
            record.probe.due = asked_at + if is_up { interval } else { interval.min(ON_TRIAL) };
            record.probe.wanted_since = None;
            if is_up { record.cause.take() } else { None }
        }
        Answer::Failed(cause) => {
            record.probe.failures += 1;
            let is_sure = record.probe.failures >= FAILURES;
            record.probe.due = asked_at + if is_sure { interval } else { interval / 10 };
            record.probe.wanted_since = None;
            if !is_sure && record.standing.phase() == Phase::Up {
                return Some(cause);
            }
            record.standing.failed(now);
            record.cause.replace(cause)
        }
    }
}

fn learn<M: Manager>(record: &mut Record<M>, report: RoleReport, now: Tick) {
    let RoleReport { role, lag, term } = report;
    if record.told == Role::Replica && role == Role::Primary {
        record.promoted_at = now;
    }
    record.was_primary |= record.role == Role::Primary;
    record.told = role;
    record.role = if role == Role::Unknown { record.endpoint.declared } else { role };
    record.term = term.unwrap_or(0);
    record.endpoint.set_lag(lag);
}

fn measure<M: Manager>(record: &mut Record<M>, signs: Signs, now: Tick) {
    let endpoint = &record.endpoint;
    let mut seen = endpoint.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, measured_at) = seen.map_or((0, None), |(seen, at)| (seen.measured, Some(at)));
    let is_due = measured_at.is_none_or(|at| now >= at + MEASURES);
    if is_due && signs.measured != before {
        record.measuring.learn(&endpoint.response, endpoint.pool.measured(), now);
        *seen = Some((signs, now));
    } else {
        // What was measured is still to be seen.
        *seen = Some((Signs { measured: before, ..signs }, measured_at.unwrap_or(now)));
    }
}

/// What is not measured drifts to the quickest.
fn compare<M: Manager>(records: &mut [Record<M>], now: Tick) {
    let responses = records.iter().map(|record| record.endpoint.response.nanos());
    let Some(quickest) = responses.filter(|nanos| *nanos > 0).min() else { return };
    for record in records {
        record.measuring.drift(&record.endpoint.response, quickest, now);
    }
}

/// A question that is to be asked.
struct Ask<M: Manager> {
    endpoint: Arc<Endpoint<M>>,
    questions: u64,
    in_line: bool,
}

impl<M: Manager> Ask<M> {
    /// Calls foreign code.
    fn go(self, state: &State<M>) {
        let Self { endpoint, questions: number, in_line } = self;
        tell_how_to_doubt(&endpoint, &state.ring);
        let connection = if in_line { None } else { endpoint.pool.try_get().ok() };
        if connection.is_none() && !in_line {
            return endpoint.mailbox.put(number, Answer::NoConnection);
        }
        let (weak, ring) = (Arc::downgrade(&endpoint), Arc::clone(&state.ring));
        let report = move |answer| {
            if let Some(endpoint) = weak.upgrade() {
                endpoint.mailbox.put(number, answer);
                ring.ring();
            }
        };
        let limit = state.terms.probe_timeout;
        if !endpoint.pool.ask_role(connection, limit, report) {
            endpoint.mailbox.put(number, Answer::NoConnection);
        }
    }
}

/// Once for each manager.
fn tell_how_to_doubt<M: Manager>(endpoint: &Endpoint<M>, ring: &Arc<Ring>) {
    let manager = endpoint.pool.manager();
    let address = Arc::as_ptr(&manager).addr();
    if endpoint.doubter.replace(address) != address {
        let (is_doubted, ring) = (Arc::clone(&endpoint.is_doubted), Arc::clone(ring));
        let doubt = RoleDoubt::new(move || {
            is_doubted.set(true);
            ring.ring();
        });
        no_unwind(|| manager.tell_doubts(doubt));
    }
}
