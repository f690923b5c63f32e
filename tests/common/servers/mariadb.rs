//! MariaDB.

use super::process::{Process, copy_all, free_port, is_root, run, template, text, version};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// May do everything and needs no password. One session of its own is kept free beyond `max_connections`.
pub const ROOT: &str = "root";
/// May do everything within [`DATABASE`].
pub const USER: &str = "app";
pub const PASSWORD: &str = "open-sesame";
pub const DATABASE: &str = "songs";

const LOG_SIZE: &str = "--innodb-log-file-size=8M";

/// A server with databases of its own.
#[derive(Debug)]
pub struct MariaDb {
    pub port: u16,
    directory: TempDir,
    settings: Vec<String>,
    process: Option<Process>,
}

impl MariaDb {
    /// A new server, running, with its user and its database. `settings` are as on the command line:
    /// `--max-connections=10`.
    pub fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        copy_all(&template(&version("mariadbd"), make), &data);
        let settings = settings.iter().map(|&setting| setting.into()).collect();
        let mut server = Self { port: free_port(), directory, settings, process: None };
        server.restart();
        server.ask(&format!(
            "CREATE DATABASE {DATABASE}; CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON {DATABASE}.* TO {USER}@'%'"
        ));
        server
    }

    /// Comes back on the same port with the same data, and returns when it serves.
    pub fn restart(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// As [`restart`](Self::restart), but returns at once.
    pub fn launch(&mut self) {
        let directory = self.directory.path();
        let mut arguments = vec![
            "--no-defaults".into(),
            format!("--datadir={}", directory.join("data").display()),
            format!("--socket={}", text(&self.socket())),
            format!("--pid-file={}", directory.join("pid").display()),
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
        self.process = None;
        self.process = Some(Process::start(false, "mariadbd", &arguments, &self.log()));
    }

    pub fn await_ready(&mut self) {
        let (log, mut client) = (self.log(), self.client("SELECT 1"));
        let ready = || client.output().expect("mariadb").status.success();
        self.process.as_mut().expect("a launched server").await_ready(&log, ready);
    }

    /// As a crash of its machine.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends all sessions and goes, as for an upgrade.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate("TERM");
        }
    }

    pub fn freeze(&self) {
        self.process.as_ref().expect("a running server").freeze();
    }

    pub fn thaw(&self) {
        self.process.as_ref().expect("a running server").thaw();
    }

    /// What the server answers to statements of [`ROOT`]'s, for an eye that is not the pool's: rows as lines,
    /// columns between tabs.
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
        self.directory.path().join("socket")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

/// It refuses to run as root without being told to.
fn user() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

/// Fresh data.
fn make(data: &Path) {
    let data_option = format!("--datadir={}", text(data));
    let mut arguments = vec!["--no-defaults", &data_option, LOG_SIZE, "--skip-test-db"];
    arguments.push("--auth-root-authentication-method=normal");
    arguments.extend(user());
    run(false, "mariadb-install-db", &arguments);
}
