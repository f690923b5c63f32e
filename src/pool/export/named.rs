//! What a pool and its reserve are called.

use crate::manager::Manager;
use crate::observe::name_of_reserve;
use crate::pool::handle::Pool;

/// The pool known as `name`, and its reserve if it has one.
pub(super) fn by_name<'a, M: Manager>(
    name: &str,
    pool: &'a Pool<M>,
) -> impl Iterator<Item = (String, &'a Pool<M>)> {
    let reserve = pool.reserved().map(|reserve| (name_of_reserve(name), reserve));
    std::iter::once((name.to_owned(), pool)).chain(reserve)
}
