//! What was counted: by the driver of the calls, by the handler behind them, and by the metrics.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, Snapshotter};

#[derive(Debug, Clone, Default)]
pub struct Books {
    pub calls: Calls,
    pub handler: Handler,
    pub series: Series,
    /// Lines of the audit trail, by outcome. `None`: there is none.
    pub trail: Option<BTreeMap<String, u64>>,
}

/// By the driver: what became of each call.
#[derive(Debug, Clone, Default)]
pub struct Calls(pub BTreeMap<String, Ends>);

#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// With a result.
    pub answered: u64,
    /// With whatever else the handler said, or did not say in time.
    pub failed: u64,
    pub cancelled: u64,
    pub refusals: BTreeMap<(&'static str, &'static str), u64>,
    /// Answered by an attempt of another call.
    pub served: BTreeMap<&'static str, u64>,
}

impl Ends {
    pub fn refused(&self) -> u64 {
        self.refusals.values().sum()
    }

    pub fn all(&self) -> u64 {
        self.answered + self.failed + self.cancelled + self.refused()
    }
}

impl Calls {
    pub fn all(&self) -> u64 {
        self.0.values().map(Ends::all).sum()
    }

    pub fn served(&self, how: &str) -> u64 {
        self.0.values().filter_map(|ends| ends.served.get(how)).sum()
    }

    pub fn cancelled(&self) -> u64 {
        self.0.values().map(|ends| ends.cancelled).sum()
    }

    pub fn by_tool(&self) -> impl Iterator<Item = (&str, &Ends)> {
        self.0.iter().map(|(tool, ends)| (tool.as_str(), ends))
    }
}

/// By the handler: what reached it, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Handler {
    pub began: u64,
    /// By tool, and by what that is called in `error_type` and `rpc_response_status_code`.
    pub ends: BTreeMap<(String, &'static str, &'static str), u64>,
    /// Repeated by the retry.
    pub repeats: Repeats,
    /// Sent beside another by the hedge.
    pub spares: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Repeats {
    pub good: u64,
    pub bad: u64,
    pub cut_short: u64,
}

impl Handler {
    pub fn began(&self) -> u64 {
        self.began
    }

    pub fn ended(&self) -> impl Iterator<Item = (&str, &'static str, &'static str, u64)> {
        self.ends.iter().map(|((tool, error, code), count)| (tool.as_str(), *error, *code, *count))
    }

    /// Dropped before they had an answer.
    pub fn cut_short(&self) -> u64 {
        self.began - self.ends.values().sum::<u64>()
    }

    pub fn panics(&self) -> u64 {
        self.ended().filter(|(_, error, ..)| *error == "panic").map(|(.., count)| count).sum()
    }
}

/// By the metrics. A histogram counts for its samples.
#[derive(Debug, Clone, Default)]
pub struct Series(BTreeMap<(String, Labels), Value>);

type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy)]
enum Value {
    Count(u64),
    Gauge(f64),
}

impl Series {
    pub fn taken(from: &Snapshotter) -> Self {
        let value = |value| match value {
            DebugValue::Counter(count) => Value::Count(count),
            DebugValue::Gauge(value) => Value::Gauge(value.into_inner()),
            DebugValue::Histogram(samples) => Value::Count(samples.len() as u64),
        };
        let labels = |key: &metrics::Key| key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        let all = from.snapshot().into_vec().into_iter();
        Self(all.map(|(key, _, _, counted)| ((key.key().name().to_owned(), labels(key.key())), value(counted))).collect())
    }

    /// The sum over all series that have these labels; an empty value is an absent label.
    pub fn sum(&self, metric: &str, wanted: &[(&str, &str)]) -> u64 {
        let fits = |labels: &Labels| wanted.iter().all(|(label, value)| labels.get(*label).map_or("", String::as_str) == *value);
        let of = self.0.iter().filter(|((name, labels), _)| name == metric && fits(labels));
        of.map(|(_, value)| if let Value::Count(count) = value { *count } else { 0 }).sum()
    }

    pub fn gauges(&self, metric: &str) -> impl Iterator<Item = (&Labels, f64)> {
        let of = self.0.iter().filter(move |((name, _), _)| name == metric);
        of.map(|((_, labels), value)| (labels, if let Value::Gauge(value) = value { *value } else { f64::NAN }))
    }

    /// What each breaker shows of each state, by its tool; the upstream's own has none.
    pub fn breakers(&self) -> BTreeMap<String, Vec<(String, f64)>> {
        let mut breakers: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (labels, value) in self.gauges("buttress_circuit_breaker_state") {
            let tool = labels.get("gen_ai_tool_name").cloned().unwrap_or_default();
            breakers.entry(tool).or_default().push((labels["state"].clone(), value));
        }
        breakers
    }

    fn change(&mut self, metric: &str, change: impl Fn(&mut Value)) {
        let of = self.0.iter_mut().filter(|((name, _), value)| name == metric && !matches!(value, Value::Count(0)));
        of.take(1).for_each(|(_, value)| change(value));
    }

    fn forget_one(&mut self, metric: &str) {
        self.change(metric, |value| {
            if let Value::Count(count) = value {
                *count -= 1;
            }
        });
    }
}

/// Defects, planted.
impl Books {
    pub fn forget_a_call(&mut self) {
        self.series.forget_one("mcp_server_operation_duration_seconds");
    }

    pub fn forget_a_refusal(&mut self) {
        self.series.forget_one("buttress_rejections_total");
    }

    pub fn forget_an_attempt(&mut self) {
        self.series.forget_one("mcp_client_operation_duration_seconds");
    }

    pub fn forget_a_panic(&mut self) {
        self.series.forget_one("buttress_panics_total");
    }

    pub fn forget_a_record(&mut self) {
        let lines = self.trail.iter_mut().flat_map(BTreeMap::values_mut);
        lines.take(1).for_each(|count| *count -= 1);
    }

    pub fn leave_a_gauge(&mut self) {
        self.series.change("buttress_queue_length", |value| *value = Value::Gauge(1.0));
    }

    pub fn forget_a_gauge(&mut self) {
        self.series.0.retain(|(name, _), _| name != "buttress_quota_waiting");
    }
}
