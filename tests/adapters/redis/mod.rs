//! Redis, with both of its drivers.

mod cluster;
mod hostile;
mod hostile_steps;
mod left_over;
mod network;
mod no_server;
mod outages;
mod roles;
mod round_trips;
mod sentinel;
mod sessions;
