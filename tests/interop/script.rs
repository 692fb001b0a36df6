//! Programs that are not Rust.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// Far longer than any of them takes.
const ENDS_WITHIN: Duration = Duration::from_secs(240);

/// Runs a script of `python/`; gives what it tells in its last line.
pub async fn python(script: &str, arguments: &[&str]) -> Value {
    let python = installed("venv/bin/python");
    // Writes no compiled files beside the scripts.
    tell(Command::new(python).arg("-B").arg(source("python").join(script)).args(arguments)).await
}

/// Runs a script for Node; gives what it tells in its last line.
pub async fn node(script: &str, arguments: &[&str]) -> Value {
    installed("node_modules/@modelcontextprotocol");
    assert!(source("node_modules").exists(), "node_modules is missing: {RUN_INSTALL}");
    tell(Command::new("node").arg(source(script)).args(arguments)).await
}

/// Runs promtool with `input`, and that of Prometheus 3 where it could be had, and expects that they find no fault.
/// Gives what the first says.
pub async fn promtool(arguments: &[&str], input: &str) -> String {
    let first = installed("bin/promtool");
    let other = first.with_file_name("promtool3");
    if other.exists() {
        ask_promtool(&other, arguments, input).await;
    }
    ask_promtool(&first, arguments, input).await
}

async fn ask_promtool(promtool: &Path, arguments: &[&str], input: &str) -> String {
    let output = run(Command::new(promtool).args(arguments), input).await;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {said}", promtool.display());
    said
}

const RUN_INSTALL: &str = "run tests/interop/install.sh first.";

/// A file that `install.sh` puts under the target directory.
pub fn installed(file: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let path = target.join("interop").join(file);
    assert!(path.exists(), "{} is missing: {RUN_INSTALL}", path.display());
    path
}

fn source(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(directory)
}

async fn tell(command: &mut Command) -> Value {
    let output = run(command, "").await;
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}:\n{told}\n{complaints}", output.status);
    let last = told.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("the last line is no JSON ({error}): {last:?}\n{complaints}"))
}

async fn run(command: &mut Command, input: &str) -> Output {
    // No proxy of the environment's leads to this machine.
    command.env("NO_PROXY", "127.0.0.1").kill_on_drop(true);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let program = command.as_std().get_program().display();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!("{program} is missing: install it, then {RUN_INSTALL}"),
        Err(error) => panic!("{program} does not start: {error}"),
    };
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let running = async {
        // It may end without reading; then it says why.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let ended = timeout(ENDS_WITHIN, running).await;
    ended.unwrap_or_else(|_| panic!("{program} did not end in time")).expect("its output can be read")
}
