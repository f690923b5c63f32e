//! Policy: the handle, and the rooms behind it. From the ground up: `ground` knows no pool; `state`
//! is what all rooms share; `service` judges connections, puts them back or out of service;
//! `supply` decides how many connections there are; `work` calls the manager; `borrow` is the way
//! out; `upkeep` keeps order; `hooks` is what the mechanism calls back; `export` hands figures to
//! monitoring systems; `object` is a pool of plain objects on the mechanism alone.

mod add;
mod advice;
mod assembly;
mod borrow;
mod builder;
mod builder_hooks;
mod builder_observers;
mod class;
mod close;
mod endpoint;
pub mod export;
mod governor;
mod ground;
mod handle;
mod hooks;
mod insight;
mod invalidate;
mod many;
mod object;
mod pause;
mod ready;
mod reserve;
mod service;
mod slots;
mod snapshot;
mod state;
mod supply;
mod switch;
mod traits;
mod upkeep;
mod work;

pub(crate) use borrow::fast_path::Lending;
pub use borrow::guard::PooledConnection;
pub use builder::Builder;
pub use class::{Class, ClassInfo};
pub use close::CloseReport;
pub(crate) use endpoint::{Answer, Signs, Taken};
pub use governor::{ConnectGovernor, ConnectGovernorBuilder, GovernorStats};
pub(crate) use ground::events::Events;
pub(crate) use ground::park::block_on;
pub(crate) use ground::random;
pub(crate) use ground::ring::Ring;
pub(crate) use ground::timers::Timers;
pub use handle::Pool;
pub use object::{Object, ObjectError, ObjectPool, ObjectPoolBuilder, ObjectStats};
pub(crate) use upkeep::housekeeper::take_on;
pub(crate) use upkeep::keeper::{Household, PERIOD};
