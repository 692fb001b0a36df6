//! The dashboards and the rules, asked of a real Prometheus that has watched the example.

use std::{
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, routing::post};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{Instant, interval, timeout},
};

use crate::{script, weather};

/// One round of the example's troubles, and some scrapes more.
const WATCHED: Duration = Duration::from_secs(55);

/// How long the example may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a dashboard puts in the place of its variables.
const VARIABLES: [(&str, &str); 6] = [
    ("$__rate_interval", "10s"),
    ("$job", ".+"),
    ("$instance", ".+"),
    ("$upstream", ".+"),
    ("${upstream:regex}", ".+"),
    ("${tool:regex}", ".+"),
];

/// A file of `dashboards/`.
fn dashboards(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(file).display().to_string()
}

#[tokio::test]
#[ignore = "interop: needs promtool"]
async fn the_alerts_pass_their_tests() {
    for file in ["rules.yml", "alerts.yml"] {
        script::promtool(&["check", "rules", "--lint=all", "--lint-fatal", &dashboards(file)], "").await;
    }
    for file in ["availability.yml", "latency.yml", "layers.yml", "panels.yml", "process.yml"] {
        script::promtool(&["test", "rules", &dashboards(&format!("tests/{file}"))], "").await;
    }
}

#[tokio::test]
#[ignore = "interop: needs Python"]
async fn alerts_link_to_the_runbooks_that_their_generator_is_given() {
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runbooks");
    std::fs::create_dir_all(&into).expect("a directory");
    let mut python = Command::new("python3");
    python.arg("-B").arg(dashboards("generate.py")).arg(&into).arg("https://wiki.example.org/buttress.md");
    let ended = python.status().await.expect("Python runs");
    assert!(ended.success(), "{ended}");
    let alerts = std::fs::read_to_string(into.join("alerts.yml")).expect("it is there");
    let links: Vec<&str> = alerts.lines().filter(|line| line.contains("runbook_url")).collect();
    assert!(links.len() > 10, "{links:?}");
    assert!(links.iter().all(|link| link.contains("'https://wiki.example.org/buttress.md#buttress")), "{links:?}");
}

/// What lies there is what its generator writes.
#[tokio::test]
#[ignore = "interop: needs Python"]
async fn the_dashboards_are_as_generated() {
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboards");
    std::fs::create_dir_all(&into).expect("a directory");
    // Writes no compiled files beside the scripts.
    let mut python = Command::new("python3");
    let ended = python.arg("-B").arg(dashboards("generate.py")).arg(&into).status().await.expect("Python runs");
    assert!(ended.success(), "{ended}");
    for file in ["overview.json", "tool.json", "rules.yml", "alerts.yml"] {
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        assert_eq!(read(Path::new(&dashboards(file))), read(&into.join(file)), "{file}: run dashboards/generate.py");
    }
}

#[tokio::test]
#[ignore = "interop: needs prometheus"]
async fn every_panel_has_data_and_every_rule_can_be_evaluated() {
    let _alone = weather::alone().await;
    let Started { prometheus: url, traces, mut example } = start(WATCHED + Duration::from_secs(10), None);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    // The last fifty are shown, and they may all be of one kind: so they are looked at again and again.
    let (mut trouble, mut look) = (String::new(), interval(Duration::from_secs(1)));
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        look.tick().await;
        // It may not have started yet.
        if let Ok(shown) = http.get(format!("{traces}/trouble")).send().await {
            trouble.push_str(&shown.text().await.expect("as text"));
        }
    }
    // A call that was repeated: its span, and those of two attempts within it.
    let indents = trouble.lines().map(|line| line.len() - line.trim_start().len()).collect::<Vec<_>>();
    assert!(indents.windows(3).any(|lines| lines == [0, 2, 2]), "{trouble}");
    for said in ["tools/call get_", "(Server)", "(Client)", "rejected"] {
        assert!(trouble.contains(said), "no {said} in\n{trouble}");
    }
    let prometheus = Prometheus { url, http };

    let mut without = Vec::new();
    for file in ["overview.json", "tool.json"] {
        let text = std::fs::read_to_string(dashboards(file)).expect("the dashboard is there");
        let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
        for (title, expression) in expressions(&dashboard) {
            if !prometheus.has_data(&expression).await {
                without.push(format!("{file}: {title}: {expression}"));
            }
        }
        for (title, expression) in annotations(&dashboard) {
            // Nothing is started anew while this runs.
            if !prometheus.has_data(&expression).await && title != "Restarted" {
                without.push(format!("{file}: {title}: {expression}"));
            }
        }
    }
    assert!(without.is_empty(), "no data:\n{}", without.join("\n"));
    prometheus.all_rules_are_well().await;

    let ended = timeout(PATIENCE, example.wait()).await.expect("the example ends by itself").expect("it has a status");
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
#[ignore = "interop: needs prometheus"]
async fn spans_go_where_the_environment_says() {
    let _alone = weather::alone().await;
    let taken = Arc::<AtomicUsize>::default();
    let take = {
        let taken = taken.clone();
        async move |spans: Bytes| {
            taken.fetch_add(spans.len(), Ordering::Relaxed);
        }
    };
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = format!("http://{}", collector.local_addr().expect("it is bound"));
    let taking = tokio::spawn(async { axum::serve(collector, Router::new().route("/v1/traces", post(take))).await });
    let mut example = start(Duration::from_secs(3), Some(&at)).example;
    let ended = timeout(PATIENCE, example.wait()).await.expect("the example ends by itself").expect("it has a status");
    assert!(ended.success(), "{ended}");
    taking.abort();
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken > 10_000, "{taken} bytes of spans");
}

/// The example, and where its Prometheus and its traces are.
struct Started {
    prometheus: String,
    traces: String,
    example: Child,
}

/// Starts the example beside the Prometheus that `install.sh` has put there, and beside this collector, if there is one.
fn start(time: Duration, collector: Option<&str>) -> Started {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observability");
    // Data of an earlier run would fill panels that this one leaves empty.
    let _ = std::fs::remove_dir_all(&directory);
    let beside = script::installed("bin/prometheus").parent().expect("it lies in a directory").display().to_string();
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [prometheus, traces] = free.map(|listener| listener.local_addr().expect("it is bound").to_string());
    let mut command = Command::new(weather::build("observability"));
    command.args(["--admin", "127.0.0.1:0", "--prometheus", &prometheus, "--traces", &traces, "--directory"]).arg(directory);
    command.args(["--for", &time.as_secs().to_string()]);
    command.env("PATH", format!("{beside}:{}", std::env::var("PATH").unwrap_or_default()));
    // What the environment says of a collector is for others.
    command.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT").env_remove("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    command.envs(collector.map(|at| ("OTEL_EXPORTER_OTLP_ENDPOINT", at)));
    let example = command.kill_on_drop(true).spawn().expect("the example starts");
    Started { prometheus: format!("http://{prometheus}"), traces: format!("http://{traces}"), example }
}

/// Each expression of each panel, by the panel's title.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let top = dashboard["panels"].as_array().expect("a dashboard has panels");
    let inner = top.iter().filter_map(|row| row["panels"].as_array()).flatten();
    top.iter()
        .chain(inner)
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            targets.into_iter().map(|target| {
                let expression = target["expr"].as_str().expect("a target has an expression").to_owned();
                (panel["title"].to_string(), filled(expression))
            })
        })
        .collect()
}

/// The expression of each annotation, by its name.
fn annotations(dashboard: &Value) -> Vec<(String, String)> {
    let all = dashboard["annotations"]["list"].as_array().expect("a dashboard has annotations");
    let text = |value: &Value| value.as_str().expect("an annotation has a name and an expression").to_owned();
    all.iter().map(|note| (text(&note["name"]), filled(text(&note["expr"])))).collect()
}

fn filled(expression: String) -> String {
    VARIABLES.iter().fold(expression, |filled, (name, value)| filled.replace(name, value))
}

struct Prometheus {
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    async fn get(&self, path: &str, query: &[(&str, String)]) -> Value {
        let answer = self.http.get(format!("{}/api/v1/{path}", self.url)).query(query).send().await.expect("Prometheus answers");
        let told: Value = answer.json().await.expect("in JSON");
        assert_eq!(told["status"], "success", "{query:?}: {told}");
        told["data"].clone()
    }

    /// Whether there was anything but gaps since the example began.
    async fn has_data(&self, expression: &str) -> bool {
        // The comparison leaves out what is not a number.
        let whole = format!("count_over_time((({expression}) > -Inf)[{}s:2s])", WATCHED.as_secs());
        let found = self.get("query", &[("query", whole)]).await;
        found["result"].as_array().is_some_and(|series| !series.is_empty())
    }

    async fn all_rules_are_well(&self) {
        let told = self.get("rules", &[]).await;
        let groups = told["groups"].as_array().expect("a list of groups");
        let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
        assert!(rules.len() > 30, "{} rules", rules.len());
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }
}
