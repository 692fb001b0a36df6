//! What the next hop is told of an attempt.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{ATTEMPT_KEY, HARD_TIMEOUT_KEY, Head, REPEATS_KEY, Repeats, TIMEOUT_KEY, Traced};

/// What the next hop is to be told of an attempt in its `_meta`, key by key; all other keys travel as they came. Made by
/// [`Meta::onward`](super::Meta::onward).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Onward(Vec<(&'static str, Option<Value>)>);

impl Onward {
    pub(super) fn of(head: &Head) -> Self {
        let mut said = Vec::new();
        let word = head.meta.as_ref().map(|sender| sender.repeats).unwrap_or_default();
        if let Some((attempt, repeats)) = mark(head, word) {
            said.push((ATTEMPT_KEY, Some(attempt.into())));
            // Where the sender has said less than is true now, its word has to go.
            if (word, repeats) != (Repeats::All, Repeats::All) {
                said.push((REPEATS_KEY, Some(repeats.as_str().into())));
            }
        }
        match &head.joint {
            // Somebody who may wait longer can still join, and there is no second word to the next hop: so it hears nothing of
            // how long callers wait, not even of the one whose request this is.
            Some(_) => said.extend([(TIMEOUT_KEY, head.attempt_end.map(left)), (HARD_TIMEOUT_KEY, None)]),
            None => {
                let call = head.end().map(|(end, _)| end);
                if let Some(end) = call.into_iter().chain(head.attempt_end).min() {
                    said.push((TIMEOUT_KEY, Some(left(end))));
                }
                // Where there is no progress to be heard, one end says it all.
                if let Some(hard) = head.deadline.hard.filter(|_| head.peer.is_some()) {
                    said.push((HARD_TIMEOUT_KEY, Some(left(hard))));
                }
            }
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

/// The time until then.
fn left(end: Instant) -> Value {
    let left = end.saturating_duration_since(Instant::now()).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX).into()
}

/// Which attempt this is, and what would be repeated of the call, here or by a sender that has said this `word`.
fn mark(head: &Head, word: Repeats) -> Option<(u32, Repeats)> {
    match head.repeats {
        false => Some((head.meta.as_ref()?.attempt?, word)),
        true if head.is_idempotent() => Some((head.attempt + 1, Repeats::All)),
        true if head.target.trusts_next_hop() => Some((head.attempt + 1, Repeats::Unexecuted)),
        // Of what fails behind the next hop nothing would be repeated here: that nothing has happened is not believed, and what
        // may have happened is not safe. So it is the next hop's to repeat.
        true => None,
    }
}
