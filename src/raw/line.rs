//! The line: a queue for each class of waiters, and which class is served next.
//!
//! That is stride scheduling (C. Waldspurger and W. Weihl, "Stride Scheduling: Deterministic
//! Proportional-Share Resource Management", MIT 1995). Each class has a pass, which rises by its
//! stride with each slot it is handed; the class with the lowest pass is next. A stride is the
//! inverse of a weight, so a pass is the moment, in rounds, by which the class is due its next
//! slot; and as the earliest is served first, a class that waits is never a whole slot behind its
//! share. One of which none waits keeps its distance from the others, as the source has it.

use super::flow::Flow;
use super::standing::Standing;
use std::collections::VecDeque;
use std::iter::once;

/// The stride of weight 1: the least number that all weights up to 40 divide. Of greater ones, what
/// is lost to rounding comes to no slot in a pool's life.
const STRIDE: u128 = 5_342_931_457_063_200;

/// A queue keeps its memory up to this many places.
const ROOMY: usize = 64;

/// All that wait, those of one class in order of their places.
pub(super) struct Line {
    /// The first class, mostly the only one: apart, so that it costs no more than a queue.
    first: Class,
    more: Box<[Class]>,
    /// Where the pass of the class that was served last stood before.
    reached: u128,
    /// The last place that was given.
    last_place: u64,
}

struct Class {
    queue: VecDeque<Standing>,
    stride: u128,
    /// Of so many bits that it never wraps.
    pass: u128,
    /// While none of it waits: how far its pass was ahead when the last one left. What was earned
    /// by waiting is kept, even if nothing came of it, and nothing is earned meanwhile.
    remain: Option<u128>,
    /// How fast its queue is.
    flow: Flow,
}

impl Class {
    fn new(weight: u32) -> Self {
        let stride = STRIDE / u128::from(weight.max(1));
        let (queue, flow) = (VecDeque::new(), Flow::default());
        Self { queue, stride, pass: 0, remain: Some(stride), flow }
    }

    /// Its first waiter. Drops the nodes of those before it that have left.
    #[inline]
    fn first(&mut self) -> Option<&Standing> {
        while self.queue.front().is_some_and(|waiter| !waiter.is_waiting()) {
            self.queue.pop_front();
        }
        self.queue.front()
    }

    #[inline]
    fn rest(&mut self) {
        self.flow = Flow::default();
        if self.queue.capacity() > ROOMY {
            self.queue = VecDeque::new();
        }
    }
}

impl Line {
    /// A class for each of the `weights`.
    pub(super) fn new(weights: &[u32]) -> Self {
        let mut classes = weights.iter().map(|&weight| Class::new(weight));
        let first = classes.next().unwrap_or_else(|| Class::new(1));
        Self { first, more: classes.collect(), reached: 0, last_place: 0 }
    }

    /// Moves an arrival to the end of its queue.
    pub(super) fn join(&mut self, mut waiter: Standing) {
        self.last_place = waiter.terms.since.max(self.last_place + 1);
        waiter.place = self.last_place;
        self.enter(waiter.class()).push_back(waiter);
    }

    /// Puts an arrival where the moment since which it has wanted a slot puts it.
    pub(super) fn join_ahead(&mut self, mut waiter: Standing) {
        waiter.place = waiter.terms.since;
        self.last_place = self.last_place.max(waiter.place);
        self.stand(waiter);
    }

    /// Puts a waiter where its place is.
    pub(super) fn stand(&mut self, waiter: Standing) {
        let queue = self.enter(waiter.class());
        let at = queue.partition_point(|other| other.place < waiter.place);
        queue.insert(at, waiter);
    }

    /// The queue of a class, to which a waiter is about to be added.
    #[inline]
    fn enter(&mut self, class: usize) -> &mut VecDeque<Standing> {
        if self.are_several() {
            let reached = self.reached;
            let class = self.class_mut(class);
            if let Some(remain) = class.remain.take() {
                class.pass = reached + remain;
            }
        }
        &mut self.class_mut(class).queue
    }

    /// Notes the classes of which none waits any more. For the begin of a round: between two rounds
    /// no slot is handed out.
    #[inline]
    pub(super) fn note_emptied(&mut self) {
        if self.are_several() {
            self.note_each_emptied();
        }
    }

    #[cold]
    #[inline(never)]
    fn note_each_emptied(&mut self) {
        let reached = self.reached;
        for class in self.each_mut() {
            if class.remain.is_none() && class.first().is_none() {
                class.remain = Some(class.pass.saturating_sub(reached));
                class.flow = Flow::default();
            }
        }
    }

    #[inline]
    fn are_several(&self) -> bool {
        !self.more.is_empty()
    }

    #[inline]
    fn class_mut(&mut self, class: usize) -> &mut Class {
        match class.checked_sub(1).and_then(|at| self.more.get_mut(at)) {
            None => &mut self.first,
            Some(other) => other,
        }
    }

    /// The class that is served next, and its first waiter. Drops the nodes of those that have left
    /// before their turn came.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(usize, &Standing)> {
        if self.are_several() {
            return self.earliest();
        }
        self.first.first().map(|first| (0, first))
    }

    /// The class with the lowest pass of those that wait.
    #[cold]
    #[inline(never)]
    fn earliest(&mut self) -> Option<(usize, &Standing)> {
        let waiting = self.each_mut().enumerate().filter_map(|(number, class)| {
            let pass = class.pass;
            class.first().map(|first| (pass, number, first))
        });
        waiting.min_by_key(|(pass, ..)| *pass).map(|(_, number, first)| (number, first))
    }

    /// Takes the first of a class out of the line.
    #[inline]
    pub(super) fn pop(&mut self, class: usize) -> Option<Standing> {
        self.class_mut(class).queue.pop_front()
    }

    /// The first of a class. Drops the nodes of those before it that have left.
    pub(super) fn first_of(&mut self, class: usize) -> Option<&Standing> {
        self.class_mut(class).first()
    }

    /// Takes it out of the line.
    pub(super) fn pop_first(&mut self, class: usize) -> Option<Standing> {
        self.first_of(class)?;
        self.pop(class)
    }

    /// The same with the last. Drops the nodes of those behind it that have left.
    pub(super) fn pop_newest(&mut self, class: usize) -> Option<Standing> {
        let queue = &mut self.class_mut(class).queue;
        std::iter::from_fn(|| queue.pop_back()).find(|waiter| waiter.is_waiting())
    }

    /// One of the class was handed a slot at its turn.
    #[inline]
    pub(super) fn charge(&mut self, class: usize) {
        if self.are_several() {
            let class = self.class_mut(class);
            let reached = class.pass;
            class.pass += class.stride;
            self.reached = reached;
        }
    }

    /// Takes the first of a class that `may` be served out of the line.
    pub(super) fn take(
        &mut self,
        class: usize,
        may: impl Fn(&Standing) -> bool,
    ) -> Option<Standing> {
        let queue = &mut self.class_mut(class).queue;
        queue.iter().position(may).and_then(|at| queue.remove(at))
    }

    fn each(&self) -> impl Iterator<Item = &Class> {
        once(&self.first).chain(&self.more)
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Class> {
        once(&mut self.first).chain(&mut self.more)
    }

    /// Those of each class, in order of their places.
    pub(super) fn queues(&self) -> impl Iterator<Item = &VecDeque<Standing>> {
        self.each().map(|class| &class.queue)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.queues().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Standing> {
        self.each_mut().flat_map(|class| &mut class.queue)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Standing> {
        self.each_mut().flat_map(|class| class.queue.drain(..))
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&Standing) -> bool) {
        self.each_mut().for_each(|class| class.queue.retain(&mut stays));
    }

    /// Whether more than one of a class waits.
    pub(super) fn has_several(&mut self, class: usize) -> bool {
        let queue = &self.class_mut(class).queue;
        queue.iter().filter(|waiter| waiter.is_waiting()).nth(1).is_some()
    }

    /// How fast the queue of a class is.
    pub(super) fn flow(&mut self, class: usize) -> &mut Flow {
        &mut self.class_mut(class).flow
    }

    /// Whether one has let a grant lapse and was not polled since. Mostly it is the first of its
    /// class.
    pub(super) fn has_late(&self) -> bool {
        let is_first = |queue: &VecDeque<Standing>| queue.front().is_some_and(|it| it.is_late());
        self.queues().any(is_first) || self.iter().any(|waiter| waiter.is_late())
    }

    /// The last of a class that waits.
    pub(super) fn newest(&mut self, class: usize) -> Option<&Standing> {
        self.class_mut(class).queue.iter().rev().find(|waiter| waiter.is_waiting())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        let first = self.first.queue.len();
        if self.are_several() { self.queues().map(VecDeque::len).sum() } else { first }
    }

    /// The line is empty: begins anew, and gives back the memory of queues that were long.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.first.rest();
        self.more.iter_mut().for_each(Class::rest);
    }
}
