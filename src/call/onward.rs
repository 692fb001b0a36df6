//! What the next hop is told of an attempt.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{ATTEMPT_KEY, Head, TIMEOUT_KEY, Traced};

/// What the next hop is to be told of an attempt in its `_meta`, key by key; all other keys travel as they came. Made by
/// [`Meta::onward`](super::Meta::onward).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Onward(Vec<(&'static str, Option<Value>)>);

impl Onward {
    pub(super) fn of(head: &Head) -> Self {
        let mut said = Vec::new();
        let ours = head.repeats.then_some(head.attempt + 1);
        if let Some(attempt) = ours.or_else(|| head.meta.as_ref()?.attempt) {
            said.push((ATTEMPT_KEY, Some(attempt.into())));
        }
        if let Some((end, _)) = head.end() {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            said.push((TIMEOUT_KEY, Some(u64::try_from(left).unwrap_or(u64::MAX).into())));
        }
        if let Some(traced) = &head.traced {
            said.extend(Self::of_trace(traced).0);
        }
        Self(said)
    }

    /// Only what is said of traces.
    pub(crate) fn of_trace(traced: &Traced) -> Self {
        Self(traced.keys().map(|(key, value)| (key, value.map(Value::String))).into())
    }

    /// What is to stand under each key that is spoken of. `None`: what the caller put there does not go on.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&Value>)> {
        self.0.iter().map(|(key, value)| (*key, value.as_ref()))
    }

    /// Puts it into the `_meta` of the request that goes on.
    pub fn apply(self, meta: &mut Map<String, Value>) {
        for (key, value) in self.0 {
            match value {
                Some(value) => drop(meta.insert(key.to_owned(), value)),
                None => drop(meta.remove(key)),
            }
        }
    }
}
