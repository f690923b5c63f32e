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
