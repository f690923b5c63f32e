//! What a home's task shares with those outside: whether it is gone, and for how long it has owed
//! an answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// How often the background looks whether an answer has come.
pub(super) const TURN: Duration = Duration::from_millis(20);
/// For how many turns a runtime may owe an answer before what lives there is given up.
pub(super) const PATIENCE: u32 = 10;
/// The same where giving up costs nothing: it is done elsewhere.
pub(super) const SOON: u32 = 3;

/// For how long something may go on in a home that does not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    pub(super) patience: u32,
    /// It is no loss to do it elsewhere.
    pub(super) may_move: bool,
}

impl Stay {
    pub(super) fn upto(patience: u32) -> Self {
        Self { patience, may_move: false }
    }

    /// It is wanted elsewhere.
    fn hurry(&mut self) {
        if self.may_move {
            self.patience = self.patience.min(SOON);
        }
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Life {
    /// The runtime has dropped the task, and so is gone.
    is_lost: AtomicBool,
    /// 0: no question is open. Else 1, and one more for each turn that it has been open. Written
    /// under the lock.
    silence: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    task: Option<Waker>,
    /// The thread that the task last ran on.
    driver: Option<ThreadId>,
    /// No connection lives here any more.
    is_deserted: bool,
    is_watched: bool,
    /// What runs here and must end if the runtime is gone or silent, by number.
    guests: BTreeMap<u64, (Stay, Waker)>,
    guests_so_far: u64,
}

impl Life {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_lost(&self) -> bool {
        // O11: what is found a moment late is found at the next look.
        self.is_lost.load(Ordering::Relaxed)
    }

    fn silence(&self) -> u32 {
        // O11: likewise.
        self.silence.load(Ordering::Relaxed)
    }

    fn set_silence(&self, _: &State, turns: u32) {
        // O11: under the lock.
        self.silence.store(turns, Ordering::Relaxed);
    }

    /// Whether a question has been open for so long that what lives here is given up.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent_for(PATIENCE)
    }

    /// Whether a question has been open for that many turns.
    pub(super) fn is_silent_for(&self, turns: u32) -> bool {
        self.silence() > turns
    }

    fn lose(&self) {
        let guests = {
            let mut state = self.state();
            // O11: under the lock, and others look again.
            self.is_lost.store(true, Ordering::Relaxed);
            std::mem::take(&mut state.guests)
        };
        guests.into_values().for_each(|(_, waker)| waker.wake());
    }

    /// Asks whether the runtime is driven, unless that question is open. A thread that was the last
    /// to drive it, and asks now, does so no longer: little patience is needed.
    pub(super) fn ask(&self) {
        let task = {
            let state = self.state();
            let is_open = self.silence() > 0;
            let was_driven_here = state.driver == Some(thread::current().id());
            let least = if was_driven_here { PATIENCE - 1 } else { 1 };
            self.set_silence(&state, self.silence().max(least));
            // If there is none, the task runs first of all.
            state.task.clone().filter(|_| !is_open)
        };
        task.into_iter().for_each(Waker::wake);
    }

    /// True: the caller is to start it.
    pub(super) fn begin_watch(&self) -> bool {
        !std::mem::replace(&mut self.state().is_watched, true)
    }

    pub(super) fn end_watch(&self) {
        self.state().is_watched = false;
    }

    /// Another turn of the watch has passed. Whether it goes on, and who is to be woken.
    pub(super) fn turn(&self, is_parked: bool) -> (bool, Vec<Waker>) {
        let mut state = self.state();
        let mut silence = if is_parked { 0 } else { self.silence() };
        silence += u32::from(silence > 0 && silence <= PATIENCE);
        let leave =
            |(stay, waker): &(Stay, Waker)| (silence > stay.patience).then(|| waker.clone());
        let mut woken: Vec<_> = state.guests.values().filter_map(leave).collect();
        let is_open = silence > 0 && silence <= PATIENCE;
        let goes_on = !self.is_lost() && (is_open || !state.guests.is_empty());
        if goes_on && silence == 0 && !is_parked {
            silence = 1;
            woken.extend(state.task.clone());
        }
        self.set_silence(&state, silence);
        state.is_watched = goes_on;
        (goes_on, woken)
    }

    /// A guest's number.
    pub(super) fn next_number(&self) -> u64 {
        let mut state = self.state();
        state.guests_so_far += 1;
        state.guests_so_far
    }

    pub(super) fn note_guest(&self, number: u64, stay: Stay, waker: &Waker) {
        let mut state = self.state();
        let (_, known) = state.guests.entry(number).or_insert_with(|| (stay, waker.clone()));
        known.clone_from(waker);
    }

    pub(super) fn forget_guest(&self, number: u64) {
        let guest = self.state().guests.remove(&number);
        drop(guest);
    }

    /// For how long a guest stays, as is known by now.
    pub(super) fn stay(&self, number: u64) -> Option<Stay> {
        self.state().guests.get(&number).map(|(stay, _)| *stay)
    }

    /// See [`Home::hurry`](super::Home::hurry).
    pub(super) fn hurry(&self) {
        self.state().guests.values_mut().for_each(|(stay, _)| stay.hurry());
    }

    /// Lets the task end.
    pub(super) fn desert(&self) {
        let task = {
            let mut state = self.state();
            state.is_deserted = true;
            state.task.take()
        };
        task.into_iter().for_each(Waker::wake);
    }
}

/// A task that answers when it is woken, and tells when it is dropped.
pub(super) struct Sentinel(pub(super) Arc<Life>);

impl Future for Sentinel {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        self.0.set_silence(&state, 0);
        state.driver = Some(thread::current().id());
        let before = state.task.replace(context.waker().clone());
        let is_deserted = state.is_deserted;
        drop(state);
        drop(before);
        if is_deserted { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.0.lose();
    }
}
