//! The server's own metrics, read as a scraper would.

use std::collections::BTreeMap;

/// One rendering of all metrics, in Prometheus's text format.
#[derive(Debug)]
pub struct Series(String);

/// The labels of one sample.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a>(&'a str);

impl Series {
    pub fn new(rendered: String) -> Self {
        Self(rendered)
    }

    /// The samples of one series: their labels and values.
    pub fn samples<'a>(&'a self, name: &str) -> impl Iterator<Item = (Labels<'a>, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
            Some((Labels(labels), value.parse().ok()?))
        })
    }

    /// The sum over the samples of which `which` holds.
    pub fn sum(&self, name: &str, which: impl Fn(Labels<'_>) -> bool) -> f64 {
        self.samples(name).filter(|(labels, _)| which(*labels)).fold(0.0, |sum, (_, value)| sum + value)
    }

    /// Sums by one label, where they are not 0, as text: "throttled 3".
    pub fn by(&self, name: &str, label: &str) -> Vec<String> {
        let mut sums = BTreeMap::<&str, f64>::new();
        for (labels, value) in self.samples(name) {
            *sums.entry(labels.get(label)).or_default() += value;
        }
        sums.into_iter().filter(|(_, sum)| *sum > 0.0).map(|(key, sum)| format!("{key} {sum}")).collect()
    }
}

impl<'a> Labels<'a> {
    /// The value of a label; empty where there is none. Ours hold neither quotes nor commas.
    pub fn get(self, name: &str) -> &'a str {
        let pairs = self.0.split(',').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"')).next().unwrap_or_default()
    }
}
