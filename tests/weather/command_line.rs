//! The example as a command: what it says when it cannot start, and its own stand-in's account of faults.

use std::process::Stdio;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    binary::{ANYWHERE, Site, command},
    client::Era,
    crowd::Crowd,
    patience::within,
    series::Series,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_in_one_sentence() {
    let taken = TcpListener::bind(ANYWHERE).await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin"] {
        let addresses = match flag {
            "--listen" => [&taken, ANYWHERE],
            _ => [ANYWHERE, &taken],
        };
        let flags = ["--calm", "--listen", addresses[0], "--admin", addresses[1]];
        let mut command = command(&flags).await;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let ended = within("the example to end", command.output()).await.unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{told}");
        assert!(ended.stdout.is_empty());
        assert_eq!((told.lines().count(), told.matches(". ").count()), (1, 0), "more than a sentence: {told}");
        assert!(told.contains(&taken) && told.contains(flag) && told.trim_end().ends_with('.'), "{told}");
    }
}

/// What the built-in stand-in tells at `/stats` is what it tells Prometheus.
#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_counts_its_faults_twice_alike() {
    let site = Site::alone(&["--seed", "1"]).await;
    let crowd = Crowd::new(vec![Era::Modern.over_http(&site.mcp).await]);
    crowd.storm(8, 12).await;
    let series = Series::at_rest(&site.metrics).await;

    let stats = site.stats.as_ref().unwrap();
    let stats: Value =
        reqwest::Client::builder().no_proxy().build().unwrap().get(stats).send().await.unwrap().json().await.unwrap();
    let mut faults = 0;
    for (path, kinds) in stats["faults"].as_object().unwrap() {
        for (kind, count) in kinds.as_object().unwrap() {
            let labels = [("path", &**path), ("kind", &**kind)];
            assert_eq!(Some(series.sum_of("weather_stand_in_faults_total", &labels)), count.as_i64(), "{kind} at {path}");
            faults += count.as_i64().unwrap();
        }
    }
    assert_eq!(series.sum_of("weather_stand_in_faults_total", &[]), faults);
    assert!(faults > 0);
    let requests: i64 = stats["requests"].as_object().unwrap().values().filter_map(Value::as_i64).sum();
    assert_eq!(series.sum_of("weather_stand_in_requests_total", &[]), requests);
}
