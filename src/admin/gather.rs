//! From the metrics and the layers' handles to what `/status` says.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    sample::{Figures, Key, Sample},
    status::{
        Audit, Breaker, Cache, Limit, LoopGuard, MAX_TARGETS, Process, Quota, Refusals, Retry, SCHEMA, Slots, Stack, Status,
        Target, Transition, Upstream,
    },
    watched::Watched,
};
use crate::{Mode, breaker, call::Method, catalogue::Catalogue, concurrency, metrics::upstream_label, stack::Handles};

/// How many changes of breakers are told, those of all stacks together.
const TRANSITIONS: usize = 50;

/// What is known of a target from all sides.
#[derive(Default)]
struct Row {
    total: Figures,
    recent: Figures,
    breaker: Option<Breaker>,
    slots: Option<Slots>,
}

/// What is known of an upstream from all sides.
#[derive(Default)]
struct Whole {
    /// What the operator calls it, which its label may not be fit to say.
    name: Option<Arc<str>>,
    in_flight: u64,
    breaker: Option<Breaker>,
    stacks: Vec<Stack>,
    targets: Vec<Target>,
}

/// Puts together what is known `now`, after `sample` was taken; `earlier` is where what is recent begins.
pub(super) fn gather(
    process: Process,
    now: Instant,
    sample: Sample,
    earlier: Option<&(Instant, Sample)>,
    watched: &[Watched],
) -> Status {
    let mut rows = BTreeMap::<Key, Row>::new();
    let mut wholes = BTreeMap::<String, Whole>::new();
    for (upstream, in_flight) in sample.in_flight {
        wholes.entry(upstream).or_default().in_flight = in_flight;
    }
    for (key, total) in sample.targets {
        let recent = total.since(earlier.and_then(|(_, sample)| sample.targets.get(&key)));
        rows.insert(key, Row { total, recent, ..Row::default() });
    }
    for Watched { catalogue, handles } in watched {
        let whole = wholes.entry(label(catalogue.upstream())).or_default();
        whole.name = Some(catalogue.upstream().clone());
        whole.stacks.push(stack(catalogue, handles));
        for target in catalogue.targets() {
            rows.entry(key(target.upstream(), target.method().label(), target.label())).or_default();
        }
        for status in handles.breaker.iter() {
            let breaker = breaker_of(&status, now);
            match status.method {
                Some(method) => {
                    let row = rows.entry(key(&status.upstream, method, status.name.as_deref().unwrap_or_default())).or_default();
                    row.breaker = worse(row.breaker.take(), breaker);
                }
                None => {
                    let whole = wholes.entry(label(&status.upstream)).or_default();
                    whole.breaker = worse(whole.breaker.take(), breaker);
                }
            }
        }
        for status in handles.concurrency.iter() {
            let row = rows.entry(key(&status.upstream, status.method, &status.name)).or_default();
            row.slots = Some(together(row.slots.take(), &status));
        }
    }
    let targets = rows.len();
    let mut rows: Vec<_> = rows.into_iter().collect();
    if targets > MAX_TARGETS {
        rows.sort_by_cached_key(|(_, row)| Reverse((rank(row.breaker.as_ref()), row.recent.calls, row.total.calls)));
        rows.truncate(MAX_TARGETS);
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    for (key, row) in rows {
        wholes.entry(key.upstream).or_default().targets.push(Target {
            method: key.method,
            name: (!key.name.is_empty()).then_some(key.name),
            calls: row.total.calls,
            attempts: row.total.attempts,
            refusals: Refusals::of(&row.total),
            recent: (&row.recent).into(),
            quota_waiting: row.total.quota_waiting,
            errors: row.total.errors,
            breaker: row.breaker,
            slots: row.slots,
        });
    }
    let upstreams = wholes.into_iter().map(|(label, whole)| Upstream {
        name: whole.name.map_or(label, |name| name.to_string()),
        in_flight: whole.in_flight,
        breaker: whole.breaker,
        stacks: whole.stacks,
        targets: whole.targets,
    });
    Status {
        schema: SCHEMA,
        process,
        recent_seconds: earlier.map_or(0.0, |(from, _)| seconds(now.saturating_duration_since(*from))),
        targets,
        targets_left_out: targets.saturating_sub(MAX_TARGETS),
        upstreams: upstreams.collect(),
        transitions: transitions(watched, now),
    }
}

fn key(upstream: &str, method: &str, name: &str) -> Key {
    Key { upstream: label(upstream), method: method.to_owned(), name: name.to_owned() }
}

/// An upstream's name as the metrics have it.
fn label(upstream: &str) -> String {
    upstream_label(upstream).to_string()
}

/// To the millisecond, which is what the clock tells.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}

fn breaker_of(status: &breaker::Status, now: Instant) -> Breaker {
    Breaker {
        state: status.state.as_str(),
        since_seconds: seconds(now.saturating_duration_since(status.since)),
        until_probe_seconds: status.until_probe.map(seconds),
        forced: status.forced,
        failures_in_a_row: status.failures,
        success_rate: status.success_rate,
    }
}

fn rank(breaker: Option<&Breaker>) -> u8 {
    match breaker.map(|breaker| breaker.state) {
        Some("open") => 2,
        Some("half_open") => 1,
        _ => 0,
    }
}

/// Of two breakers of one name, which several stacks have, or tools whose names are not fit for a label: the one that is in
/// trouble.
fn worse(one: Option<Breaker>, other: Breaker) -> Option<Breaker> {
    one.filter(|one| rank(Some(one)) >= rank(Some(&other))).or(Some(other))
}

/// Slots of one name add up.
fn together(one: Option<Slots>, other: &concurrency::Status) -> Slots {
    let other = Slots {
        limit: other.limit.into(),
        in_flight: other.in_flight.into(),
        kept: other.kept.into(),
        waiting: other.waiting as u64,
        places: other.places as u64,
        draining: other.draining,
        adapts: other.adapts,
    };
    match one {
        None => other,
        Some(one) => Slots {
            limit: one.limit + other.limit,
            in_flight: one.in_flight + other.in_flight,
            kept: one.kept + other.kept,
            waiting: one.waiting + other.waiting,
            places: one.places + other.places,
            draining: one.draining || other.draining,
            adapts: one.adapts || other.adapts,
        },
    }
}

fn stack(catalogue: &Catalogue, handles: &Handles) -> Stack {
    let (quota, retry) = (&handles.quota, &handles.retry);
    let limits = quota.limits().into_iter().map(|(per, quota)| Limit {
        per: per.scope().as_str(),
        calls: quota.burst_size().get(),
        seconds: seconds(quota.burst_size_replenished_in()),
    });
    let budget = retry.budget(&catalogue.resolve(&Method::Ping, None, None));
    Stack {
        quota: Quota {
            mode: word(quota.mode()),
            limits: limits.collect(),
            waiting: quota.waiting(),
            keys: quota.tracked_keys(),
            overflows: quota.overflows(),
        },
        retry: Retry { attempts: retry.attempts(), tokens: budget.tokens(), capacity: budget.capacity() },
        breaker_mode: word(handles.breaker.mode()),
        concurrency_mode: word(handles.concurrency.mode()),
        loop_guard: handles.loop_guard.as_ref().map(|guard| LoopGuard { mode: word(guard.mode()), agents: guard.agents() }),
        cache: cache(handles),
        audit: audit(handles),
        faults: handles.fault.as_ref().is_some_and(|fault| fault.plan().is_some()),
    }
}

const fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
    }
}

#[cfg(feature = "cache")]
fn cache(handles: &Handles) -> Option<Cache> {
    handles.cache.as_ref().map(|cache| Cache { bytes: cache.bytes(), entries: cache.entries() })
}

#[cfg(not(feature = "cache"))]
const fn cache(_: &Handles) -> Option<Cache> {
    None
}

#[cfg(feature = "audit")]
fn audit(handles: &Handles) -> Option<Audit> {
    handles.audit.as_ref().map(|audit| Audit { backlog: audit.backlog(), failing: audit.is_failing() })
}

#[cfg(not(feature = "audit"))]
const fn audit(_: &Handles) -> Option<Audit> {
    None
}

fn transitions(watched: &[Watched], now: Instant) -> Vec<Transition> {
    let mut changes: Vec<_> = watched.iter().flat_map(|watched| watched.handles.breaker.changes()).collect();
    changes.sort_by_key(|change| Reverse(change.at));
    changes.truncate(TRANSITIONS);
    let told = changes.into_iter().map(|change| Transition {
        seconds_ago: seconds(now.saturating_duration_since(change.at)),
        upstream: change.upstream.to_string(),
        method: change.method.map(|method| method.to_string()),
        name: change.name.map(|name| name.to_string()),
        from: change.from.as_str(),
        to: change.to.as_str(),
        cause: change.cause.as_str(),
    });
    told.collect()
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
