//! MariaDB.

use super::process::{
    Seat, copy_all, is_root, private_directory, run, seated, template, text, version,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// May do everything and needs no password. One session of its own is kept free beyond
/// `max_connections`.
pub const ROOT: &str = "root";
/// May do everything within [`DATABASE`].
pub const USER: &str = "app";
pub const PASSWORD: &str = "open-sesame";
pub const DATABASE: &str = "songs";

const LOG_SIZE: &str = "--innodb-log-file-size=8M";

/// A server with databases of its own.
#[derive(Debug)]
pub struct MariaDb {
    seat: Seat,
    settings: Vec<String>,
}

seated!(MariaDb);

impl MariaDb {
    /// A new server, running, with its user and its database. `settings` are as on the command
    /// line: `--max-connections=10`.
    pub fn start(settings: &[&str]) -> Self {
        let seat = Seat::new(private_directory());
        copy_all(&template(&version("mariadbd"), make), &seat.path("data"));
        let settings = settings.iter().map(|&setting| setting.into()).collect();
        let mut server = Self { seat, settings };
        server.restart();
        server.ask(&format!(
            "CREATE DATABASE {DATABASE}; CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON {DATABASE}.* TO {USER}@'%'"
        ));
        server
    }

    /// Comes back on the same port with the same data, and returns when it serves.
    pub fn restart(&mut self) {
        let mut arguments = vec![
            "--no-defaults".into(),
            format!("--datadir={}", self.path("data").display()),
            // A server that starts clears away the temporary tables that it finds, and `/tmp` has
            // those of others.
            format!("--tmpdir={}", self.path("").display()),
            format!("--socket={}", text(&self.socket())),
            format!("--pid-file={}", self.path("pid").display()),
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".into(),
            "--skip-name-resolve".into(),
            "--innodb-buffer-pool-size=16M".into(),
            "--innodb-flush-log-at-trx-commit=0".into(),
            LOG_SIZE.into(),
        ];
        arguments.extend(user().map(String::from));
        arguments.extend(self.settings.iter().cloned());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut client = self.client("SELECT 1");
        let is_ready = || client.output().expect("mariadb").status.success();
        self.seat.start(false, "mariadbd", &arguments, is_ready);
    }

    /// What the server answers to statements of [`ROOT`]'s, for an eye that is not the pool's: rows
    /// as lines, columns between tabs.
    pub fn ask(&self, sql: &str) -> String {
        let Output { status, stdout, stderr } = self.client(sql).output().expect("mariadb");
        assert!(status.success(), "{sql}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("UTF-8").trim().into()
    }

    fn client(&self, sql: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args([
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--user",
            ROOT,
            "--socket",
        ]);
        client.arg(self.socket()).args(["--execute", sql]);
        client
    }

    /// The numbers of the sessions that belong to [`USER`].
    pub fn sessions(&self) -> Vec<u64> {
        let ids = self.ask(&format!(
            "SELECT id FROM information_schema.processlist WHERE user = '{USER}' ORDER BY id"
        ));
        ids.lines().map(|id| id.parse().expect("a number")).collect()
    }

    /// Ends all sessions of [`USER`] from the server's side.
    pub fn kill_sessions(&self) {
        let kills: Vec<_> = self.sessions().iter().map(|id| format!("KILL {id}")).collect();
        self.ask(&kills.join(";"));
    }

    /// For the drivers: as [`USER`], in [`DATABASE`].
    pub fn url(&self) -> String {
        self.url_as(USER, PASSWORD, DATABASE)
    }

    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    fn socket(&self) -> PathBuf {
        self.path("socket")
    }
}

/// It refuses to run as root without being told to.
fn user() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

/// Fresh data.
fn make(data: &Path) {
    let data_option = format!("--datadir={}", text(data));
    // As in `restart`.
    let apart = format!("--tmpdir={}", text(data.parent().expect("a directory")));
    let mut arguments = vec!["--no-defaults", &data_option, &apart, LOG_SIZE, "--skip-test-db"];
    arguments.push("--auth-root-authentication-method=normal");
    arguments.extend(user());
    run(false, "mariadb-install-db", &arguments);
}
