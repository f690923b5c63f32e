//! The program in a terminal of its own, which `script` (of util-linux) makes.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// More than enough on a busy machine.
const PLENTY: Duration = Duration::from_secs(60);

/// Reads on until `text` has come.
fn read_until(text: &str, from: &Receiver<Vec<u8>>, said: &mut String) {
    while !said.contains(text) {
        match from.recv_timeout(PLENTY) {
            Ok(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            Err(RecvTimeoutError::Timeout) => panic!("no {text:?}: {said}"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended without {text:?}: {said}"),
        }
    }
}

#[test]
fn keys_kill_heal_pause_and_quit_and_the_terminal_is_restored() {
    let top = env!("CARGO_BIN_EXE_top");
    let command = format!("stty rows 40 cols 120; '{top}'; echo ended with $?");
    let mut process = Command::new("script")
        .args(["-qfc", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    let (to, from) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            let _ = to.send(bytes[..count].to_vec());
        }
    });
    let mut said = String::new();
    // The other screen is entered, and something is drawn on it.
    read_until("\u{1b}[?1049h", &from, &mut said);
    read_until("✓", &from, &mut said);
    keys.write_all(b"k").unwrap();
    read_until("✖", &from, &mut said);
    keys.write_all(b"p").unwrap();
    read_until("paused", &from, &mut said);
    keys.write_all(b"pk").unwrap();
    said.clear();
    read_until("✓", &from, &mut said);
    keys.write_all(b"q").unwrap();
    read_until("\u{1b}[?1049l", &from, &mut said);
    read_until("ended with 0", &from, &mut said);
    assert!(process.wait().unwrap().success());
}
