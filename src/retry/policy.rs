//! Whether a failed attempt is repeated, and when.

use std::time::Duration;

use tokio::time::Instant;

use super::{Backoff, Cause, budget::UNEXECUTED};
use crate::call::Verdict;

/// How much longer than our own backoff a delay may be that the backend names.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known when an attempt has failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    /// Whether repeating is safe although the outcome is in doubt.
    pub(super) safe: bool,
    /// Whether the caller has already seen something of the outcome.
    pub(super) committed: bool,
    /// Attempts made so far, this one included.
    pub(super) attempts: u32,
    /// Whether the sender repeats the call itself where it knows that nothing has happened, and can know it.
    pub(super) senders: bool,
    /// When the call has to end.
    pub(super) end: Option<Instant>,
}

/// A retry that makes sense, if it can be paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) at: Instant,
    pub(super) cost: u32,
}

/// Why a failed attempt is not repeated. The names are the `reason` label of `buttress_retries_skipped_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    NotSafe,
    Committed,
    /// The sender repeats the call itself: two layers that repeat multiply.
    Marked,
    Limit,
    Backoff,
    Delay,
    Deadline,
    Budget,
    Hedged,
}

impl Skip {
    pub(super) const ALL: [Self; 9] = [
        Self::NotSafe,
        Self::Committed,
        Self::Marked,
        Self::Limit,
        Self::Backoff,
        Self::Delay,
        Self::Deadline,
        Self::Budget,
        Self::Hedged,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NotSafe => "not_safe",
            Self::Committed => "committed",
            Self::Marked => "upstream_retries",
            Self::Limit => "limit",
            Self::Backoff => "backoff",
            Self::Delay => "delay",
            Self::Deadline => "deadline",
            Self::Budget => "no_budget",
            Self::Hedged => "hedged",
        }
    }
}

/// What a retry costs: more where the outcome was in doubt, since the backend may have done the work. `None`: this verdict
/// is no failure, or one that no repetition can mend.
const fn cost(verdict: Verdict) -> Option<u32> {
    match verdict {
        Verdict::Throttled { .. } | Verdict::NotSent | Verdict::RemoteReject { retry_after: Some(_) } => Some(UNEXECUTED),
        Verdict::Ambiguous { .. } | Verdict::Hurried => Some(14),
        _ => None,
    }
}

/// Whether a repetition could mend this.
pub(super) const fn is_mendable(verdict: Verdict) -> bool {
    cost(verdict).is_some()
}

/// Whether to repeat, and when. `Ok(None)`: there is nothing to repeat.
pub(super) fn judge(
    failure: Failure,
    max_attempts: u32,
    now: Instant,
    backoff: impl FnOnce() -> Box<dyn Backoff>,
    series: &mut Option<Box<dyn Backoff>>,
) -> Result<Option<Repeat>, Skip> {
    let Some(cost) = cost(failure.verdict) else { return Ok(None) };
    if failure.committed {
        return Err(Skip::Committed);
    }
    if !failure.verdict.is_unexecuted() && !failure.safe {
        return Err(Skip::NotSafe);
    }
    if failure.verdict.is_unexecuted() && failure.senders {
        return Err(Skip::Marked);
    }
    if failure.attempts >= max_attempts {
        return Err(Skip::Limit);
    }
    let cause = match failure.verdict {
        Verdict::Throttled { .. } | Verdict::RemoteReject { .. } => Cause::Throttled,
        _ => Cause::Failed,
    };
    let own = series.get_or_insert_with(backoff).next_delay(cause).ok_or(Skip::Backoff)?;
    let named = failure.verdict.retry_after().unwrap_or(Duration::ZERO);
    if named > own.saturating_add(PATIENCE) {
        return Err(Skip::Delay);
    }
    let at = now.checked_add(own.max(named)).ok_or(Skip::Deadline)?;
    // As much time as it waits, the repetition has left at least: one that is made with none left ends in doubt, where the caller
    // could have been told what happened.
    if failure.end.is_some_and(|end| at > now + end.saturating_duration_since(now) / 2) {
        return Err(Skip::Deadline);
    }
    Ok(Some(Repeat { at, cost }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Duration = Duration::from_millis(100);

    struct Fixed(Option<Duration>);

    impl Backoff for Fixed {
        fn next_delay(&mut self, _cause: Cause) -> Option<Duration> {
            self.0
        }
    }

    fn failure(verdict: Verdict) -> Failure {
        Failure { verdict, safe: true, committed: false, attempts: 1, senders: false, end: None }
    }

    /// The delay and the cost of the retry, or why there is none.
    fn judged(failure: Failure) -> Result<Option<(Duration, u32)>, Skip> {
        let now = Instant::now();
        let repeat = judge(failure, 3, now, || Box::new(Fixed(Some(OWN))), &mut None)?;
        Ok(repeat.map(|repeat| (repeat.at - now, repeat.cost)))
    }

    const fn throttled(seconds: u64) -> Verdict {
        Verdict::Throttled { retry_after: Some(Duration::from_secs(seconds)) }
    }

    #[tokio::test(start_paused = true)]
    async fn each_verdict_on_safe_and_unsafe_calls() {
        let unsafe_ = |verdict| judged(Failure { safe: false, ..failure(verdict) });
        assert_eq!(unsafe_(throttled(0)), Ok(Some((OWN, 5))));
        assert_eq!(unsafe_(Verdict::NotSent), Ok(Some((OWN, 5))));
        let over_quota = Verdict::RemoteReject { retry_after: Some(Duration::from_secs(2)) };
        assert_eq!(unsafe_(over_quota), Ok(Some((Duration::from_secs(2), 5))));
        assert_eq!(unsafe_(Verdict::AMBIGUOUS), Err(Skip::NotSafe));
        assert_eq!(judged(failure(Verdict::AMBIGUOUS)), Ok(Some((OWN, 14))));
        for verdict in [
            Verdict::Ok,
            Verdict::ToolError,
            Verdict::InputRequired,
            Verdict::Task,
            Verdict::ClientFault,
            Verdict::Denied,
            Verdict::SessionLost,
            Verdict::LocalReject,
            Verdict::RemoteReject { retry_after: None },
            Verdict::Cancelled,
        ] {
            assert_eq!(judged(failure(verdict)), Ok(None), "{verdict:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_committed_call_is_never_repeated() {
        for verdict in [throttled(0), Verdict::NotSent, Verdict::AMBIGUOUS] {
            assert_eq!(judged(Failure { committed: true, ..failure(verdict) }), Err(Skip::Committed));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted() {
        let after = |attempts| judged(Failure { attempts, ..failure(Verdict::NotSent) });
        assert_eq!(after(2), Ok(Some((OWN, 5))));
        assert_eq!(after(3), Err(Skip::Limit));
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_delay_is_obeyed_if_it_is_not_much_longer_than_our_own() {
        assert_eq!(judged(failure(throttled(5))), Ok(Some((Duration::from_secs(5), 5))));
        assert_eq!(judged(failure(throttled(6))), Err(Skip::Delay));
        let named = |delay| judged(failure(Verdict::Throttled { retry_after: Some(delay) }));
        assert_eq!(named(OWN + PATIENCE), Ok(Some((OWN + PATIENCE, 5))));
        assert_eq!(named(OWN + PATIENCE + Duration::from_nanos(1)), Err(Skip::Delay));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_would_come_too_late_is_not_made() {
        let by = |end| judged(Failure { end: Some(Instant::now() + end), ..failure(Verdict::NotSent) });
        // As long as it waits, it has left at least.
        assert_eq!(by(2 * OWN - Duration::from_nanos(2)), Err(Skip::Deadline));
        assert_eq!(by(2 * OWN), Ok(Some((OWN, 5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backoff_may_end_the_retries() {
        let ended = judge(failure(Verdict::NotSent), 3, Instant::now(), || Box::new(Fixed(None)), &mut None);
        assert_eq!(ended, Err(Skip::Backoff));
    }

    struct Told(std::sync::mpsc::Sender<Cause>);

    impl Backoff for Told {
        fn next_delay(&mut self, cause: Cause) -> Option<Duration> {
            self.0.send(cause).ok().map(|()| OWN)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backoff_is_told_whether_the_backend_asked_for_less() {
        let (told, causes) = std::sync::mpsc::channel();
        for verdict in [throttled(0), Verdict::NotSent, Verdict::AMBIGUOUS] {
            let told = told.clone();
            judge(failure(verdict), 3, Instant::now(), || Box::new(Told(told)), &mut None).unwrap();
        }
        drop(told);
        assert_eq!(causes.iter().collect::<Vec<_>>(), [Cause::Throttled, Cause::Failed, Cause::Failed]);
    }
}
