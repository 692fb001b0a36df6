//! A record as a line of JSON.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    SCHEMA,
    arguments::Said,
    entry::{Entry, Ids},
    outcome::Answered,
    text::{Printable, capped},
};
use crate::call::{LONGEST, Method, Served, Session, Verdict};

/// The schema. Members are only ever added.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    event_id: String,
    time: String,
    seq: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    upstream: &'a str,
    method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_template: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<bool>,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_span_id: Option<String>,
    actor: Actor<'a>,
    arguments: &'a Said,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Answered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    served: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    duration_ms: f64,
}

#[derive(Serialize)]
struct Actor<'a> {
    tenant: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Cow<'a, str>>,
    authenticated: bool,
}

/// Appends the line of a record.
pub(super) fn write(number: u64, entry: &Entry, to: &mut Vec<u8>) {
    let Entry { target, caller, end, .. } = entry;
    // One that is not listed has been cut already.
    let name = target.name().or(entry.name.as_deref()).map(|name| capped(name, LONGEST));
    let (tool, prompt, known) = match target.method() {
        Method::ToolsCall => (name, None, Some(target.name().is_some())),
        Method::PromptsGet => (None, name, Some(target.name().is_some())),
        _ => (None, None, None),
    };
    let template = target.name().filter(|_| *target.method() == Method::ResourcesRead);
    let word = |name| match &entry.pseudonyms {
        None => Cow::Borrowed(name),
        Some(key) => Cow::Owned(key.hash_bytes(str::as_bytes(name))),
    };
    let line = Line {
        schema: SCHEMA,
        event_id: event_id(end.arrived, fastrand::u128(..)),
        time: humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + end.arrived).to_string(),
        seq: number,
        outcome: end.outcome.as_str(),
        verdict: end.verdict.map(Verdict::as_str),
        layer: end.refused.map(|(layer, _)| layer),
        reason: end.refused.map(|(_, reason)| reason.as_str()),
        upstream: target.upstream(),
        method: target.method().label(),
        tool,
        prompt,
        resource_template: template.map(|template| capped(template, LONGEST)),
        known,
        read_only: target.is_read_only(),
        request_id: entry.request_id.as_deref(),
        protocol: entry.revision.map(|revision| revision.to_string()),
        session: entry.session.map(Session::pseudonym),
        trace_id: entry.span.map(trace_id),
        span_id: entry.span.map(span_id),
        caller_trace_id: entry.caller_span.map(trace_id),
        caller_span_id: entry.caller_span.map(span_id),
        actor: Actor {
            tenant: word(caller.tenant()),
            principal: caller.principal_name().map(word),
            client: caller.client_name().map(word),
            agent: caller.agent_name().map(word),
            authenticated: entry.authenticated,
        },
        arguments: &entry.arguments,
        result: end.answered,
        attempts: end.attempts,
        served: end.served.map(Served::as_str),
        age_ms: end.served.and_then(|served| match served {
            Served::Cache { age, .. } => u64::try_from(age.as_millis()).ok(),
            _ => None,
        }),
        duration_ms: (end.duration.as_secs_f64() * 1e6).round() / 1e3,
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *to, Printable);
    // Neither a buffer in memory nor what stands in a line can fail to be written.
    let _infallible = line.serialize(&mut serializer);
    to.push(b'\n');
}

fn trace_id(ids: Ids) -> String {
    format!("{:032x}", ids.trace)
}

fn span_id(ids: Ids) -> String {
    format!("{:016x}", ids.span)
}

/// A UUID of version 7: when the call arrived, and chance.
fn event_id(arrived: Duration, chance: u128) -> String {
    let bits = arrived.as_millis() << 80 | 0x7 << 76 | (chance >> 52 & 0xfff) << 64 | 0b10 << 62 | chance >> 66;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_is_a_uuid_of_version_7() {
        let arrived = Duration::from_millis(0x0123_4567_89ab);
        assert_eq!(event_id(arrived, 0), "01234567-89ab-7000-8000-000000000000");
        assert_eq!(event_id(arrived, u128::MAX), "01234567-89ab-7fff-bfff-ffffffffffff");
    }
}
