//! PostgreSQL.

use super::process::{Seat, copy_all, private_directory, run, seated, template, text, version};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The superuser of each server, who needs no password.
pub const SUPERUSER: &str = "postgres";

/// Where a cluster is.
const DATA: &str = "data";

/// A server with a cluster of its own.
#[derive(Debug)]
pub struct Postgres {
    seat: Seat,
    settings: Vec<String>,
}

seated!(Postgres);

impl Postgres {
    /// A new cluster, running. `settings` are as for `-c`: `max_connections=10`.
    pub fn start(settings: &[&str]) -> Self {
        let seat = Seat::new(private_directory());
        copy_all(&template(&version(&program("postgres")), make), &seat.path(DATA));
        Self::up(seat, settings)
    }

    /// A copy of this one that follows it as it goes, and refuses to write.
    pub fn standby(&self) -> Self {
        let seat = Seat::new(private_directory());
        let data = seat.path(DATA);
        let port = self.port.to_string();
        run(
            true,
            &program("pg_basebackup"),
            &["-h", "127.0.0.1", "-p", &port, "-U", SUPERUSER, "-R", "-X", "stream", "-c", "fast"]
                .into_iter()
                .chain(["--no-sync", "-D", text(&data)])
                .collect::<Vec<_>>(),
        );
        let settings: Vec<_> = self.settings.iter().map(String::as_str).collect();
        Self::up(seat, &settings)
    }

    fn up(seat: Seat, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&setting| setting.into()).collect();
        let mut server = Self { seat, settings };
        server.restart();
        server
    }

    /// Comes back on the same port with the same data, and returns when it serves.
    pub fn restart(&mut self) {
        let (data, port) = (self.path(DATA), self.port.to_string());
        let mut arguments = vec!["-D", text(&data), "-p", &port];
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            arguments.extend(["-c", setting]);
        }
        let is_ready = || {
            let mut command = Command::new(program("pg_isready"));
            command.args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", SUPERUSER]);
            command.status().expect("pg_isready").success()
        };
        self.seat.start(true, &program("postgres"), &arguments, is_ready);
    }

    /// Makes a standby the primary; returns when it takes writes.
    pub fn promote(&self) {
        run(true, &program("pg_ctl"), &["-D", text(&self.path(DATA)), "promote", "-w"]);
    }

    /// What `psql` answers to a statement, for an eye that is not the pool's.
    pub fn ask(&self, sql: &str) -> String {
        self.ask_in("postgres", sql)
    }

    /// The same in one of its databases.
    pub fn ask_in(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        let output = Command::new(program("psql"))
            .args(["-h", "127.0.0.1", "-p", &port, "-U", SUPERUSER, "-d", database])
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .expect("psql");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim().into()
    }

    /// The sessions that have named themselves so with `application_name`.
    pub fn sessions(&self, application: &str) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}'"
        );
        self.ask(&sql).parse().expect("a number")
    }

    /// For the driver, without `application_name`.
    pub fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user={SUPERUSER} dbname=postgres", self.port)
    }

    /// To be added to, so that a password is asked for: `pg_hba.conf` of this cluster.
    pub fn hba(&self) -> PathBuf {
        self.path(DATA).join("pg_hba.conf")
    }
}

/// In Debian most of the server's programs are not on the path.
fn program(name: &str) -> String {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin").join(name));
    match installed.filter(|path| path.exists()).max() {
        Some(path) => text(&path).into(),
        None => name.into(),
    }
}

fn make(data: &Path) {
    let options = ["-U", SUPERUSER, "-A", "trust", "-N", "--no-instructions", "--locale=C.UTF-8"];
    run(true, &program("initdb"), &[options.as_slice(), &["-D", text(data)]].concat());
}
