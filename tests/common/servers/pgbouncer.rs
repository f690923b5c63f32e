//! PgBouncer, in transaction mode before a PostgreSQL server.

use super::postgres::{Postgres, SUPERUSER};
use super::process::{Seat, loopback, private_directory, seated, text};
use std::fs;
use std::net::TcpStream;

#[derive(Debug)]
pub struct PgBouncer {
    seat: Seat,
}

seated!(PgBouncer);

impl PgBouncer {
    /// With so many connections of its own to the server, for all clients together.
    pub fn start(server: &Postgres, size: usize) -> Self {
        let seat = Seat::new(private_directory());
        let path = |name: &str| seat.path(name).display().to_string();
        fs::write(path("users"), format!("\"{SUPERUSER}\" \"\"\n")).expect("a file of users");
        let settings = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={} dbname=postgres\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = trust\n\
             auth_file = {}\n\
             admin_users = {SUPERUSER}\n\
             pool_mode = transaction\n\
             default_pool_size = {size}\n\
             max_client_conn = 1000\n\
             server_login_retry = 0.1\n",
            server.port,
            seat.port,
            path("users"),
        );
        fs::write(path("settings"), settings).expect("a file of settings");
        let mut pooler = Self { seat };
        pooler.restart();
        pooler
    }

    pub fn restart(&mut self) {
        let (port, settings) = (self.port, self.path("settings"));
        let is_ready = || TcpStream::connect(loopback(port)).is_ok();
        self.seat.start(true, "/usr/sbin/pgbouncer", &[text(&settings)], is_ready);
    }

    pub fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user={SUPERUSER} dbname=postgres", self.port)
    }
}
