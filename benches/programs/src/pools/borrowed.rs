//! Object pools. Most of them make a new object rather than wait; none of them would have to here,
//! as they begin with as many as are ever wanted at once.

use super::ForThreads;
use super::object::Object;
use lockfree_object_pool::{LinearObjectPool, SpinLockObjectPool};
use opool::PoolAllocator;
use regex_automata::util::pool::Pool as RegexPool;
use std::thread;

/// Pools that make an object if none is there, and so have to be filled: `get` borrows one.
macro_rules! makers {
    ($($name:ident: $pool:ty = $new:expr, $get:ident;)*) => {$(
        pub(super) struct $name($pool);

        impl $name {
            pub(super) fn new(size: usize) -> Self {
                let pool = $new(size);
                drop((0..size).map(|_| pool.$get()).collect::<Vec<_>>());
                Self(pool)
            }
        }

        impl ForThreads for $name {
            fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
                held(&mut self.0.$get())
            }
        }
    )*};
}

makers! {
    Lines: LinearObjectPool<Box<Object>> =
        |_| LinearObjectPool::new(Object::boxed, |_| ()), pull;
    Spins: SpinLockObjectPool<Box<Object>> =
        |_| SpinLockObjectPool::new(Object::boxed, |_| ()), pull;
    Opool: opool::Pool<Maker, Box<Object>> = |size| opool::Pool::new_prefilled(size, Maker), get;
    // The first thread to come has an object of its own.
    Thrifty: RegexPool<Box<Object>> = |_| RegexPool::new(Object::boxed as fn() -> _), get;
}

/// object-pool.
pub(super) struct Reusables(object_pool::Pool<Box<Object>>);

impl Reusables {
    pub(super) fn new(size: usize) -> Self {
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

pub(super) struct Maker;

impl PoolAllocator<Box<Object>> for Maker {
    fn allocate(&self) -> Box<Object> {
        Object::boxed()
    }
}

/// An object that sharded-slab may take back as it is.
#[derive(Default)]
struct Kept(Box<Object>);

impl sharded_slab::Clear for Kept {
    fn clear(&mut self) {}
}

/// sharded-slab's `Pool`. It makes a key of every loan, and by that the object is given back.
pub(super) struct Slab(sharded_slab::Pool<Kept>);

impl Slab {
    pub(super) fn new(_: usize) -> Self {
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
