//! The metrics: one table that names and describes each, and what several layers share to record them.
//!
//! Names follow the OpenTelemetry conventions for MCP in their Prometheus spelling; what is ours begins with `buttress_`.
//! Labels come from closed sets and from the upstream's own lists only ([`Catalogue`](crate::catalogue::Catalogue)), never
//! from a caller; tenants are never labels. A layer makes its handles when it first meets a target, so install the recorder
//! before the first call.
//!
//! The two durations mean the same wherever the stack stands: [`SERVER_DURATION`] is a call, as whoever makes it sees it, and
//! [`CLIENT_DURATION`] an attempt, as whoever sends it does. In front of a client too: what the conventions call a client's operation
//! is one request and its answer, and that is an attempt. A call that may be several of them has no name of its own there, and a
//! second meaning under the client's name could not be told from the first. A process that has a stack on either side tells them
//! apart by `upstream`: give the two different names.

use std::{fmt, sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram, Label, SharedString, Unit, with_recorder};

use crate::{
    call::{Method, Response, Target, Verdict},
    classify::code,
    error::{BoxError, Clock, Panicked, Reason, TimedOut, find},
};

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

macro_rules! metrics {
    ($( $id:ident = $kind:ident $name:literal [$($label:literal)*] $help:literal; )*) => {
        $( #[doc = $help] pub const $id: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] }; )*
        /// All metrics of this crate.
        pub const ALL: &[Metric] = &[$( $id ),*];
    };
}

metrics! {
    SERVER_DURATION = Histogram "mcp_server_operation_duration_seconds"
        ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "error_type" "rpc_response_status_code"]
        "Duration of MCP calls as their callers see them, refusals and retries included.";
    CLIENT_DURATION = Histogram "mcp_client_operation_duration_seconds"
        ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "error_type" "rpc_response_status_code"]
        "Duration of single attempts at an MCP call, from when it reaches the handler to its answer.";
    IN_FLIGHT = Gauge "buttress_requests_in_flight" ["upstream"]
        "Calls that have arrived and have no answer yet.";
    REJECTIONS = Counter "buttress_rejections_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "layer" "reason"]
        "Calls that a layer of the stack refused, and that were answered with that refusal.";
    OBSERVED_REJECTIONS = Counter "buttress_observed_rejections_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "layer" "reason"]
        "Calls that a layer in observe-only mode would have refused, and let pass.";
    QUOTA_WAITING = Gauge "buttress_quota_waiting" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Calls that wait for their turn under a quota.";
    CACHE_LOOKUPS = Counter "buttress_cache_lookups_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "outcome"]
        "Calls whose answer may be kept, by what was found: hit, stale (served while a new one is fetched), or miss.";
    CACHE_STALE_IF_ERROR = Counter "buttress_cache_stale_if_error_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Misses whose call failed, and that were given an answer past its time.";
    CACHE_BYTES = Gauge "buttress_cache_bytes" ["upstream"]
        "About how many bytes the kept answers take.";
    CACHE_ENTRIES = Gauge "buttress_cache_entries" ["upstream"]
        "Answers that are kept.";
    COALESCED = Counter "buttress_coalesced_calls_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Calls that joined one that asked the same at the same time.";
    HEDGES = Counter "buttress_hedges_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "outcome"]
        "Second attempts at calls that took unusually long: won, lost, or refused by a layer further in.";
    RETRIES = Counter "buttress_retries_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "outcome"]
        "Repeated attempts, by how they ended: success, failure, or refused by a layer further in.";
    RETRIES_SKIPPED = Counter "buttress_retries_skipped_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "reason"]
        "Failed attempts that were not repeated, by the reason why.";
    RETRY_BUDGET = Gauge "buttress_retry_budget_tokens" ["upstream"]
        "Tokens left in the retry budget.";
    BREAKER_STATE = Gauge "buttress_circuit_breaker_state" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "state"]
        "State of the circuit breaker: 1 for the state that it is in, 0 for the others. Without a method: the upstream's own.";
    BREAKER_TRANSITIONS = Counter "buttress_circuit_breaker_transitions_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "from" "to"]
        "Changes of a circuit breaker's state. Without a method: the upstream's own.";
    CONCURRENCY_LIMIT = Gauge "buttress_concurrency_limit" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "How many attempts may run at once.";
    CONCURRENCY_IN_FLIGHT = Gauge "buttress_concurrency_in_flight" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Slots held: by attempts, and by work that goes on after one.";
    QUEUE_LENGTH = Gauge "buttress_queue_length" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Attempts that wait for a slot.";
    QUEUE_DURATION = Histogram "buttress_queue_duration_seconds" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "How long attempts waited for their slot, of those that had to wait and got one.";
    CONCURRENCY_KEPT = Gauge "buttress_concurrency_kept" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Slots held for work that goes on although its attempt is over.";
    TIMEOUTS = Counter "buttress_timeouts_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "kind"]
        "Attempts that were given up, by the clock that ran out.";
    PANICS = Counter "buttress_panics_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name"]
        "Handlers that panicked.";
    LOOPS = Counter "buttress_loops_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "kind"]
        "Calls that were blocked because their agents kept making them in vain, alone or two in turn.";
    IDEMPOTENCY_HITS = Counter "buttress_idempotency_hits_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "state"]
        "Calls under an idempotency key that could not simply be made, by what was known of the key: running, done, unknown, conflict, or that its store failed.";
    FAULTS = Counter "buttress_faults_injected_total" ["upstream" "mcp_method_name" "gen_ai_tool_name" "gen_ai_prompt_name" "fault"]
        "Attempts that were broken or slowed down on purpose, by how.";
    AUDIT_EVENTS = Counter "buttress_audit_events_total" ["upstream" "outcome"]
        "Calls that the audit trail is about, by how they ended: those on record and those whose record was lost.";
    AUDIT_DROPPED = Counter "buttress_audit_dropped_total" ["upstream" "reason"]
        "Audit records that were lost: the queue was full, the write failed, or the writer is gone.";
    SUBSCRIPTIONS = Gauge "buttress_subscriptions" ["upstream"]
        "Open subscriptions/listen streams.";
    LABEL_OVERFLOW = Counter "buttress_metric_label_overflow_total" ["upstream" "label"]
        "Calls that are recorded under _OTHER, by the label that says so: mcp_method_name, gen_ai_tool_name, gen_ai_prompt_name, or rpc_response_status_code.";
    BUILD_INFO = Gauge "buttress_build_info" ["version"]
        "Always 1: which version of this crate is at work. With the feature admin.";
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
}

impl Metric {
    /// A label set of this metric: `values` in the order of its labels, which [`labels`](Self::labels) fixes. Empty ones are left
    /// out: to Prometheus the two are one, and what is left out is not scraped a dozen times for each histogram.
    fn key(&self, values: impl IntoIterator<Item = SharedString>) -> metrics::Key {
        let labels: Vec<Label> = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value)).collect();
        debug_assert_eq!(labels.len(), self.labels.len(), "{} wants {:?}", self.name, self.labels);
        metrics::Key::from_parts(self.name, labels.into_iter().filter(|label| !label.value().is_empty()).collect::<Vec<_>>())
    }

    pub(crate) fn counter(&self, values: impl IntoIterator<Item = SharedString>) -> Counter {
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    pub(crate) fn gauge(&self, values: impl IntoIterator<Item = SharedString>) -> Gauge {
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    pub(crate) fn histogram(&self, values: impl IntoIterator<Item = SharedString>) -> Histogram {
        let key = self.key(values);
        with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }
}

static METADATA: metrics::Metadata<'static> = metrics::Metadata::new(module_path!(), metrics::Level::INFO, Some(module_path!()));

/// Describes all metrics to the installed recorder, so that a scrape carries their `HELP` lines.
pub fn describe() {
    for metric in ALL {
        let (name, help) = (metric.name.into(), metric.help.into());
        with_recorder(|recorder| match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
        });
    }
}

/// The `upstream` label.
pub(crate) fn upstream(target: &Target) -> SharedString {
    upstream_label(target.upstream())
}

/// The `upstream` label of a server that the operator calls this: the name as far as it is fit for a label, with `_` for every
/// character that is not.
pub(crate) fn upstream_label(name: &str) -> SharedString {
    let fit = |c: char| if c.is_ascii() && is_fit(c as u8) { c } else { '_' };
    SharedString::from_owned(name.chars().take(LONGEST).map(fit).collect())
}

/// How long a name may be that is a label.
pub(crate) const LONGEST: usize = 64;

/// Whether a name that is a label may have this in it.
pub(crate) const fn is_fit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-')
}

/// What shares a series with whatever else has none of its own.
pub(crate) const OTHER: &str = "_OTHER";

/// The label of `target` that says [`OTHER`], if one does.
pub(crate) fn overflowing(target: &Target) -> Option<&'static str> {
    match target.method() {
        Method::ToolsCall if target.label() == OTHER => Some("gen_ai_tool_name"),
        Method::PromptsGet if target.label() == OTHER => Some("gen_ai_prompt_name"),
        Method::Custom(_) => Some("mcp_method_name"),
        _ => None,
    }
}

/// The labels that name a target: `upstream`, `mcp_method_name`, `gen_ai_tool_name`, `gen_ai_prompt_name`. All of them, so
/// that no two targets share a series; those that do not apply are empty, which to Prometheus is absent.
pub(crate) fn labels_of(target: &Target) -> [SharedString; 4] {
    let none = || SharedString::const_str("");
    let name = || SharedString::from_owned(target.label().to_owned());
    let (tool, prompt) = match target.method() {
        Method::ToolsCall => (name(), none()),
        Method::PromptsGet => (none(), name()),
        _ => (none(), none()),
    };
    [upstream(target), SharedString::const_str(target.method().label()), tool, prompt]
}

/// What an outcome is called in the `error_type` and `rpc_response_status_code` labels: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorType {
    None,
    ToolError,
    Rejected,
    Timeout,
    Panic,
    NotSent,
    Throttled,
    Ambiguous,
    Denied,
    SessionLost,
    ClientFault,
    Cancelled,
    Code(RpcCode),
}

/// A JSON-RPC error code, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RpcCode(u8);

/// The codes that have a series of their own; all others share `_OTHER`, since an upstream may send any integer.
const CODES: [(i64, &str); 10] = [
    (code::PARSE_ERROR, "-32700"),
    (code::INVALID_REQUEST, "-32600"),
    (code::METHOD_NOT_FOUND, "-32601"),
    (code::INVALID_PARAMS, "-32602"),
    (code::INTERNAL_ERROR, "-32603"),
    (code::RESOURCE_NOT_FOUND, "-32002"),
    (code::HEADER_MISMATCH, "-32020"),
    (code::MISSING_REQUIRED_CLIENT_CAPABILITY, "-32021"),
    (code::UNSUPPORTED_PROTOCOL_VERSION, "-32022"),
    (code::URL_ELICITATION_REQUIRED, "-32042"),
];

impl RpcCode {
    fn of(code: i64) -> Self {
        let place = CODES.iter().position(|(known, _)| *known == code).unwrap_or(CODES.len());
        Self(u8::try_from(place).unwrap_or(u8::MAX))
    }

    fn as_str(self) -> &'static str {
        CODES.get(usize::from(self.0)).map_or(OTHER, |(_, label)| label)
    }

    fn is_other(self) -> bool {
        usize::from(self.0) >= CODES.len()
    }

    /// The first five of the table but one, and -32002: on the server's side these answer a request that is at fault, which
    /// is no error of the server's (OpenTelemetry, MCP conventions).
    fn is_callers(self) -> bool {
        matches!(self.as_str(), "-32700" | "-32600" | "-32601" | "-32602" | "-32002")
    }
}

impl ErrorType {
    const COUNT: usize = 12 + CODES.len() + 1;

    pub(crate) fn of<R>(outcome: &Result<Response<R>, BoxError>) -> Self {
        let verdict = Verdict::of(outcome);
        let code = match outcome {
            Ok(response) => response.result.as_ref().err().map(|error| error.code),
            Err(_) => None,
        };
        match verdict {
            Verdict::Ok | Verdict::InputRequired | Verdict::Task if code.is_none() => Self::None,
            Verdict::LocalReject => Self::Rejected,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::Throttled { .. } => Self::Throttled,
            Verdict::NotSent => Self::NotSent,
            Verdict::Denied => Self::Denied,
            Verdict::SessionLost => Self::SessionLost,
            verdict => match (code, outcome) {
                (Some(code), _) => Self::Code(RpcCode::of(code)),
                (None, Err(error)) if find::<Panicked>(&**error).is_some() => Self::Panic,
                (None, Err(error)) if find::<TimedOut>(&**error).is_some() => Self::Timeout,
                (None, Err(error)) if find::<tower::timeout::error::Elapsed>(&**error).is_some() => Self::Timeout,
                (None, _) if verdict == Verdict::ToolError => Self::ToolError,
                (None, _) if verdict == Verdict::ClientFault => Self::ClientFault,
                (None, _) => Self::Ambiguous,
            },
        }
    }

    /// Whether it is a code that has no series of its own.
    pub(crate) fn is_other_code(self) -> bool {
        matches!(self, Self::Code(code) if code.is_other())
    }

    fn index(self) -> usize {
        match self {
            Self::None => 0,
            Self::ToolError => 1,
            Self::Rejected => 2,
            Self::Timeout => 3,
            Self::Panic => 4,
            Self::NotSent => 5,
            Self::Throttled => 6,
            Self::Ambiguous => 7,
            Self::Denied => 8,
            Self::SessionLost => 9,
            Self::ClientFault => 10,
            Self::Cancelled => 11,
            Self::Code(code) => 12 + usize::from(code.0),
        }
    }

    fn labels(self, side: Side) -> [&'static str; 2] {
        match self {
            Self::None => ["", ""],
            Self::ToolError => ["tool_error", ""],
            Self::Rejected => ["rejected", ""],
            Self::Timeout => ["timeout", ""],
            Self::Panic => ["panic", ""],
            Self::NotSent => ["not_sent", ""],
            Self::Throttled => ["throttled", ""],
            Self::Ambiguous => ["ambiguous", ""],
            Self::Denied => ["denied", ""],
            Self::SessionLost => ["session_lost", ""],
            Self::ClientFault => ["client_fault", ""],
            Self::Cancelled => ["cancelled", ""],
            Self::Code(code) if side == Side::Server && code.is_callers() => ["", code.as_str()],
            Self::Code(code) => [code.as_str(), code.as_str()],
        }
    }
}

/// Who refuses calls in a stack as it is by default, or for want of what its callers know: these rows of [`REJECTIONS`] are there
/// before the first refusal.
const REFUSALS: [(&str, Reason); 6] = [
    ("deadline", Reason::Deadline),
    ("quota", Reason::Quota),
    ("breaker", Reason::BreakerOpen),
    ("breaker", Reason::UpstreamOpen),
    ("concurrency", Reason::QueueFull),
    ("concurrency", Reason::Shed),
];

/// Makes the counters of what may befall any call of `target`, at zero: to a query, a counter that appears with its first event
/// has never grown. Only those that are few, and whose first event matters; the layers count in the same series.
pub(crate) fn expect(target: &Target) {
    let series = |metric: Metric, values: [&'static str; 2]| {
        let values = values.into_iter().filter(|value| !value.is_empty()).map(SharedString::const_str);
        drop(metric.counter(labels_of(target).into_iter().chain(values)));
    };
    REFUSALS.iter().for_each(|(layer, reason)| series(REJECTIONS, [layer, reason.as_str()]));
    Clock::ALL.iter().for_each(|clock| series(TIMEOUTS, [clock.as_str(), ""]));
    series(PANICS, ["", ""]);
}

/// Whose view a duration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The call's: [`SERVER_DURATION`].
    Server,
    /// An attempt's: [`CLIENT_DURATION`].
    Client,
}

/// The duration histograms of one target on one side: a handle per outcome, made when the outcome is first seen.
pub(crate) struct Durations {
    side: Side,
    target: [SharedString; 4],
    series: [OnceLock<Histogram>; ErrorType::COUNT],
}

impl Durations {
    pub(crate) fn new(side: Side, target: &Target) -> Self {
        let durations = Self { side, target: labels_of(target), series: std::array::from_fn(|_| OnceLock::new()) };
        // The series that every dashboard divides by is there from the start.
        durations.series(ErrorType::None);
        durations
    }

    pub(crate) fn record(&self, outcome: ErrorType, duration: Duration) {
        self.series(outcome).record(duration.as_secs_f64());
    }

    fn series(&self, outcome: ErrorType) -> &Histogram {
        self.series[outcome.index()].get_or_init(|| {
            let metric = match self.side {
                Side::Server => SERVER_DURATION,
                Side::Client => CLIENT_DURATION,
            };
            let labels = outcome.labels(self.side).map(SharedString::const_str);
            metric.histogram(self.target.iter().cloned().chain(labels))
        })
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").field("side", &self.side).finish_non_exhaustive()
    }
}
