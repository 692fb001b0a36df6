//! What is logged, through `tracing`.
//!
//! A call is one line at `debug`, when it ends, whatever becomes of it. At `info` and above there are changes only:
//! what begins or ends, and why. So a storm of calls is no storm of lines: what may happen with every call is told of
//! at most once in ten seconds, `unsaid` is how many more there were since, and a state that is told of as begun is
//! told of when it ends. What else is counted, the [metrics](crate::metrics) count.
//!
//! The target of each line begins with `buttress::` and the module, as the table says: so it is what a filter takes
//! (`buttress::record=debug`). Spans are those of [`trace`](crate::trace), where there are some: the line of a call
//! stands within its own.
//!
//! Names of tools and methods are [labels](crate::call::Target::label): `_OTHER` where the server does not list them.
//! Texts of handlers and sinks stand in `panic` and `error` alone. Arguments, results and what callers say never stand
//! anywhere.
//!
//! | target | level | event | fields |
//! |---|---|---|---|
//! | `record` | debug | a call has ended | `upstream`, `method`, `tool`, `verdict`, `attempts`, `layer`, `reason`, `ms` |
//! | `record` | info | calls are recorded without their names, which are on no list or not fit for a label | `upstream`, `label` |
//! | `record` | info | errors are recorded without their codes, which have no label of their own | `upstream`, `label` |
//! | `breaker` | warn | the circuit breaker opens | `upstream`, `method`, `tool`, `from`, `cause` |
//! | `breaker` | info | the circuit breaker probes | the same |
//! | `breaker` | info | the circuit breaker closes | the same |
//! | `breaker` | warn | the circuit breaker of the whole upstream opens | `upstream`, `from`, `cause` |
//! | `breaker` | info | the circuit breaker of the whole upstream probes | the same |
//! | `breaker` | info | the circuit breaker of the whole upstream closes | the same |
//! | `retry` | warn | the retry budget is spent: calls that fail are not repeated | `upstream`, `tokens` |
//! | `retry` | info | the retry budget is whole again | `upstream`, `tokens` |
//! | `concurrency` | warn | the queue for slots sheds calls | `upstream`, `method`, `tool`, `reason`, `limit` |
//! | `concurrency` | info | the queue for slots is empty again | `upstream`, `method`, `tool`, `limit` |
//! | `concurrency` | info | the limit has at least doubled or halved | `upstream`, `method`, `tool`, `from`, `limit` |
//! | `catalogue` | warn | the catalogue is full; further names share one entry | `upstream`, `capacity` |
//! | `loop_guard` | warn | an agent goes in circles | `upstream`, `tool`, `kind`, `unsaid` |
//! | `idempotency` | warn | nobody knows whose an idempotency key is: keys of callers without principal and access token do nothing | |
//! | `idempotency` | warn | no answer from the store of idempotency keys | `error`, `safe`, `unsaid` |
//! | `idempotency` | warn | the store of idempotency keys could not keep an answer | `error`, `unsaid` |
//! | `panic` | error | the handler panicked | `upstream`, `tool`, `panic`, `unsaid` |
//! | `classify` | error | a judge of errors panicked: its word is missing | `upstream`, `tool`, `unsaid` |
//! | `fault` | warn | FAULTS ARE BEING INJECTED ON PURPOSE | `plan` |
//! | `fault` | warn | no more faults are being injected | |
//! | `outcome` | debug | an outcome was said outside of a call; nobody hears it | `word` |
//! | `audit` | warn | audit records are lost: the queue is full | `capacity` |
//! | `audit` | info | audit records are kept again | `capacity` |
//! | `audit` | error | audit records are lost: the write failed | `error` |
//! | `audit` | info | audit records are written again | |
//! | `audit` | error | audit records are lost from now on: the writer has panicked | |
//! | `audit` | error | the audit trail cannot be reopened, and goes on where it was | `error` |
//! | `trace` | warn | spans are lost on their way to the collector | `error` |
//! | `trace` | info | spans reach the collector again | `lost` |
//! | `trace` | warn | the last spans were not sent | `error` |
//! | `adapters` | error | the edge of the stack panicked | `unsaid` |
//! | `adapters` | error | the stack is out of order | `error`, `unsaid` |
//! | `adapters` | error | the subscription panicked | `upstream` |
//! | `adapters` | debug | a subscription is refused | `id`, `cap` |

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long there is silence after something has been told of.
const SILENCE: Duration = Duration::from_secs(10);

/// A state that begins and ends. Told of in pairs; no pair begins sooner after the last one than [`SILENCE`].
#[derive(Debug, Default)]
pub(crate) struct Spell {
    on: AtomicBool,
    told: Mutex<Option<Instant>>,
}

impl Spell {
    /// Whether it has been told that it began.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// It is so now: whether that is to be told.
    pub(crate) fn begins(&self, now: Instant) -> bool {
        if self.is_on() {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = is_due(*told, now) && !self.on.swap(true, Ordering::Relaxed);
        if due {
            *told = Some(now);
        }
        due
    }

    /// It is not so any more: whether that is to be told.
    pub(crate) fn ends(&self, now: Instant) -> bool {
        let due = self.is_on() && self.on.swap(false, Ordering::Relaxed);
        if due {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
        due
    }
}

/// Something that happens at whatever rate, and is told of once in [`SILENCE`].
#[derive(Debug, Default)]
pub(crate) struct Sparingly(Mutex<(Option<Instant>, u64)>);

impl Sparingly {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// It has happened. `Some`: it is to be told, and how often it was not since the last time.
    pub(crate) fn happens(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, unsaid) = &mut *state;
        if !is_due(*told, now) {
            *unsaid += 1;
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(unsaid))
    }
}

fn is_due(told: Option<Instant>, now: Instant) -> bool {
    told.is_none_or(|told| now.saturating_duration_since(told) >= SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_of_in_pairs_that_keep_their_distance() {
        let (spell, epoch) = (Spell::default(), Instant::now());
        let at = |seconds| epoch + Duration::from_secs(seconds);
        assert!(!spell.ends(at(0)), "it has not begun");
        assert_eq!([0, 1, 30].map(|s| spell.begins(at(s))), [true, false, false]);
        assert_eq!([40, 41].map(|s| spell.ends(at(s))), [true, false]);
        assert_eq!([41, 49].map(|s| spell.begins(at(s))), [false; 2], "too soon");
        assert!(!spell.ends(at(49)), "of what was not told the end is not told either");
        assert!(spell.begins(at(50)) && spell.ends(at(51)));
    }

    #[test]
    fn what_happens_at_any_rate_is_told_of_with_what_was_left_unsaid() {
        let (sparingly, epoch) = (Sparingly::new(), Instant::now());
        let told: Vec<_> = (0..1000).filter_map(|n| sparingly.happens(epoch + n * Duration::from_millis(25))).collect();
        assert_eq!(told, [0, 399, 399]);
    }
}
