//! MySQL and MariaDB, with both of their drivers.

mod cancelled;
mod dead;
mod dropped;
mod hostile;
mod in_step;
mod left_over;
mod load;
mod outages;
mod refusals;
mod roles;
mod round_trips;
mod secrets;
mod sessions;
mod settings;
mod wire;
