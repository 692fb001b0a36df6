//! What a request says about itself in `_meta`.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::Head;

/// The key in a request's `_meta` under which a caller names its logical call.
pub const IDEMPOTENCY_KEY: &str = "dev.buttress/idempotencyKey";

/// The key in a request's `_meta` that says that the sender repeats calls itself, and which attempt this is: a number from 1.
/// Who reads it does not repeat the call: two layers that repeat multiply.
pub const ATTEMPT_KEY: &str = "dev.buttress/attempt";

/// The key in a request's `_meta` that says how long the sender will wait for the answer where it hears nothing of the call: whole
/// milliseconds from when the request is read, so that no two clocks have to agree.
pub const TIMEOUT_KEY: &str = "dev.buttress/timeoutMs";

/// The key in `_meta` of a result, or in `data` of an error, under which the facts for machines stand:
/// [`Facts`](super::Facts).
pub const OUTCOME_KEY: &str = "dev.buttress/outcome";

/// The parts of a request's `_meta` that layers read. Everything else travels untouched in the parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Meta {
    /// The caller's name for the logical call, from [`IDEMPOTENCY_KEY`]: two requests with one key are one call.
    pub idempotency_key: Option<Arc<str>>,
    /// Which attempt of the sender's this is, from [`ATTEMPT_KEY`]: the sender repeats calls itself.
    pub attempt: Option<u32>,
    /// How long the sender will wait, from [`TIMEOUT_KEY`].
    pub timeout: Option<Duration>,
}

impl Meta {
    /// Reads what a request says about itself. What is there in another type is as if it were not there.
    pub fn read(meta: &Map<String, Value>) -> Self {
        let number = |key| meta.get(key).and_then(Value::as_u64);
        Self {
            idempotency_key: meta.get(IDEMPOTENCY_KEY).and_then(Value::as_str).map(Arc::from),
            attempt: number(ATTEMPT_KEY).map(|attempt| u32::try_from(attempt).unwrap_or(u32::MAX)),
            timeout: number(TIMEOUT_KEY).map(Duration::from_millis),
        }
    }

    /// Whether it says nothing that a layer reads.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the next hop is to be told of this attempt, for a transport that sends it on: which attempt it is, if a layer of ours
    /// or the sender repeats it, and how long we will wait.
    pub fn onward(head: &Head) -> Map<String, Value> {
        let mut onward = Map::new();
        let ours = head.repeats.then_some(head.attempt + 1);
        if let Some(attempt) = ours.or_else(|| head.meta.as_ref()?.attempt) {
            onward.insert(ATTEMPT_KEY.to_owned(), attempt.into());
        }
        let now = tokio::time::Instant::now();
        if let Some((end, _)) = head.end() {
            let left = end.saturating_duration_since(now).as_millis();
            onward.insert(TIMEOUT_KEY.to_owned(), u64::try_from(left).unwrap_or(u64::MAX).into());
        }
        onward
    }
}
