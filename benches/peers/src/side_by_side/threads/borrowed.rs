//! Object pools. Most of them make a new object rather than wait; none of them would have to here,
//! as they begin with as many as are ever wanted at once.

use super::ForThreads;
use crate::side_by_side::object::Object;
use lockfree_object_pool::{LinearObjectPool, SpinLockObjectPool};
use opool::PoolAllocator;
use std::thread;

/// Has a pool that starts empty make all its objects.
fn fill<G>(size: usize, get: impl Fn() -> G) {
    let all: Vec<G> = (0..size).map(|_| get()).collect();
    drop(all);
}

/// lockfree-object-pool's linear pool.
pub struct Lines(LinearObjectPool<Box<Object>>);

impl Lines {
    pub fn new(size: usize) -> Self {
        let pool = LinearObjectPool::new(Object::boxed, |_| ());
        fill(size, || pool.pull());
        Self(pool)
    }
}

impl ForThreads for Lines {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.pull())
    }
}

/// lockfree-object-pool's pool with a spin lock.
pub struct Spins(SpinLockObjectPool<Box<Object>>);

impl Spins {
    pub fn new(size: usize) -> Self {
        let pool = SpinLockObjectPool::new(Object::boxed, |_| ());
        fill(size, || pool.pull());
        Self(pool)
    }
}

impl ForThreads for Spins {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.pull())
    }
}

/// object-pool.
pub struct Reusables(object_pool::Pool<Box<Object>>);

impl Reusables {
    pub fn new(size: usize) -> Self {
        Self(object_pool::Pool::new(size, Object::boxed))
    }
}

impl ForThreads for Reusables {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        loop {
            match self.0.try_pull() {
                Some(mut object) => return held(&mut object),
                None => thread::yield_now(),
            }
        }
    }
}

struct Boxes;

impl PoolAllocator<Box<Object>> for Boxes {
    fn allocate(&self) -> Box<Object> {
        Object::boxed()
    }
}

/// opool.
pub struct Opool(opool::Pool<Boxes, Box<Object>>);

impl Opool {
    pub fn new(size: usize) -> Self {
        Self(opool::Pool::new_prefilled(size, Boxes))
    }
}

impl ForThreads for Opool {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get())
    }
}

/// An object that sharded-slab may take back as it is.
#[derive(Default)]
struct Kept(Box<Object>);

impl sharded_slab::Clear for Kept {
    fn clear(&mut self) {}
}

/// sharded-slab's `Pool`. It makes a key of every loan, and by that the object is given back.
pub struct Slab(sharded_slab::Pool<Kept>);

impl Slab {
    pub fn new(_: usize) -> Self {
        Self(sharded_slab::Pool::new())
    }
}

impl ForThreads for Slab {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        let mut object = self.0.create().expect("room");
        let result = held(&mut object.0);
        let key = object.key();
        drop(object);
        self.0.clear(key);
        result
    }
}

/// regex-automata's `Pool`: the first thread to come has an object of its own.
pub struct Thrifty(regex_automata::util::pool::Pool<Box<Object>>);

impl Thrifty {
    pub fn new(size: usize) -> Self {
        let pool = regex_automata::util::pool::Pool::new(Object::boxed as fn() -> Box<Object>);
        fill(size, || pool.get());
        Self(pool)
    }
}

impl ForThreads for Thrifty {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get())
    }
}
