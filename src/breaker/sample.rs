//! What the end of a call means to a breaker: the one place where verdicts become samples.

use std::time::Duration;

use crate::call::Verdict;

/// How an admitted call ended, as far as the breaker of its target cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// The upstream did its work. Passes a probe.
    Success,
    /// The upstream did not: counts against both rules, fails a probe.
    Failure { retry_after: Option<Duration> },
    /// The upstream is alive and asks for less: counts against the success rate and fails a probe,
    /// but neither lengthens nor ends a run of failures.
    Throttled { retry_after: Option<Duration> },
    /// The call was wrong, and the upstream said so: counts nowhere, but passes a probe.
    Neutral,
    /// Nothing was learned of the upstream's work: counts nowhere, and frees a probe's place for the next call.
    Ignored,
}

impl Sample {
    /// The breaker's column of the verdict table.
    pub(super) const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok | Verdict::ToolError | Verdict::InputRequired | Verdict::Task => Self::Success,
            Verdict::ClientFault => Self::Neutral,
            Verdict::Throttled { retry_after } => Self::Throttled { retry_after },
            Verdict::Ambiguous { retry_after, .. } => Self::Failure { retry_after },
            Verdict::NotSent => Self::Failure { retry_after: None },
            // Who is turned away at the door has not seen how the tool fares behind it.
            Verdict::Denied
            | Verdict::SessionLost
            | Verdict::Hurried
            | Verdict::LocalReject
            | Verdict::RemoteReject { .. }
            | Verdict::Cancelled => Self::Ignored,
        }
    }

    /// How long the upstream asked to be left alone, if it did.
    pub(super) const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Failure { retry_after } | Self::Throttled { retry_after } => retry_after,
            Self::Success | Self::Neutral | Self::Ignored => None,
        }
    }
}

/// Whether the call found the upstream at all: what the upstream's own breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    /// Somebody answered, whatever the answer.
    Made,
    /// The transport could not deliver the call.
    Failed,
    /// It cannot be told, or nobody tried.
    Unknown,
}

impl Contact {
    /// `answered`: the outcome is an answer and no error. A handler that answers *not sent* speaks of a backend of its own.
    pub(super) const fn of(verdict: Verdict, answered: bool) -> Self {
        match verdict {
            _ if answered => Self::Made,
            Verdict::NotSent => Self::Failed,
            Verdict::LocalReject | Verdict::Cancelled | Verdict::Ambiguous { .. } | Verdict::Hurried => Self::Unknown,
            Verdict::Ok
            | Verdict::ToolError
            | Verdict::InputRequired
            | Verdict::Task
            | Verdict::ClientFault
            | Verdict::Denied
            | Verdict::SessionLost
            | Verdict::RemoteReject { .. }
            | Verdict::Throttled { .. } => Self::Made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Option<Duration> = Some(Duration::from_secs(3));

    /// Verdict, sample, contact if it came as an answer, contact if it came as an error.
    const TABLE: [(Verdict, Sample, Contact, Contact); 14] = [
        (Verdict::Ok, Sample::Success, Contact::Made, Contact::Made),
        (Verdict::ToolError, Sample::Success, Contact::Made, Contact::Made),
        (Verdict::InputRequired, Sample::Success, Contact::Made, Contact::Made),
        (Verdict::Task, Sample::Success, Contact::Made, Contact::Made),
        (Verdict::ClientFault, Sample::Neutral, Contact::Made, Contact::Made),
        (Verdict::Denied, Sample::Ignored, Contact::Made, Contact::Made),
        (Verdict::SessionLost, Sample::Ignored, Contact::Made, Contact::Made),
        (Verdict::Throttled { retry_after: AFTER }, Sample::Throttled { retry_after: AFTER }, Contact::Made, Contact::Made),
        (Verdict::NotSent, Sample::Failure { retry_after: None }, Contact::Made, Contact::Failed),
        (
            Verdict::Ambiguous { retry_after: AFTER, overload: true },
            Sample::Failure { retry_after: AFTER },
            Contact::Made,
            Contact::Unknown,
        ),
        (Verdict::Hurried, Sample::Ignored, Contact::Made, Contact::Unknown),
        (Verdict::LocalReject, Sample::Ignored, Contact::Made, Contact::Unknown),
        (Verdict::RemoteReject { retry_after: None }, Sample::Ignored, Contact::Made, Contact::Made),
        (Verdict::Cancelled, Sample::Ignored, Contact::Made, Contact::Unknown),
    ];

    #[test]
    fn what_each_verdict_means() {
        for (verdict, sample, answer, error) in TABLE {
            assert_eq!(Sample::of(verdict), sample, "{verdict:?}");
            assert_eq!(Contact::of(verdict, true), answer, "{verdict:?}");
            assert_eq!(Contact::of(verdict, false), error, "{verdict:?}");
            assert_eq!(sample.retry_after(), verdict.retry_after(), "{verdict:?}");
        }
    }
}
