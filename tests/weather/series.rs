//! `/metrics`, scraped over HTTP and read as Prometheus would.

use std::collections::{BTreeMap, BTreeSet};

use buttress::metrics::{CONCURRENCY_IN_FLIGHT, IN_FLIGHT, Kind, Metric, QUEUE_LENGTH};

use crate::patience::until;

/// One scrape.
#[derive(Debug)]
pub struct Series(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Series {
    /// Scrapes `url`.
    pub async fn scrape(url: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = http.get(url).send().await.unwrap().error_for_status().unwrap();
        Self::parse(&response.text().await.unwrap())
    }

    /// Scrapes until nothing is in flight any more: a call that its client took back ends a moment after the client has gone.
    pub async fn at_rest(url: &str) -> Self {
        until("all calls to end", async || {
            let series = Self::scrape(url).await;
            let gauges = [IN_FLIGHT, CONCURRENCY_IN_FLIGHT, QUEUE_LENGTH];
            let at_zero = |gauge: &Metric| series.named(gauge.name).all(|sample| sample.value == 0.0);
            let there = |gauge: &Metric| series.named(gauge.name).next().is_some();
            gauges.iter().all(|gauge| there(gauge) && at_zero(gauge)).then_some(series)
        })
        .await
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let pairs = labels.strip_suffix('}').unwrap().split_terminator("\",").map(|pair| pair.split_once("=\"").unwrap());
            let labels = pairs.map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned())).collect();
            Sample { name: name.to_owned(), labels, value: value.parse().unwrap() }
        });
        Self(samples.collect())
    }

    /// The sum of a counter or gauge, or of a histogram's counts, over all series that bear these labels.
    pub fn sum(&self, metric: Metric, labels: &[(&str, &str)]) -> i64 {
        match metric.kind {
            Kind::Histogram => self.sum_of(&format!("{}_count", metric.name), labels),
            Kind::Counter | Kind::Gauge => self.sum_of(metric.name, labels),
        }
    }

    /// The same by the full name.
    pub fn sum_of(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        // A label that does not apply is not there.
        let bears =
            |sample: &&Sample| labels.iter().all(|(key, value)| sample.labels.get(*key).map_or("", String::as_str) == *value);
        self.named(name).filter(bears).map(|sample| sample.value as i64).sum()
    }

    /// Every value that a label has anywhere.
    pub fn values(&self, label: &str) -> BTreeSet<&str> {
        self.0.iter().filter_map(|sample| sample.labels.get(label)).map(String::as_str).collect()
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }
}
