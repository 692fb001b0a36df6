//! What a request says about itself in `_meta`.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use serde_json::{Map, Value};

use super::{Baggage, Head, Onward, TraceContext};

/// The key in a request's `_meta` under which a caller names its logical call.
pub const IDEMPOTENCY_KEY: &str = "dev.buttress/idempotencyKey";

/// The key in a request's `_meta` that says that the sender repeats calls itself, and which attempt this is: a number from 1.
/// Who reads it does not repeat what the sender would: two layers that repeat multiply.
pub const ATTEMPT_KEY: &str = "dev.buttress/attempt";

/// The key in a request's `_meta`, beside [`ATTEMPT_KEY`], that says what the sender would repeat of this call: `unexecuted`, see
/// [`Repeats`]; where it is absent, all.
pub const REPEATS_KEY: &str = "dev.buttress/repeats";

/// The key in a request's `_meta` that says how long the sender will wait for the answer where it hears nothing of the call:
/// whole milliseconds from when the request is read, so that no two clocks have to agree.
pub const TIMEOUT_KEY: &str = "dev.buttress/timeoutMs";

/// The key in a request's `_meta`, beside [`TIMEOUT_KEY`] or alone, that says how long the sender will wait in any case:
/// progress, which moves that other end, does not move this one. Whole milliseconds.
pub const HARD_TIMEOUT_KEY: &str = "dev.buttress/hardTimeoutMs";

/// The key in `_meta` of a result, or in `data` of an error, under which the facts for machines stand:
/// [`Facts`](super::Facts).
pub const OUTCOME_KEY: &str = "dev.buttress/outcome";

/// The key in a request's `_meta` under which a client says what it is capable of, from revision 2026-07-28 on (specification,
/// `_meta`).
pub(crate) const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// The key in a request's `_meta` that says which span of which trace it is made in (specification, `_meta`); as an HTTP header,
/// it has the same name.
pub const TRACEPARENT_KEY: &str = "traceparent";

/// The key in a request's `_meta` that says what tracing systems keep with that; as an HTTP header, it has the same name.
pub const TRACESTATE_KEY: &str = "tracestate";

/// The key in a request's `_meta` that says what a trace carries for applications; as an HTTP header, it has the same name.
pub const BAGGAGE_KEY: &str = "baggage";

/// What somebody who repeats calls would repeat of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Repeats {
    /// Whatever fails: it knows that the call is safe to repeat.
    #[default]
    All,
    /// Only attempts that are known to have done nothing. One whose outcome is in doubt is left to whoever knows that the call is
    /// safe.
    Unexecuted,
}

impl Repeats {
    /// As in `_meta`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Unexecuted => "unexecuted",
        }
    }

    /// What a word in `_meta` means. One that is not known is as if it were not there.
    pub(crate) fn read(word: Option<&str>) -> Self {
        if word == Some(Self::Unexecuted.as_str()) { Self::Unexecuted } else { Self::All }
    }
}

/// The parts of a request's `_meta` that layers read. Everything else travels untouched in the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Meta {
    /// The caller's name for the logical call, from [`IDEMPOTENCY_KEY`]: two requests with one key are one call.
    pub idempotency_key: Option<Arc<str>>,
    /// Which attempt of the sender's this is, from [`ATTEMPT_KEY`]: the sender repeats calls itself.
    pub attempt: Option<u32>,
    /// What the sender would repeat, from [`REPEATS_KEY`]. Means something only beside an [`attempt`](Self::attempt).
    pub repeats: Repeats,
    /// How long the sender will wait where it hears nothing of the call, from [`TIMEOUT_KEY`].
    pub timeout: Option<Duration>,
    /// How long it will wait in any case, from [`HARD_TIMEOUT_KEY`].
    pub hard_timeout: Option<Duration>,
    /// The span that the sender says the call is made in, from [`TRACEPARENT_KEY`] and [`TRACESTATE_KEY`]. What is not valid is
    /// as if it were not there.
    pub trace: Option<TraceContext>,
    /// What the trace carries for applications, from [`BAGGAGE_KEY`]. The same holds.
    pub baggage: Option<Baggage>,
}

impl Meta {
    /// Reads what a request says about itself. What is there in another type is as if it were not there.
    pub fn read(meta: &Map<String, Value>) -> Self {
        let number = |key| meta.get(key).and_then(Value::as_u64);
        let text = |key| meta.get(key).and_then(Value::as_str);
        Self {
            idempotency_key: text(IDEMPOTENCY_KEY).map(Arc::from),
            attempt: number(ATTEMPT_KEY).map(|attempt| u32::try_from(attempt).unwrap_or(u32::MAX)),
            repeats: Repeats::read(text(REPEATS_KEY)),
            timeout: number(TIMEOUT_KEY).map(Duration::from_millis),
            hard_timeout: number(HARD_TIMEOUT_KEY).map(Duration::from_millis),
            trace: text(TRACEPARENT_KEY).and_then(|parent| TraceContext::parse(parent, text(TRACESTATE_KEY))),
            baggage: text(BAGGAGE_KEY).and_then(Baggage::parse),
        }
    }

    /// The same with what the HTTP headers of the request say where its `_meta` says nothing: the logical call (IETF draft "The
    /// Idempotency-Key HTTP Header Field"), the trace, and its baggage.
    #[must_use]
    pub fn or_headers(mut self, headers: &HeaderMap) -> Self {
        self.idempotency_key = self.idempotency_key.or_else(|| Some(headers.get("idempotency-key")?.to_str().ok()?.into()));
        self.trace = self.trace.or_else(|| TraceContext::of_headers(headers));
        self.baggage = self.baggage.or_else(|| Baggage::of_headers(headers));
        self
    }

    /// What the sender would repeat of this call. `None`: it does not say that it repeats calls.
    pub fn repeated(&self) -> Option<Repeats> {
        self.attempt.map(|_| self.repeats)
    }

    /// Whether it says nothing that a layer reads.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the next hop is to be told of this attempt, for a transport that sends it on: which attempt it is and what would be
    /// repeated of the call, if a layer of ours or the sender repeats it; how long we will wait for this attempt, and in any case
    /// where its progress can be heard; and where a layer [traces](Head::traced) the call, its trace.
    ///
    /// A next hop whose word [is not taken](crate::call::Target::trusts_next_hop) is told nothing of repetitions where the call
    /// is not known to be safe either: nothing that fails behind it would be repeated here, so that is left to it.
    pub fn onward(head: &Head) -> Onward {
        Onward::of(head)
    }
}
