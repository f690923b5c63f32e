//! r2d2, without the test on checkout. It costs the same with it, as here the test does nothing.

use super::ForThreads;
use crate::side_by_side::object::Object;
use r2d2::{ManageConnection, Pool};
use std::convert::Infallible;

struct Objects;

impl ManageConnection for Objects {
    type Connection = Box<Object>;
    type Error = Infallible;

    fn connect(&self) -> Result<Box<Object>, Infallible> {
        Ok(Object::boxed())
    }

    fn is_valid(&self, _: &mut Box<Object>) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Box<Object>) -> bool {
        false
    }
}

/// The pool.
pub struct R2d2(Pool<Objects>);

impl R2d2 {
    pub fn new(size: usize) -> Self {
        let builder = Pool::builder().max_size(size as u32).test_on_check_out(false);
        Self(builder.build(Objects).expect("objects always connect"))
    }
}

impl ForThreads for R2d2 {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get().expect("an object before the timeout"))
    }
}
