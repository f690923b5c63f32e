//! A page in a Chromium without a window, which is asked by the DevTools protocol: over two pipes,
//! as JSON, each message ended by a zero byte.

use crate::common::servers::process::run;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// In Debian's package of that name.
const PROGRAM: &str = "chromium";
/// The pipes are the descriptors 3 and 4 of the browser.
const PIPED: &str = "exec \"$0\" \"$@\" 3<\"$PIPES/to\" 4>\"$PIPES/from\"";

/// Ends with this.
#[derive(Debug)]
pub(super) struct Browser {
    process: Child,
    to: File,
    from: BufReader<File>,
    session: Value,
    asked: u64,
    _directory: TempDir,
}

impl Browser {
    /// Returns once the page is loaded. Mistakes in its script are listed in its `complaints`.
    pub(super) fn open(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        run(false, "mkfifo", &[&path("to"), &path("from")]);
        let process = Command::new("sh")
            .args(["-c", PIPED, PROGRAM, "--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--remote-debugging-pipe", "--window-size=1100,1250", "--no-first-run"])
            .arg(format!("--user-data-dir={}", path("profile")))
            .arg("about:blank")
            .env("PIPES", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In the order in which the shell opens the other ends.
        let to = OpenOptions::new().write(true).open(path("to")).unwrap();
        let from = BufReader::new(File::open(path("from")).unwrap());
        let session = Value::Null;
        let mut browser = Self { process, to, from, session, asked: 0, _directory: directory };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.ask("Target.attachToTarget", attached)["sessionId"].clone();
        browser.ask("Page.enable", json!({}));
        let collect = "var complaints = []; \
            addEventListener('error', (event) => complaints.push(event.message)); \
            addEventListener('securitypolicyviolation', \
            (event) => complaints.push(event.blockedURI));";
        browser.ask("Page.addScriptToEvaluateOnNewDocument", json!({ "source": collect }));
        browser.ask("Page.navigate", json!({ "url": url }));
        browser.hear(|message| message["method"] == "Page.loadEventFired");
        browser
    }

    /// What an expression comes to in the page.
    #[track_caller]
    pub(super) fn says(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.ask("Runtime.evaluate", question);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// As if its user preferred the `light` or the `dark` theme.
    pub(super) fn prefer(&mut self, theme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": theme });
        self.ask("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// For a human eye: a picture of the page in the folder `PICTURES`, if that is set.
    pub(super) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("PICTURES") else { return };
        let shot = self.ask("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        let mut decode = Command::new("base64");
        decode.arg("-d").stdin(Stdio::piped()).stdout(File::create(path).unwrap());
        let mut decode = decode.spawn().unwrap();
        decode.stdin.take().unwrap().write_all(shot["data"].as_str().unwrap().as_bytes()).unwrap();
        assert!(decode.wait().unwrap().success());
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        let mut answer = self.hear(|message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The next message that `is_it`.
    fn hear(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "{PROGRAM} is gone, or not installed");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if is_it(&message) {
                return message;
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
