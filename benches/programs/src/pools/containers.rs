//! Pools made from a container of boxes.
#![expect(clippy::vec_box, reason = "boxes are what all pools lend")]

use super::object::Object;
use super::{ForTasks, ForThreads};
use crossbeam_queue::ArrayQueue;
use std::iter::repeat_with;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex};
use std::thread;
use tokio::sync::{Semaphore, SemaphorePermit};

fn objects(size: usize) -> Vec<Box<Object>> {
    repeat_with(Object::boxed).take(size).collect()
}

/// A container that cannot wait.
pub(super) trait Container: Sync {
    fn with(objects: Vec<Box<Object>>) -> Self;
    fn take(&self) -> Option<Box<Object>>;
    fn put(&self, object: Box<Object>);
}

/// A pool made of it: whoever finds it empty yields and looks again.
pub(super) struct Yielding<C>(C);

impl<C: Container> Yielding<C> {
    pub(super) fn new(size: usize) -> Self {
        Self(C::with(objects(size)))
    }
}

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

pub(super) type Queue = ArrayQueue<Box<Object>>;

impl Container for Queue {
    fn with(objects: Vec<Box<Object>>) -> Self {
        let queue = Self::new(objects.len());
        objects.into_iter().for_each(|object| queue.put(object));
        queue
    }

    fn take(&self) -> Option<Box<Object>> {
        self.pop()
    }

    fn put(&self, object: Box<Object>) {
        let _ = self.push(object);
    }
}

pub(super) type Stack = Mutex<Vec<Box<Object>>>;

impl Container for Stack {
    fn with(objects: Vec<Box<Object>>) -> Self {
        Self::new(objects)
    }

    fn take(&self) -> Option<Box<Object>> {
        self.lock().expect("no panic").pop()
    }

    fn put(&self, object: Box<Object>) {
        self.lock().expect("no panic").push(object);
    }
}

/// `Mutex<Vec>` with a `Condvar` to wait on.
pub(super) struct Bell(Stack, Condvar);

impl Bell {
    pub(super) fn new(size: usize) -> Self {
        Self(Stack::with(objects(size)), Condvar::new())
    }
}

impl ForThreads for Bell {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        let Self(stack, bell) = self;
        let lock = stack.lock().expect("no panic");
        let mut lock = bell.wait_while(lock, |stack| stack.is_empty()).expect("no panic");
        let mut object = lock.pop().expect("it is not empty");
        drop(lock);
        let result = held(&mut object);
        stack.put(object);
        bell.notify_one();
        result
    }
}

/// `ArrayQueue` with a semaphore for tasks to wait on: what one writes who needs no pool.
pub(super) struct Permits(Queue, Semaphore);

pub(super) struct Permitted<'a> {
    object: Option<Box<Object>>,
    queue: &'a Queue,
    /// Released once the object is back.
    _permit: SemaphorePermit<'a>,
}

const LENT: &str = "an object, until it is dropped";

impl Deref for Permitted<'_> {
    type Target = Box<Object>;

    fn deref(&self) -> &Box<Object> {
        self.object.as_ref().expect(LENT)
    }
}

impl DerefMut for Permitted<'_> {
    fn deref_mut(&mut self) -> &mut Box<Object> {
        self.object.as_mut().expect(LENT)
    }
}

impl Drop for Permitted<'_> {
    fn drop(&mut self) {
        self.object.take().into_iter().for_each(|object| self.queue.put(object));
    }
}

impl ForTasks for Permits {
    type Loan<'a> = Permitted<'a>;

    async fn new(size: usize) -> Self {
        Self(Queue::with(objects(size)), Semaphore::new(size))
    }

    async fn get(&self) -> Permitted<'_> {
        let Self(queue, permits) = self;
        let permit = permits.acquire().await.expect("it is never closed");
        let object = queue.take();
        assert!(object.is_some(), "there are as many as permits");
        Permitted { object, queue, _permit: permit }
    }
}
