//! The shape of `/status`: what it says, and under which names. A change that would surprise a reader raises [`SCHEMA`].

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::sample::Figures;

/// The version of this shape.
pub(super) const SCHEMA: u32 = 1;

/// How many targets are told at most. Beyond it those go first whose breaker is closed and that are called least.
pub(super) const MAX_TARGETS: usize = 2000;

#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) schema: u32,
    pub(super) process: Process,
    /// Over how long what is `recent` happened.
    pub(super) recent_seconds: f64,
    /// How many targets there are, and how many of them are left out for there being too many.
    pub(super) targets: usize,
    pub(super) targets_left_out: usize,
    pub(super) upstreams: Vec<Upstream>,
    /// The latest first.
    pub(super) transitions: Vec<Transition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) uptime_seconds: f64,
    pub(super) ready: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) in_flight: u64,
    /// The upstream's own. Absent where no stack in front of it is watched, or no call has come.
    pub(super) breaker: Option<Breaker>,
    pub(super) stacks: Vec<Stack>,
    pub(super) targets: Vec<Target>,
}

#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) method: String,
    /// As in metrics. Absent where the method has no names.
    pub(super) name: Option<String>,
    pub(super) calls: u64,
    /// Absent before the first, and where an upstream has too many names to tell attempts apart.
    pub(super) attempts: Option<u64>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) refusals: Vec<Refusals>,
    pub(super) recent: Recent,
    pub(super) breaker: Option<Breaker>,
    pub(super) slots: Option<Slots>,
    pub(super) quota_waiting: u64,
}

/// How many calls one layer refused for one reason.
#[derive(Debug, Serialize)]
pub(super) struct Refusals {
    pub(super) layer: String,
    pub(super) reason: String,
    pub(super) calls: u64,
}

impl Refusals {
    /// The most first, and none of nothing. There are no more than there are layers that refuse, and their reasons.
    pub(super) fn of(figures: &Figures) -> Vec<Self> {
        let counted = figures.refusals.iter().filter(|(_, calls)| **calls > 0);
        let mut all: Vec<_> = counted
            .map(|((layer, reason), calls)| Self { layer: layer.clone(), reason: reason.clone(), calls: *calls })
            .collect();
        all.sort_by_key(|refusals| Reverse(refusals.calls));
        all
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Recent {
    pub(super) calls: u64,
    pub(super) attempts: Option<u64>,
    pub(super) errors: u64,
    pub(super) error_types: BTreeMap<String, u64>,
    pub(super) refusals: Vec<Refusals>,
    pub(super) p50_seconds: Option<f64>,
    pub(super) p95_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
}

impl From<&Figures> for Recent {
    fn from(figures: &Figures) -> Self {
        Self {
            calls: figures.calls,
            attempts: figures.attempts,
            errors: figures.failed().map(|(_, count)| count).sum(),
            error_types: figures.failed().map(|(kind, count)| (kind.to_owned(), count)).collect(),
            refusals: Refusals::of(figures),
            p50_seconds: figures.quantile(0.5),
            p95_seconds: figures.quantile(0.95),
            p99_seconds: figures.quantile(0.99),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Breaker {
    pub(super) state: &'static str,
    pub(super) since_seconds: f64,
    pub(super) until_probe_seconds: Option<f64>,
    pub(super) forced: bool,
    pub(super) failures_in_a_row: u32,
    pub(super) success_rate: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Slots {
    pub(super) limit: u64,
    pub(super) in_flight: u64,
    pub(super) kept: u64,
    pub(super) waiting: u64,
    pub(super) places: u64,
    pub(super) draining: bool,
    pub(super) adapts: bool,
}

/// What the layers of one stack say of themselves. What is absent is off.
#[derive(Debug, Serialize)]
pub(super) struct Stack {
    pub(super) quota: Quota,
    pub(super) retry: Retry,
    pub(super) breaker_mode: &'static str,
    pub(super) concurrency_mode: &'static str,
    pub(super) loop_guard: Option<LoopGuard>,
    pub(super) cache: Option<Cache>,
    pub(super) audit: Option<Audit>,
    /// Whether calls are broken on purpose now.
    pub(super) faults: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Quota {
    pub(super) mode: &'static str,
    pub(super) limits: Vec<Limit>,
    pub(super) waiting: u32,
    pub(super) keys: usize,
    pub(super) overflows: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Limit {
    pub(super) per: &'static str,
    pub(super) calls: u32,
    pub(super) seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Retry {
    pub(super) attempts: u32,
    pub(super) tokens: u32,
    pub(super) capacity: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct LoopGuard {
    pub(super) mode: &'static str,
    pub(super) agents: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Cache {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Audit {
    pub(super) backlog: usize,
    pub(super) failing: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Transition {
    pub(super) seconds_ago: f64,
    pub(super) upstream: String,
    /// Absent for the upstream's own breaker.
    pub(super) method: Option<String>,
    pub(super) name: Option<String>,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) cause: &'static str,
}
