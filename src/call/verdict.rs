//! What became of a call.

use std::time::Duration;

/// What became of one attempt, or of the whole call: decided once, innermost, and read by every layer.
///
/// | verdict | retried | breaker | budget |
/// |---|---|---|---|
/// | `Ok` | - | success | +1 |
/// | `ToolError` | no | success | 0 |
/// | `InputRequired`, `Task` | never | success | 0 |
/// | `ClientFault` | no | neutral; passes a probe | 0 |
/// | `Denied`, `SessionLost` | no | ignored; releases a probe | 0 |
/// | `Throttled` | after the delay, any tool not yet committed | success rate only; fails a probe | cost 5 |
/// | `NotSent` | any tool not yet committed | failure | cost 5 |
/// | `Ambiguous` | only where repeating is safe | failure | cost 14 |
/// | `Hurried` | only where repeating is safe | ignored; releases a probe | cost 14 |
/// | `LocalReject` | never in this stack | ignored; releases a probe | 0 |
/// | `RemoteReject` | after the delay, if it names one, any tool not yet committed | ignored; releases a probe | cost 5 |
/// | `Cancelled` | never | ignored; releases a probe | 0 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// A complete result.
    Ok,
    /// `isError: true`, or a JSON-RPC error of the application's own: the server is alive and has spoken.
    ToolError,
    /// An interim result: the server asks the caller for more.
    InputRequired,
    /// A handle of a task that goes on.
    Task,
    /// The request is at fault; another copy of it would be too.
    ClientFault,
    /// Not authenticated, or not allowed.
    Denied,
    /// The session is gone (revisions up to 2025-11-25).
    SessionLost,
    /// The backend refused for now, and says that nothing has happened.
    Throttled {
        /// The delay that it named.
        retry_after: Option<Duration>,
    },
    /// The call never reached the backend: nothing has happened.
    NotSent,
    /// It may or may not have happened.
    Ambiguous {
        /// The delay that the backend named (503 with `Retry-After`).
        retry_after: Option<Duration>,
        /// Whether it is a sign of too much load (a timeout, 503).
        overload: bool,
    },
    /// It may or may not have happened; it was given up before it had had a fair time, so that says nothing of the target. To its
    /// caller it is no other than [`Ambiguous`](Self::Ambiguous).
    Hurried,
    /// A layer of this stack said no: nothing has happened, and it says nothing of the target.
    LocalReject,
    /// A layer of a [trusted](crate::catalogue::Catalogue::trust_next_hop) hop's said no for what its caller does: it is over a limit
    /// of its own, goes in circles, uses a key that is taken, or left no time for the call. Nothing has happened, and it says
    /// nothing of the target.
    RemoteReject {
        /// The delay that it named, where the same call may pass after it.
        retry_after: Option<Duration>,
    },
    /// The caller left.
    Cancelled,
}

impl Verdict {
    /// [`Ambiguous`](Self::Ambiguous) without a delay and no sign of overload.
    pub const AMBIGUOUS: Self = Self::Ambiguous { retry_after: None, overload: false };

    /// The delay that the backend named.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::RemoteReject { retry_after } | Self::Ambiguous { retry_after, .. } => {
                retry_after
            }
            _ => None,
        }
    }

    /// Whether the backend is known to have done nothing.
    pub const fn is_unexecuted(self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::NotSent | Self::LocalReject | Self::RemoteReject { .. })
    }

    /// Whether it may have happened, and may not.
    pub const fn is_in_doubt(self) -> bool {
        matches!(self, Self::Ambiguous { .. } | Self::Hurried)
    }

    /// Whether it says of its own attempt that nothing was done: of the call it says so only if no other attempt ended in doubt.
    pub(crate) const fn denies(self) -> bool {
        self.is_unexecuted() || matches!(self, Self::ClientFault | Self::Denied | Self::SessionLost)
    }

    /// A stable lower-case name, for logs and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::InputRequired => "input_required",
            Self::Task => "task",
            Self::ClientFault => "client_fault",
            Self::Denied => "denied",
            Self::SessionLost => "session_lost",
            Self::Throttled { .. } => "throttled",
            Self::NotSent => "not_sent",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Hurried => "hurried",
            Self::LocalReject => "local_reject",
            Self::RemoteReject { .. } => "remote_reject",
            Self::Cancelled => "cancelled",
        }
    }
}
