//! What the program says where it can show nothing.

use std::process::{Command, Stdio};

#[test]
fn without_a_terminal_it_says_so_and_fails() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_top"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said, "top needs a terminal to draw in; see top --help\n");
    assert!(output.stdout.is_empty());
}
