//! Several endpoints: a pool for each server of a group, and who of them serves a borrower.
//!
//! [`Router`] has an example, and the [guide](crate::guide::endpoints) says how to use it. This
//! page says how it works.
//!
//! A router stands above pools and knows of them only what [`Pool`](crate::Pool) shows: it changes
//! nothing in them, and each pool goes on connecting, pinging and backing off by itself.
//!
//! # Who does what
//!
//! | who | does | on |
//! |---|---|---|
//! | a borrower | reads the roster, chooses by load, waits in one pool's line | its thread |
//! | the upkeep | looks at the pools, moves states, publishes a roster | one thread at a time |
//! | a probe | asks a server for its role, leaves the answer in a mailbox | a worker |
//! | the user | adds, drains, restores, removes | any thread, under the upkeep's lock |
//!
//! A roster never changes: it is replaced as a whole, and has the list of candidates for each
//! target. So a borrower takes no lock and never sees half of a change. Borrowers change no state;
//! one that finds something wrong goes elsewhere and rings for the upkeep.
//!
//! # States of an endpoint
//!
//! | state | lends | moves on when | to |
//! |---|---|---|---|
//! | up | yes | connects fail; two probes in a row fail | out |
//! | out | in need, if only connects fail | a probe is answered, connects work | on trial |
//! | on trial | in need | it has answered for long enough | up |
//! | | | connects or a probe fail | out |
//! | lagging | no | it has caught up | up |
//! | draining | no | the user restores it | up |
//! | paused, closed | no | its pool is resumed; never | up |
//!
//! In need is a borrower for which no endpoint is up. The first trial takes no time. An endpoint
//! that fails within 30 s of its return relapses, and is tried for a second, then for
//! two, up to 30 s: so one that flaps is chosen once for each time that its trial has doubled.
//!
//! # Roles
//!
//! A probe asks for the role each interval, soon after a connection was opened or found dead, when
//! an endpoint is to be taken back, and at once if the manager doubts the role
//! ([`Manager::tell_doubts`](crate::Manager::tell_doubts)). Of several that say they are the
//! primary one is used: that of the highest term; then the one that was last seen to be promoted;
//! then the one that said so first. A former primary that comes back and does not know yet that
//! another was promoted thus gets no writes.
//!
//! # Races
//!
//! 1. *A borrower chooses while its endpoint goes out.* It waits in a line that may never move. It
//!    looks at the roster after it has left its waker, and whenever a new one is published, and
//!    leaves the line if the endpoint is not a candidate any more: so either it sees the new
//!    roster, or the publisher finds its waker.
//! 2. *A connection is handed over while its endpoint goes out.* The borrower polls the line before
//!    it looks at the roster, so it takes the connection. If it leaves first, the ticket's drop
//!    gives the connection to the next in line.
//! 3. *An answer meets a failure.* A probe's answer counts only if it is the answer to the last
//!    question, and if the pool does not see connects fail at the moment when the answer is read.
//! 4. *A probe is lost* with the runtime that should run it, or its thread hangs. After its limit
//!    and a second the upkeep counts it as failed and asks anew; a late answer has an old number.
//! 5. *An endpoint is removed while borrowers wait there.* They are told as in race 1. The pool
//!    lives on until the last of them has gone, as each keeps the endpoint.
//! 6. *The router is dropped during a probe.* A probe has no handle of the pool, so the pool closes
//!    with the router, and knows the router weakly.
//! 7. *A fork.* The child's pools lend nothing; the router's slow path asks for forks before it
//!    takes a lock.

mod builder;
mod endpoint;
mod error;
mod handle;
mod load;
mod members;
mod publish;
mod roster;
mod route;
mod standing;
mod state;
mod stats;
mod target;
mod upkeep;

pub use builder::RouterBuilder;
pub use error::{EndpointError, RouteError, RouterError};
pub use handle::Router;
pub use members::EndpointPool;
pub use stats::{EndpointChange, EndpointState, EndpointStats, RouterStats};
pub use target::Target;
