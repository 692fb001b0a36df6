//! The example's binary, and the processes started from it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::OnceLock,
};

use rmcp::transport::TokioChildProcess;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::spawn_blocking,
};

use crate::patience::within;

/// Any free port, on an address that only this machine can reach.
pub const ANYWHERE: &str = "127.0.0.1:0";

/// The binary. `cargo test` builds examples only where no single test was asked for, and those with tests of their own not
/// even then: so it is asked for here, which takes no time where it has been built.
async fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    spawn_blocking(|| PATH.get_or_init(build)).await.unwrap()
}

fn build() -> PathBuf {
    let mut cargo = process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--all-features", "--example", "weather", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout).unwrap();
    let executable = |line| serde_json::from_str::<Value>(line).ok()?["executable"].as_str().map(PathBuf::from);
    messages.lines().filter_map(executable).next_back().unwrap()
}

/// The example with these flags, not started yet.
pub async fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(path().await);
    command.args(flags).env_remove("RUST_LOG").stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A weather server in a process of its own, over HTTP.
pub struct Site {
    // Killed when dropped.
    _process: Child,
    /// Where MCP is served.
    pub mcp: String,
    /// Where the metrics are.
    pub metrics: String,
    /// Where its own stand-in tells its statistics, if it has one.
    pub stats: Option<String>,
}

impl Site {
    /// Starts a server that asks the service at `api`.
    pub async fn asking(api: &str) -> Self {
        Self::start(&["--api", api], &["MCP", "metrics"]).await
    }

    /// Starts a server with a stand-in of its own.
    pub async fn alone(flags: &[&str]) -> Self {
        Self::start(flags, &["MCP", "metrics", "stand-in"]).await
    }

    async fn start(flags: &[&str], told: &[&str]) -> Self {
        let flags = [&["--listen", ANYWHERE, "--admin", ANYWHERE], flags].concat();
        let mut process = command(&flags).await.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut told = addresses(process.stderr.take().unwrap(), told).await;
        let mut take = |what| told.remove(what);
        Self { mcp: take("MCP").unwrap(), metrics: take("metrics").unwrap(), stats: take("stand-in"), _process: process }
    }
}

/// A weather server over stdio that asks the service at `api`; and where its metrics are.
pub async fn over_stdio(api: &str) -> (TokioChildProcess, String) {
    let command = command(&["--stdio", "--api", api, "--admin", ANYWHERE]).await;
    let (child, stderr) = TokioChildProcess::builder(command).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = addresses(stderr.unwrap(), &["metrics"]).await;
    (child, told.remove("metrics").unwrap())
}

/// Reads the addresses that the example tells on stderr when it starts, by what they are.
async fn addresses(stderr: impl AsyncRead + Send + Unpin + 'static, wanted: &[&str]) -> BTreeMap<String, String> {
    let mut lines = BufReader::new(stderr).lines();
    let mut told = BTreeMap::new();
    within("the server to start", async {
        while !wanted.iter().all(|what| told.contains_key(*what)) {
            let line = lines.next_line().await.unwrap().expect("the server lives on");
            if let Some((what, url)) = line.split_once(char::is_whitespace) {
                told.insert(what.to_owned(), url.trim().to_owned());
            }
        }
    })
    .await;
    // Who logs into a full pipe waits for ever.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    told
}
