//! Prometheus, as a child of this process.

use std::{
    error::Error,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long it may take to be ready, and to write down what it has.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rules and alerts that the dashboards go with.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");

/// A running Prometheus. Dropped, it is killed.
pub struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts it on `listen`, to scrape `target` every second, and waits until it is ready. What it logs goes to a file in
    /// `directory`.
    pub async fn start(directory: &Path, listen: SocketAddr, target: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let config = directory.join("prometheus.yml");
        fs::write(&config, configuration(target))?;
        let log = File::create(directory.join("prometheus.log"))?;
        let mut command = Command::new("prometheus");
        command.args(arguments(directory, listen));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "prometheus is not on the PATH (on Debian: apt-get install prometheus)".to_owned(),
            _ => format!("prometheus does not start: {error}"),
        })?;
        // No proxy of the environment's leads to this machine.
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut prometheus = Self { child, url: format!("http://{listen}"), http };
        timeout(PATIENCE, prometheus.ready()).await.map_err(|_| "prometheus was not ready in time: see its log")??;
        Ok(prometheus)
    }

    /// Where to look.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn ready(&mut self) -> Result<(), Box<dyn Error>> {
        let probe = format!("{}/-/ready", self.url);
        loop {
            // Before the probe: another Prometheus may have that address, and would answer it.
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("prometheus ended ({status}): is its address taken? See its log").into());
            }
            if self.http.get(&probe).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks it to write down what it has and to end, and waits for that.
    pub async fn stop(mut self) -> Result<(), Box<dyn Error>> {
        // It may be gone before it has answered.
        let _ = self.http.post(format!("{}/-/quit", self.url)).send().await;
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

fn configuration(target: SocketAddr) -> String {
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 5s }}\n\
         rule_files: [\"{RULES}/rules.yml\", \"{RULES}/alerts.yml\"]\n\
         scrape_configs:\n\
         - job_name: buttress\n  static_configs: [{{ targets: [\"{target}\"] }}]\n"
    )
}

fn arguments(directory: &Path, listen: SocketAddr) -> Vec<String> {
    vec![
        format!("--config.file={}", directory.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
        format!("--web.listen-address={listen}"),
        "--web.enable-lifecycle".to_owned(),
    ]
}

/// The command that opens the data once more.
pub fn again(directory: &Path, listen: SocketAddr) -> String {
    format!("prometheus {}", arguments(directory, listen).join(" "))
}
