//! Pools made from a container of boxes.
#![expect(clippy::vec_box, reason = "boxes are what all pools lend")]

use super::ForThreads;
use super::object::Object;
use crossbeam_queue::ArrayQueue;
use std::iter::repeat_with;
use std::sync::{Condvar, Mutex};
use std::thread;

/// A container that cannot wait: whoever finds it empty yields and looks again.
pub(super) trait Container: Sync {
    fn take(&self) -> Option<Box<Object>>;
    fn put(&self, object: Box<Object>);
}

/// A pool made of it.
pub(super) struct Yielding<C>(pub C);

impl<C: Container> ForThreads for Yielding<C> {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        let mut object = loop {
            match self.0.take() {
                Some(object) => break object,
                None => thread::yield_now(),
            }
        };
        let result = held(&mut object);
        self.0.put(object);
        result
    }
}

/// crossbeam's `ArrayQueue`.
pub(super) struct Queue(ArrayQueue<Box<Object>>);

impl Queue {
    pub(super) fn new(size: usize) -> Self {
        let queue = ArrayQueue::new(size);
        repeat_with(Object::boxed).take(size).for_each(|object| drop(queue.push(object)));
        Self(queue)
    }
}

impl Container for Queue {
    fn take(&self) -> Option<Box<Object>> {
        self.0.pop()
    }

    fn put(&self, object: Box<Object>) {
        let _ = self.0.push(object);
    }
}

/// `Mutex<Vec>`.
pub(super) struct Stack(Mutex<Vec<Box<Object>>>);

impl Stack {
    pub(super) fn new(size: usize) -> Self {
        Self(Mutex::new(repeat_with(Object::boxed).take(size).collect()))
    }
}

impl Container for Stack {
    fn take(&self) -> Option<Box<Object>> {
        self.0.lock().expect("no panic").pop()
    }

    fn put(&self, object: Box<Object>) {
        self.0.lock().expect("no panic").push(object);
    }
}

/// `Mutex<Vec>` with a `Condvar` to wait on.
pub struct Bell {
    stack: Mutex<Vec<Box<Object>>>,
    bell: Condvar,
}

impl Bell {
    pub fn new(size: usize) -> Self {
        let stack = repeat_with(Object::boxed).take(size).collect();
        Self { stack: Mutex::new(stack), bell: Condvar::new() }
    }
}

impl ForThreads for Bell {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        let stack = self.stack.lock().expect("no panic");
        let empty = |stack: &mut Vec<_>| stack.is_empty();
        let mut stack = self.bell.wait_while(stack, empty).expect("no panic");
        let mut object = stack.pop().expect("it is not empty");
        drop(stack);
        let result = held(&mut object);
        self.stack.lock().expect("no panic").push(object);
        self.bell.notify_one();
        result
    }
}
