//! The weather example as a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Mutex, MutexGuard, mpsc},
    time::{sleep, timeout},
};

use crate::scrape::Scrape;

/// How long the server may take until it is ready.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// How long to wait before looking again.
const POLL: Duration = Duration::from_millis(50);

/// Held while the example is in use. Its attempt limit is short, and several such servers with their clients would starve
/// each other on a small machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other test uses the example.
pub async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// The example's program, built as these tests are.
pub fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| build("weather"));
    &PROGRAM
}

/// Cargo builds an example that has tests of its own only as a test, and tells nobody where a program of it lies; so it is
/// asked for both.
pub fn build(example: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--all-features", "--example", example, "--message-format=json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(built.status.success(), "the example {example} does not build");
    let messages = String::from_utf8(built.stdout).expect("cargo speaks UTF-8");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == example)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo tells where the program is")
}

/// A running server. It is killed when this is dropped.
pub struct Weather {
    /// The MCP endpoint's URL.
    pub mcp: String,
    metrics: String,
    stats: String,
    http: reqwest::Client,
    process: Child,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Weather {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Weather {
    /// Starts it on free ports, and waits until it is ready.
    pub async fn start() -> Self {
        let alone = alone().await;
        let mut process = Command::new(program())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut lines = lines_of(&mut process);
        // From here on, a panic ends the process too.
        let mut weather = Self {
            mcp: String::new(),
            metrics: String::new(),
            stats: String::new(),
            // No proxy of the environment's leads to this machine.
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            process,
            _alone: alone,
        };
        timeout(STARTS_WITHIN, weather.become_ready(&mut lines)).await.expect("the example becomes ready in time");
        weather
    }

    /// Learns from its greeting where everything is, then asks until it says that it is ready.
    async fn become_ready(&mut self, greeting: &mut mpsc::UnboundedReceiver<String>) {
        while self.mcp.is_empty() || self.metrics.is_empty() || self.stats.is_empty() {
            let line = greeting.recv().await.expect("the example tells its URLs before it ends");
            match line.split_once(' ') {
                Some(("MCP", url)) => self.mcp = url.trim().to_owned(),
                Some(("metrics", url)) => self.metrics = url.trim().to_owned(),
                Some(("stand-in", url)) => self.stats = url.trim().to_owned(),
                _ => {}
            }
        }
        let ready = self.metrics.replace("/metrics", "/readyz");
        while !self.http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            sleep(POLL).await;
        }
    }

    /// What the stand-in counted.
    pub async fn backend(&self) -> Backend {
        Backend(serde_json::from_str(&self.get(&self.stats).await).expect("the statistics are JSON"))
    }

    /// What Prometheus would get now.
    pub async fn metrics(&self) -> Scrape {
        Scrape::new(self.get(&self.metrics).await)
    }

    async fn get(&self, url: &str) -> String {
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        answer.expect("an answer").text().await.expect("a text")
    }
}

/// The lines on the process's stderr. They are read to the end, also when nobody listens any more, since a full pipe would
/// halt the server.
fn lines_of(process: &mut Child) -> mpsc::UnboundedReceiver<String> {
    let (told, lines) = mpsc::unbounded_channel();
    let stderr = BufReader::new(process.stderr.take().expect("stderr is piped"));
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Shown where a test fails.
            eprintln!("{line}");
            let _ = told.send(line);
        }
    });
    lines
}

/// The stand-in's own statistics.
#[derive(Debug)]
pub struct Backend(Value);

impl Backend {
    pub const FORECAST: &str = "/v1/forecast";
    pub const OBSERVATIONS: &str = "/v1/observations";

    /// Requests on a path, reads and writes alike.
    pub fn requests(&self, path: &str) -> u64 {
        self.0["requests"][path].as_u64().unwrap_or(0)
    }

    /// Faults that were dealt on a path.
    pub fn faults(&self, path: &str) -> u64 {
        let kinds = self.0["faults"][path].as_object();
        kinds.map_or(0, |kinds| kinds.values().filter_map(Value::as_u64).sum())
    }

    /// Faults that leave it open to the caller whether there was an effect.
    pub fn doubtful(&self, path: &str) -> u64 {
        let faults = &self.0["faults"][path];
        ["reset_before", "reset_after", "error_after", "hang"].iter().filter_map(|kind| faults[kind].as_u64()).sum()
    }

    /// Observations ever recorded.
    pub fn effects(&self) -> u64 {
        self.0["effects"].as_u64().expect("effects are counted")
    }
}
