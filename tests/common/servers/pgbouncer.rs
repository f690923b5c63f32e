//! PgBouncer, in transaction mode before a PostgreSQL server.

use super::postgres::{Postgres, SUPERUSER};
use super::process::{Process, free_port, private_directory, text};
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use tempfile::TempDir;

#[derive(Debug)]
pub struct PgBouncer {
    pub port: u16,
    directory: TempDir,
    process: Option<Process>,
}

impl PgBouncer {
    /// With so many connections of its own to the server, for all clients together.
    pub fn start(server: &Postgres, size: usize) -> Self {
        let directory = private_directory();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let port = free_port();
        fs::write(path("users"), format!("\"{SUPERUSER}\" \"\"\n")).expect("a file of users");
        let settings = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={} dbname=postgres\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = trust\n\
             auth_file = {}\n\
             admin_users = {SUPERUSER}\n\
             pool_mode = transaction\n\
             default_pool_size = {size}\n\
             max_client_conn = 1000\n\
             server_login_retry = 0.1\n",
            server.port,
            path("users"),
        );
        fs::write(path("settings"), settings).expect("a file of settings");
        let mut pooler = Self { port, directory, process: None };
        pooler.restart();
        pooler
    }

    pub fn restart(&mut self) {
        self.process = None;
        let settings = self.path("settings");
        let log = self.path("log");
        let mut process = Process::start(true, "/usr/sbin/pgbouncer", &[text(&settings)], &log);
        process.await_ready(&log, || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn freeze(&self) {
        self.process.as_ref().expect("a running pooler").freeze();
    }

    pub fn thaw(&self) {
        self.process.as_ref().expect("a running pooler").thaw();
    }

    pub fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user={SUPERUSER} dbname=postgres", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
