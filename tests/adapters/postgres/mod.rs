//! PostgreSQL, with both of its drivers.

mod borrowers;
mod cancel;
mod faults;
mod floods;
mod hooks;
mod hostile;
mod hosts;
mod known_dead;
mod left_over;
mod pgbouncer;
mod round_trips;
mod router;
mod sessions;
mod statements;
mod tls;
mod urls;
