//! The labels: what they are called, and what they may say.

use metrics::SharedString;

use super::{Metric, outcomes};
use crate::{
    call::{LONGEST, Method, OTHER, Target, is_fit, is_fit_name, is_fit_template},
    error::{Clock, Reason},
};

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

/// The label of `target` that says [`OTHER`], if one does.
pub(super) fn overflowing(target: &Target) -> Option<&'static str> {
    match target.method() {
        Method::ToolsCall if target.label() == OTHER => Some("gen_ai_tool_name"),
        Method::PromptsGet if target.label() == OTHER => Some("gen_ai_prompt_name"),
        Method::ResourcesRead if target.label() == OTHER => Some("resource_template"),
        Method::Custom(_) => Some("mcp_method_name"),
        _ => None,
    }
}

/// The labels that name a target: `upstream`, `mcp_method_name`, `gen_ai_tool_name`, `gen_ai_prompt_name`, `resource_template`.
/// All of them, so that no two targets share a series; those that do not apply are empty, which to Prometheus is absent.
pub(super) fn labels_of(target: &Target) -> [SharedString; 5] {
    let none = || SharedString::const_str("");
    let name = || SharedString::from_owned(target.label().to_owned());
    let [tool, prompt, template] = match target.method() {
        Method::ToolsCall => [name(), none(), none()],
        Method::PromptsGet => [none(), name(), none()],
        Method::ResourcesRead => [none(), none(), name()],
        _ => [none(), none(), none()],
    };
    [upstream(target), SharedString::const_str(target.method().label()), tool, prompt, template]
}

/// The labels of the series that `target` shares with others where its upstream cannot pay for one of its own: a tool's say that
/// it is some tool, and all others' that they are of some method.
pub(super) fn shared_labels_of(target: &Target) -> [SharedString; 5] {
    let [none, other] = ["", OTHER].map(SharedString::const_str);
    match target.method() {
        Method::ToolsCall => [upstream(target), SharedString::const_str(target.method().label()), other, none.clone(), none],
        _ => [upstream(target), other, none.clone(), none.clone(), none],
    }
}

/// The label that says [`OTHER`] in a series that `target` shares with others.
pub(crate) fn shared_label(target: &Target) -> &'static str {
    overflowing(target).unwrap_or(match target.method() {
        Method::ToolsCall => "gen_ai_tool_name",
        _ => "mcp_method_name",
    })
}

/// What a label may say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// One of these, or nothing: then the label is absent.
    OneOf(Vec<&'static str>),
    /// What the operator calls something, or this process says of itself.
    Ours,
    /// A name of the upstream's own list as far as it is fit for a label, or `_OTHER`; absent where the method has no such names.
    Listed,
    /// A resource template of the upstream's own list as far as it is fit for a label, or `_OTHER`; absent where no template
    /// covers what is read.
    ListedTemplate,
    /// Who refuses: one of these, or a layer of your own by the name that it gives its [`Rejected`](crate::error::Rejected).
    Layer(&'static [&'static str]),
}

impl Metric {
    /// What the label of this name may say. `None`: this metric has no such label.
    pub fn values(&self, label: &str) -> Option<Values> {
        let all = |values: &[&'static str]| Values::OneOf(values.to_vec());
        let values = match (self.name, *self.labels.iter().find(|known| **known == label)?) {
            (_, "upstream" | "version" | "worker") => Values::Ours,
            (_, "gen_ai_tool_name" | "gen_ai_prompt_name") => Values::Listed,
            (_, "resource_template") => Values::ListedTemplate,
            (_, "layer") => Values::Layer(&LAYERS),
            (_, "mcp_method_name") => Values::OneOf(Method::KNOWN.iter().map(Method::label).chain([OTHER]).collect()),
            (_, "error_type") => Values::OneOf(outcomes::error_types()),
            (_, "rpc_response_status_code") => Values::OneOf(outcomes::codes()),
            (_, "label") => all(&[
                "mcp_method_name",
                "gen_ai_tool_name",
                "gen_ai_prompt_name",
                "resource_template",
                "rpc_response_status_code",
            ]),
            (_, "state") if self.name.ends_with("breaker_state") => all(&STATES),
            (_, "from" | "to") => all(&STATES),
            (_, "fault") => all(&[
                "slow",
                "throttled",
                "not_sent",
                "too_early",
                "unauthorized",
                "forbidden",
                "session_lost",
                "tool_error",
                "internal_error",
                "unavailable",
                "reset",
                "hang",
                "panic",
            ]),
            ("buttress_rejections_total" | "buttress_observed_rejections_total", "reason") => {
                Values::OneOf(Reason::ALL.iter().map(|reason| reason.as_str()).collect())
            }
            ("buttress_timeouts_total", _) => Values::OneOf(Clock::ALL.iter().map(|clock| clock.as_str()).collect()),
            ("buttress_retries_total", _) => all(&["success", "failure", "refused"]),
            ("buttress_retries_skipped_total", _) => all(&[
                "not_safe",
                "committed",
                "upstream_retries",
                "limit",
                "backoff",
                "delay",
                "deadline",
                "no_budget",
                "hedged",
            ]),
            ("buttress_hedges_total", _) => all(&["won", "lost", "refused"]),
            ("buttress_cache_lookups_total", _) => all(&["hit", "stale", "miss"]),
            ("buttress_loops_total", _) => all(&["repetition", "ping_pong"]),
            ("buttress_idempotency_hits_total", _) => all(&["running", "done", "unknown", "conflict", "store_failed"]),
            ("buttress_audit_events_total", _) => all(&[
                "success",
                "tool_error",
                "error",
                "denied",
                "rejected",
                "timeout",
                "cancelled",
                "input_required",
                "task",
                "panic",
                "unknown",
            ]),
            ("buttress_spans_lost_total", _) => all(&["queue_full", "not_sent"]),
            ("buttress_audit_dropped_total", _) => all(&["queue_full", "write_failed", "writer_gone"]),
            _ => return None,
        };
        Some(values)
    }

    /// Whether the label may say this.
    pub(super) fn may_say(&self, label: &str, value: &str) -> bool {
        match self.values(label) {
            Some(Values::OneOf(values)) => value.is_empty() || values.contains(&value),
            Some(Values::Listed) => value.is_empty() || is_fit_name(value),
            Some(Values::ListedTemplate) => value.is_empty() || is_fit_template(value),
            Some(Values::Ours | Values::Layer(_)) => true,
            None => false,
        }
    }
}

const STATES: [&str; 3] = ["closed", "open", "half_open"];

/// What refuses calls in this crate: layers by the names of their modules; a client's connection and the cap on subscriptions,
/// which are none; and `load_shed` for whoever sheds with tower's error.
const LAYERS: [&str; 12] = [
    "audit",
    "breaker",
    "concurrency",
    "connection",
    "deadline",
    "idempotency",
    "load_shed",
    "loop_guard",
    "quota",
    "rate_limit",
    "retry",
    "subscriptions",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_label_is_fit_and_no_longer_than_a_name_may_be() {
        assert_eq!(&*upstream_label("weather 2/é"), "weather_2/_");
        assert_eq!(&*upstream_label(&"u".repeat(LONGEST + 1)), &*"u".repeat(LONGEST));
    }
}
