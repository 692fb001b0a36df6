//! The examples that end by themselves, run to their end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{path::PathBuf, process::Command};

/// An example's binary, which cargo builds beside the tests.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    path.join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

#[test]
fn layers() {
    let output = Command::new(example("layers")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for expected in [
        "\"one\": 1 words (attempts: 2)",
        "Unavailable: \"count\" on \"words\"",
        "Rate limited: \"words\" allows you 10 calls a minute",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}
