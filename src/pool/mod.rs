//! Policy: the handle, and the rooms behind it. From the ground up: `ground` knows no pool; `state`
//! is what all rooms share; `service` judges connections, puts them back or out of service;
//! `supply` decides how many connections there are; `work` calls the manager; `borrow` is the way
//! out; `upkeep` keeps order; `hooks` is what the mechanism calls back.

mod add;
mod borrow;
mod builder;
mod builder_hooks;
mod builder_observers;
mod close;
mod ground;
mod handle;
mod hooks;
mod insight;
mod invalidate;
mod pause;
mod prometheus;
mod service;
mod slots;
mod snapshot;
mod state;
mod supply;
mod switch;
mod traits;
mod upkeep;
mod work;

pub use borrow::guard::PooledConnection;
pub use builder::Builder;
pub use close::CloseReport;
pub use handle::Pool;
pub use prometheus::Prometheus;
