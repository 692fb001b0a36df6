//! The last traces, as text.

use std::{
    collections::VecDeque,
    fmt::{self, Display, Write},
};

use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};

/// How many traces are kept: those of some seconds.
const TRACES: usize = 2_000;

/// How many spans of one trace, and how deep they are shown.
const SPANS: usize = 64;
const DEPTH: usize = 8;

/// How many traces are shown.
const SHOWN: usize = 50;

/// What a line says of a span beside its name and its times, in this order.
const SAID: [&str; 6] = [
    "buttress.verdict",
    "error.type",
    "buttress.refused.layer",
    "buttress.refused.reason",
    "buttress.served",
    "otel.status_description",
];

/// Spans by their traces, the latest trace last.
#[derive(Debug, Default)]
pub struct Kept(VecDeque<Vec<Span>>);

impl Extend<Span> for Kept {
    fn extend<I: IntoIterator<Item = Span>>(&mut self, spans: I) {
        for span in spans {
            // Most are of a trace that has just begun.
            match self.0.iter_mut().rev().find(|trace| trace.first().is_some_and(|one| one.trace_id == span.trace_id)) {
                Some(trace) if trace.len() < SPANS => trace.push(span),
                Some(_) => {}
                None => self.0.push_back(vec![span]),
            }
            if self.0.len() > TRACES {
                self.0.pop_front();
            }
        }
    }
}

impl Kept {
    /// The latest traces, newest first: all, or those in which something went wrong. A span stands below the one it was made in.
    pub fn text(&self, only_trouble: bool) -> String {
        let mut text = String::new();
        let shown = self.0.iter().rev().filter(|trace| !only_trouble || trace.iter().any(failed)).take(SHOWN);
        for trace in shown {
            let is_first = |span: &&Span| !trace.iter().any(|one| one.span_id == span.parent_span_id);
            for first in trace.iter().filter(is_first) {
                let _infallible = write!(text, "{}", Tree { trace, span: first, began: first.start_time_unix_nano, depth: 0 });
            }
            text.push('\n');
        }
        if text.is_empty() { "None yet: spans come some seconds after their calls.\n".to_owned() } else { text }
    }
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

/// A span and those below it, a line for each.
struct Tree<'a> {
    trace: &'a [Span],
    span: &'a Span,
    /// When the trace did.
    began: u64,
    depth: usize,
}

impl Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, began, depth } = *self;
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let name = format!("{:indent$}{} ({:?})", "", span.name, span.kind(), indent = 2 * depth);
        let (start, lasted) = (ms(began, span.start_time_unix_nano), ms(span.start_time_unix_nano, span.end_time_unix_nano));
        write!(f, "{name:<48} at {start:>8.1} ms, for {lasted:>8.1} ms ")?;
        let mut words: Vec<&str> = SAID.iter().filter_map(|member| says(span, member)).collect();
        // A kind of error is often called as its verdict is.
        words.dedup();
        write!(f, " {}", words.join(" "))?;
        f.write_char('\n')?;
        if depth == DEPTH {
            return Ok(());
        }
        let mut inner: Vec<&Span> = trace.iter().filter(|one| one.parent_span_id == span.span_id).collect();
        inner.sort_by_key(|one| one.start_time_unix_nano);
        inner.into_iter().try_for_each(|span| Tree { trace, span, began, depth: depth + 1 }.fmt(f))
    }
}

fn says<'a>(span: &'a Span, member: &str) -> Option<&'a str> {
    match span.attributes.iter().find(|one| one.key == member)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
