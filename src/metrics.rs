//! The metrics: one table that names and describes each, and what several layers share to record them.
//!
//! Names follow the OpenTelemetry conventions for MCP in their Prometheus spelling; what is ours begins with
//! `buttress_`. Labels come from closed sets and from the upstream's own lists only
//! ([`Catalogue`](crate::catalogue::Catalogue)), never from a caller; tenants are never labels. A layer makes its
//! handles when it first meets a target, so install the recorder before the first call; better, before the adapters
//! ([why](#from-zero)).
//!
//! With a recorder or exporter of your own, instead of that of the feature `admin`, [`describe`] our metrics to it, and
//! give all histograms the bounds of [`BUCKETS`]: dashboards and rules ask for some of them by their value, and what a
//! series [costs](#what-it-costs) is reckoned with so many. Where `metrics-exporter-prometheus` is told of none, it
//! makes summaries, of which no quantile over several processes can be taken.
//!
//! The two durations mean the same wherever the stack stands: [`SERVER_DURATION`] is a call, as whoever makes it sees
//! it, and [`CLIENT_DURATION`] an attempt, as whoever sends it does. In front of a client too: what the conventions
//! call a client's operation is one request and its answer, and that is an attempt. A call that may be several of them
//! has no name of its own there, and a second meaning under the client's name could not be told from the first. A
//! process that has a stack on either side tells them apart by `upstream`: give the two different names.
//!
//! # What it costs
//!
//! A tool that has been called costs 70 series, 34 of them those of the two durations: about 10 kB of an uncompressed
//! scrape. Each way to fail adds 17 to either duration, and a queue 17 once somebody has waited. A tool that is listed
//! and never called costs nothing; one that you name costs 12 of these series [before](#from-zero), 2 kB. What callers
//! make up shares one series a method, so it costs the same however much of it there is. What the upstream makes up is
//! paid for from a budget, by the names that are called:
//!
//! * **Up to 32 names**, tools, prompts and resource templates together, each has all there is: 300 kB for 32 tools
//!   that do well.
//! * **Of more names** each has what has happened, and what matters at rest: 20 series, its calls' durations among
//!   them, so 560 kB for two hundred tools, and the rest pays for some seventy ways of theirs to fail. Counters are not
//!   there [from zero](#from-zero), and attempts are not told apart by name.
//! * **Beyond the budget**, 768,000 bytes, a series that would be new is one that all share: a tool's is under the tool
//!   `_OTHER`, and any other's under the method `_OTHER`. Calls that are recorded so are counted in [`LABEL_OVERFLOW`].
//!   Gauges show the sum of those who share one, as they do for several stacks in front of one catalogue: how many
//!   slots they have together, how many of their breakers are open.
//!
//! **What you name comes first**: a quarter of the budget is kept for the first eight tools that the operator
//! [names](crate::catalogue::Catalogue::tool), however many others are called before; they have all there is, as if
//! there were no others.
//!
//! So whatever a server lists, and however its answers fail, its part of a scrape stays under 1 MB (930 kB, with names
//! as long as may be and all ways to fail). Who has more tools, or wants all to be told of more than 32, raises the
//! [budget](crate::catalogue::Catalogue::scrape_budget): all bounds grow with it. Series are never forgotten, so other
//! names are paid for in the order of their first calls.
//!
//! # From zero
//!
//! A counter that appears with its first event has never grown, as a query sees it. So where the recorder is there
//! before an adapter (or whoever else calls [`Stack::prepare_for`](crate::Stack::prepare_for)), refusals, timeouts and
//! panics of the tools that you [name](crate::catalogue::Catalogue::tool), lost audit records and overflows of labels
//! stand at zero before anybody calls.
//!
//! What else may befall any call of a target is there, at zero, from its first call on, unless its upstream has [many
//! names](#what-it-costs): retries, skipped retries, timeouts, breaker transitions, panics, and the refusals of those
//! layers that every stack has. Those of [`hedge`](crate::hedge), [`coalesce`](crate::coalesce), `cache` and `audit`
//! are there once the layer meets a call that concerns it; those of [`loop_guard`](crate::loop_guard),
//! [`idempotency`](crate::idempotency), [`fault`](crate::fault) and of layers that only observe appear with what they
//! count. That of lost spans is there once a span has ended. Failures among the durations are not there either, since
//! each kind is a histogram: ask the counters where the first one matters.
//!
//! # What is missing
//!
//! A resource is told by the template that the upstream lists it under, in a label of our own, `resource_template`: the
//! conventions' `mcp.resource.uri` is whatever a caller asks for. Resources that no template covers have neither.
//!
//! The conventions recommend two more labels, which have no place here. `network_transport`: the layers do not know
//! which transport they serve, and one stack may serve several. `mcp_protocol_version`: it would multiply every
//! duration by the revisions that callers speak, and what a target does does not depend on it.
//!
//! And a code is not always there: where the handler's [word](crate::outcome) names an error (`throttled`, `denied`,
//! ...), that is what `error_type` says, and the JSON-RPC code beside it stands in [spans](crate::trace) alone. Each
//! pair of the two would be a series.
//!
//! All metrics with their labels, and what these may say, stand in `METRICS.md`, which is written from this table.

use metrics::{Counter, Gauge, Histogram, Label, SharedString, Unit, with_recorder};

mod expected;
mod labels;
mod outcomes;
mod subject;

pub(crate) use expected::expect;
pub use labels::Values;
pub(crate) use labels::{shared_label, upstream, upstream_label};
pub(crate) use outcomes::{Durations, ErrorType, RpcCode, Side};
pub(crate) use subject::{Counters, Level, Subject};

/// The bucket bounds of all histograms but [`EVENT_LOOP_LAG`], in seconds: those that the OpenTelemetry conventions for MCP ask
/// for.
pub const BUCKETS: [f64; 14] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds, in buckets.
    Histogram,
}

/// One metric of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its full Prometheus name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its `HELP` line.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

/// The labels of a metric: `target` stands for those that say which target of which upstream.
macro_rules! labels {
    (target $($label:literal)*) => {
        &["upstream", "mcp_method_name", "gen_ai_tool_name", "gen_ai_prompt_name", "resource_template", $($label),*]
    };
    ($($label:literal)*) => { &[$($label),*] };
}

macro_rules! metrics {
    ($( $id:ident = $kind:ident $name:literal [$($label:tt)*] $help:literal; )*) => {
        $( #[doc = $help] pub const $id: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help, labels: labels!($($label)*) }; )*
        /// All metrics of this crate.
        pub const ALL: &[Metric] = &[$( $id ),*];
    };
}

metrics! {
    SERVER_DURATION = Histogram "mcp_server_operation_duration_seconds"
        [target "error_type" "rpc_response_status_code"]
        "Duration of MCP calls as their callers see them, refusals and retries included.";
    CLIENT_DURATION = Histogram "mcp_client_operation_duration_seconds"
        [target "error_type" "rpc_response_status_code"]
        "Duration of single attempts at an MCP call, from when it reaches the handler to its answer. Names are told apart where there are few.";
    IN_FLIGHT = Gauge "buttress_requests_in_flight" ["upstream"]
        "Calls that have arrived and have no answer yet.";
    REJECTIONS = Counter "buttress_rejections_total" [target "layer" "reason"]
        "Calls that a layer of the stack refused, and that were answered with that refusal.";
    OBSERVED_REJECTIONS = Counter "buttress_observed_rejections_total" [target "layer" "reason"]
        "Calls that a layer in observe-only mode would have refused, and let pass.";
    QUOTA_WAITING = Gauge "buttress_quota_waiting" [target]
        "Calls that wait for their turn under a quota.";
    CACHE_LOOKUPS = Counter "buttress_cache_lookups_total" [target "outcome"]
        "Calls whose answer may be kept, by what was found: hit, stale (served while a new one is fetched), or miss.";
    CACHE_STALE_IF_ERROR = Counter "buttress_cache_stale_if_error_total" [target]
        "Misses whose call failed, and that were given an answer past its time.";
    CACHE_BYTES = Gauge "buttress_cache_bytes" ["upstream"]
        "About how many bytes the kept answers take.";
    CACHE_ENTRIES = Gauge "buttress_cache_entries" ["upstream"]
        "Answers that are kept.";
    COALESCED = Counter "buttress_coalesced_calls_total" [target]
        "Calls that joined one that asked the same at the same time.";
    HEDGES = Counter "buttress_hedges_total" [target "outcome"]
        "Second attempts at calls that took unusually long: won, lost, or refused by a layer further in.";
    RETRIES = Counter "buttress_retries_total" [target "outcome"]
        "Repeated attempts, by how they ended: success, failure, or refused by a layer further in.";
    RETRIES_SKIPPED = Counter "buttress_retries_skipped_total" [target "reason"]
        "Failed attempts that were not repeated, by the reason why.";
    RETRY_BUDGET = Gauge "buttress_retry_budget_tokens" ["upstream"]
        "Tokens left in the retry budget.";
    BREAKER_STATE = Gauge "buttress_circuit_breaker_state" [target "state"]
        "State of the circuit breaker: 1 for the state that it is in, 0 for the others; closed while it only observes. Without a method: the upstream's own.";
    BREAKER_TRANSITIONS = Counter "buttress_circuit_breaker_transitions_total" [target "from" "to"]
        "Changes of a circuit breaker's state, but for one that only observes. Without a method: the upstream's own.";
    CONCURRENCY_LIMIT = Gauge "buttress_concurrency_limit" [target]
        "How many attempts may run at once.";
    CONCURRENCY_IN_FLIGHT = Gauge "buttress_concurrency_in_flight" [target]
        "Slots held: by attempts, and by work that goes on after one.";
    QUEUE_LENGTH = Gauge "buttress_queue_length" [target]
        "Attempts that wait for a slot.";
    QUEUE_DURATION = Histogram "buttress_queue_duration_seconds" [target]
        "How long attempts waited for their slot, of those that had to wait and got one.";
    CONCURRENCY_KEPT = Gauge "buttress_concurrency_kept" [target]
        "Slots held for work that goes on although its attempt is over.";
    TIMEOUTS = Counter "buttress_timeouts_total" [target "kind"]
        "Attempts that were given up, by the clock that ran out.";
    PANICS = Counter "buttress_panics_total" [target]
        "Handlers that panicked.";
    LOOPS = Counter "buttress_loops_total" [target "kind"]
        "Calls that were blocked because their agents kept making them in vain, alone or two in turn.";
    IDEMPOTENCY_HITS = Counter "buttress_idempotency_hits_total" [target "state"]
        "Calls under an idempotency key that could not simply be made, by what was known of the key: running, done, unknown, conflict, or that its store failed.";
    IDEMPOTENCY_KEYS = Gauge "buttress_idempotency_keys" ["upstream"]
        "Idempotency keys that the store in memory knows, those of calls under way included.";
    FAULTS = Counter "buttress_faults_injected_total" [target "fault"]
        "Attempts that were broken or slowed down on purpose, by how.";
    AUDIT_EVENTS = Counter "buttress_audit_events_total" ["upstream" "outcome"]
        "Calls that the audit trail is about, by how they ended: those on record and those whose record was lost.";
    AUDIT_DROPPED = Counter "buttress_audit_dropped_total" ["upstream" "reason"]
        "Audit records that were lost: the queue was full, the write failed, or the writer is gone.";
    AUDIT_BACKLOG = Gauge "buttress_audit_backlog" ["upstream"]
        "Audit records that wait to be written.";
    SPANS_LOST = Counter "buttress_spans_lost_total" ["reason"]
        "Spans that never reached the collector: the queue was full, or the collector did not take them. With the feature otlp.";
    SUBSCRIPTIONS = Gauge "buttress_subscriptions" ["upstream"]
        "Open subscriptions/listen streams.";
    LABEL_OVERFLOW = Counter "buttress_metric_label_overflow_total" ["upstream" "label"]
        "Calls that are recorded under _OTHER, by the label that says so: mcp_method_name, gen_ai_tool_name, gen_ai_prompt_name, resource_template, or rpc_response_status_code.";
    BUILD_INFO = Gauge "buttress_build_info" ["version"]
        "Always 1: which version of this crate is at work. Said to the recorder that the metrics are described to.";
    EVENT_LOOP_LAG = Histogram "buttress_event_loop_lag_duration_seconds" []
        "How much later than it had asked for a task was woken, asked ten times a second. With the feature admin.";
    WORKERS = Gauge "tokio_runtime_workers" []
        "Worker threads of the runtime. With the feature admin.";
    TASKS = Gauge "tokio_runtime_alive_tasks" []
        "Tasks of the runtime that have not ended. With the feature admin.";
    GLOBAL_QUEUE_DEPTH = Gauge "tokio_runtime_global_queue_depth" []
        "Tasks that wait in the runtime's global queue for a worker. With the feature admin.";
    BUSY_RATIO = Gauge "tokio_runtime_worker_busy_ratio" ["worker"]
        "The share of the last five seconds in which a worker of the runtime was busy. With the feature admin.";
    ALLOCATED = Gauge "buttress_allocated_bytes" []
        "What the program holds of its allocator's memory, where the program says how to ask it. With the feature admin.";
}

impl Metric {
    /// A label set of this metric: `values` in the order of its labels, which [`labels`](Self::labels) fixes. Empty
    /// ones are left out: to Prometheus the two are one, and what is left out is not scraped a dozen times for each
    /// histogram.
    fn key(&self, values: impl IntoIterator<Item = SharedString>) -> metrics::Key {
        let labels: Vec<Label> = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value)).collect();
        debug_assert_eq!(labels.len(), self.labels.len(), "{} wants {:?}", self.name, self.labels);
        debug_assert!(labels.iter().all(|label| self.may_say(label.key(), label.value())), "{} {labels:?}", self.name);
        metrics::Key::from_parts(self.name, labels.into_iter().filter(|label| !label.value().is_empty()).collect::<Vec<_>>())
    }

    pub(crate) fn counter(&self, values: impl IntoIterator<Item = SharedString>) -> Counter {
        self.register_counter(&self.key(values))
    }

    pub(crate) fn gauge(&self, values: impl IntoIterator<Item = SharedString>) -> Gauge {
        self.register_gauge(&self.key(values))
    }

    #[cfg(feature = "admin")]
    pub(crate) fn histogram(&self, values: impl IntoIterator<Item = SharedString>) -> Histogram {
        self.register_histogram(&self.key(values))
    }

    fn register_counter(&self, key: &metrics::Key) -> Counter {
        with_recorder(|recorder| recorder.register_counter(key, &METADATA))
    }

    fn register_gauge(&self, key: &metrics::Key) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(key, &METADATA))
    }

    fn register_histogram(&self, key: &metrics::Key) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(key, &METADATA))
    }
}

static METADATA: metrics::Metadata<'static> = metrics::Metadata::new(module_path!(), metrics::Level::INFO, Some(module_path!()));

/// Describes all metrics to the installed recorder, so that a scrape carries their `HELP` lines, and tells it which
/// version of this crate is at work ([`BUILD_INFO`]). The recorder of the feature `admin` does it; with one of your
/// own, do it once.
pub fn describe() {
    for metric in ALL {
        let (name, help) = (metric.name.into(), metric.help.into());
        with_recorder(|recorder| match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
        });
    }
    BUILD_INFO.gauge([SharedString::const_str(env!("CARGO_PKG_VERSION"))]).set(1.0);
}
