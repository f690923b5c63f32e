//! What pools lend that are measured by the nanosecond.

use super::driver::Driver;
use std::io;

/// A cache line of its own, of which one field is touched while it is lent: two objects on one line
/// would be measured as contention in the pool.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Object {
    touched: u64,
    _rest: [u64; 7],
}

impl Object {
    /// On the heap, where all of them are.
    pub fn boxed() -> Box<Self> {
        Box::default()
    }

    /// What a borrower does at the least.
    pub fn touch(&mut self) {
        self.touched = self.touched.wrapping_add(1);
    }
}

/// What a pool's guard leads to, whatever the pool has made of the object.
pub trait Touch {
    /// What a borrower does at the least.
    fn touch(&mut self);
}

impl Touch for Box<Object> {
    fn touch(&mut self) {
        Object::touch(self);
    }
}

/// A driver whose connections are objects, which need no care.
#[derive(Clone, Copy, Debug)]
pub struct Boxes;

impl Driver for Boxes {
    type Connection = Box<Object>;

    async fn connect(&self) -> io::Result<Box<Object>> {
        Ok(Object::boxed())
    }

    async fn query(&self, object: &mut Box<Object>) -> io::Result<()> {
        object.touch();
        Ok(())
    }
}
