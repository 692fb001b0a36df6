//! The dashboard shows every metric that the crate has, and none that it has not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use buttress::metrics::{ALL, Kind};
use serde_json::Value;

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../dashboards/overview.json")).unwrap()
}

/// All expressions of all panels.
fn expressions(dashboard: &Value) -> Vec<&str> {
    let rows = dashboard["panels"].as_array().unwrap().iter();
    // A row that is collapsed holds its panels itself.
    let panels = rows.flat_map(|row| std::iter::once(row).chain(row["panels"].as_array().into_iter().flatten()));
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// The names in an expression that have our form, as they stand in the table: without a histogram's suffixes.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| {
        word.starts_with("buttress_") || word.starts_with("tokio_") || (word.starts_with("mcp_") && word.contains("_seconds"))
    });
    ours.map(|word| word.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum")).collect()
}

#[test]
fn every_metric_is_on_the_dashboard_and_no_other() {
    let dashboard = dashboard();
    let shown: BTreeSet<&str> = expressions(&dashboard).into_iter().flat_map(metrics).collect();
    let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known);
}

#[test]
fn labels_in_expressions_are_labels_of_the_metric() {
    let dashboard = dashboard();
    for expression in expressions(&dashboard) {
        let labels: BTreeSet<&str> =
            ALL.iter().filter(|metric| expression.contains(metric.name)).flat_map(|metric| metric.labels).copied().collect();
        let grouped =
            expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')')).flat_map(|(by, _)| by.split(", "));
        // The bucket's bound, and what Prometheus adds to all it scrapes.
        for label in grouped.filter(|label| !["le", "instance"].contains(label)) {
            assert!(labels.contains(label), "{label} in {expression}");
        }
    }
}

/// What the Prometheus conventions ask of names.
#[test]
fn names_follow_the_conventions() {
    for metric in ALL {
        let good = match metric.kind {
            Kind::Counter => metric.name.ends_with("_total"),
            Kind::Gauge => !metric.name.ends_with("_total"),
            Kind::Histogram => metric.name.ends_with("_duration_seconds"),
        };
        assert!(good && metric.help.ends_with('.'), "{metric:?}");
    }
}
