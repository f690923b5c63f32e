//! The mechanism's types as the pool of one manager uses them.

use crate::raw::RawPool;
use crate::raw::slots;
use std::marker::PhantomData;

/// Names the pool of manager `M` to the mechanism, as the implementor of its
/// [hooks](crate::raw::PoolHooks).
pub(crate) struct Pooled<M>(PhantomData<M>);

pub(crate) type Raw<M> = RawPool<Pooled<M>>;
/// Owns a slot with a connection in it.
pub(crate) type Slot<M> = slots::Occupied<Pooled<M>>;
/// Owns an empty slot.
pub(crate) type Vacant<M> = slots::Vacant<Pooled<M>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::Manager;
    use std::convert::Infallible;

    struct Large;

    impl Manager for Large {
        type Connection = [u64; 8];
        type Error = Infallible;
    }

    #[test]
    fn a_slot_and_a_connection_of_64_bytes_take_256() {
        assert_eq!(size_of::<slots::Slot<Pooled<Large>>>(), 256);
    }
}
