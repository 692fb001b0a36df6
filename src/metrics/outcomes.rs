//! How calls and attempts end, and the durations of those that end alike.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::Histogram;

use super::{CLIENT_DURATION, SERVER_DURATION, Subject};
use crate::{
    call::{CallResult, OTHER, Response, Verdict},
    classify::{Cause, cause, code},
    error::BoxError,
};

/// What an outcome is called in the `error_type` and `rpc_response_status_code` labels: a closed set. Where a handler's word
/// names an error, its code is in spans alone: each pair of the two would be a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorType {
    None,
    ToolError,
    Rejected,
    Timeout,
    Panic,
    NotSent,
    Throttled,
    Ambiguous,
    Denied,
    SessionLost,
    ClientFault,
    Cancelled,
    /// Cut short by an end that its caller set, before it had a fair time.
    Hurried,
    /// A code of the application's own that has no label: the tool has answered.
    ApplicationError,
    Code(RpcCode),
}

/// A JSON-RPC error code, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RpcCode(u8);

/// The codes that have a series of their own; all others share `_OTHER`, since an upstream may send any integer.
const CODES: [(i64, &str); 15] = [
    (code::PARSE_ERROR, "-32700"),
    (code::INVALID_REQUEST, "-32600"),
    (code::METHOD_NOT_FOUND, "-32601"),
    (code::INVALID_PARAMS, "-32602"),
    (code::INTERNAL_ERROR, "-32603"),
    (code::RESOURCE_NOT_FOUND, "-32002"),
    (code::HEADER_MISMATCH, "-32020"),
    (code::MISSING_REQUIRED_CLIENT_CAPABILITY, "-32021"),
    (code::UNSUPPORTED_PROTOCOL_VERSION, "-32022"),
    (code::URL_ELICITATION_REQUIRED, "-32042"),
    // What the SDKs say of connections and requests that were lost.
    (-32000, "-32000"),
    (-32001, "-32001"),
    // What a stack like this one says of its own refusals.
    (429, "429"),
    (503, "503"),
    (504, "504"),
];

impl RpcCode {
    pub(crate) fn of(code: i64) -> Self {
        let place = CODES.iter().position(|(known, _)| *known == code).unwrap_or(CODES.len());
        Self(u8::try_from(place).unwrap_or(u8::MAX))
    }

    pub(crate) fn as_str(self) -> &'static str {
        CODES.get(usize::from(self.0)).map_or(OTHER, |(_, label)| label)
    }

    fn is_other(self) -> bool {
        usize::from(self.0) >= CODES.len()
    }

    /// The first five of the table but one, and -32002: on the server's side these answer a request that is at fault, which
    /// is no error of the server's (OpenTelemetry, MCP conventions).
    fn is_callers(self) -> bool {
        matches!(self.as_str(), "-32700" | "-32600" | "-32601" | "-32602" | "-32002")
    }
}

impl ErrorType {
    const COUNT: usize = 14 + CODES.len() + 1;

    #[inline]
    pub(crate) fn of<R: CallResult>(outcome: &Result<Response<R>, BoxError>) -> Self {
        let verdict = Verdict::of(outcome);
        let code = outcome.as_ref().ok().and_then(Response::error_code);
        match verdict {
            Verdict::Ok | Verdict::InputRequired | Verdict::Task if code.is_none() => Self::None,
            Verdict::LocalReject | Verdict::RemoteReject { .. } => Self::Rejected,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::Hurried => Self::Hurried,
            Verdict::Throttled { .. } => Self::Throttled,
            Verdict::NotSent => Self::NotSent,
            Verdict::Denied => Self::Denied,
            Verdict::SessionLost => Self::SessionLost,
            verdict => match (code, outcome) {
                (Some(code), _) => match RpcCode::of(code) {
                    code if code.is_other() && verdict == Verdict::ToolError => Self::ApplicationError,
                    code => Self::Code(code),
                },
                (None, _) if verdict == Verdict::ToolError => Self::ToolError,
                (None, _) if verdict == Verdict::ClientFault => Self::ClientFault,
                (None, Ok(_)) => Self::Ambiguous,
                (None, Err(error)) => match cause(&**error) {
                    Cause::Panic => Self::Panic,
                    Cause::Timeout(_) => Self::Timeout,
                    Cause::Other => Self::Ambiguous,
                },
            },
        }
    }

    /// Whether it is a code that has no series of its own.
    pub(crate) fn is_other_code(self) -> bool {
        matches!(self, Self::ApplicationError) || matches!(self, Self::Code(code) if code.is_other())
    }

    fn index(self) -> usize {
        match self {
            Self::None => 0,
            Self::ToolError => 1,
            Self::Rejected => 2,
            Self::Timeout => 3,
            Self::Panic => 4,
            Self::NotSent => 5,
            Self::Throttled => 6,
            Self::Ambiguous => 7,
            Self::Denied => 8,
            Self::SessionLost => 9,
            Self::ClientFault => 10,
            Self::Cancelled => 11,
            Self::Hurried => 12,
            Self::ApplicationError => 13,
            Self::Code(code) => 14 + usize::from(code.0),
        }
    }

    /// What the `error_type` and `rpc_response_status_code` labels say of it; spans say the same.
    pub(crate) fn labels(self, side: Side) -> [&'static str; 2] {
        match self {
            Self::None => ["", ""],
            Self::ToolError => ["tool_error", ""],
            Self::Rejected => ["rejected", ""],
            Self::Timeout => ["timeout", ""],
            Self::Panic => ["panic", ""],
            Self::NotSent => ["not_sent", ""],
            Self::Throttled => ["throttled", ""],
            Self::Ambiguous => ["ambiguous", ""],
            Self::Denied => ["denied", ""],
            Self::SessionLost => ["session_lost", ""],
            Self::ClientFault => ["client_fault", ""],
            Self::Cancelled => ["cancelled", ""],
            Self::Hurried => ["hurried", ""],
            Self::ApplicationError => ["application_error", OTHER],
            Self::Code(code) if side == Side::Server && code.is_callers() => ["", code.as_str()],
            Self::Code(code) => [code.as_str(), code.as_str()],
        }
    }
}

/// Whose view a duration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The call's: [`SERVER_DURATION`].
    Server,
    /// An attempt's: [`CLIENT_DURATION`].
    Client,
}

/// The duration histograms of one target on one side: a handle per outcome, made when the outcome is first seen.
pub(crate) struct Durations {
    side: Side,
    subject: Arc<Subject>,
    /// Each with whether it is the target's own.
    series: [OnceLock<(Histogram, bool)>; ErrorType::COUNT],
}

impl Durations {
    pub(crate) fn new(side: Side, subject: Arc<Subject>) -> Self {
        let durations = Self { side, subject, series: std::array::from_fn(|_| OnceLock::new()) };
        // The series that every dashboard divides by is there from the start.
        durations.series(ErrorType::None);
        durations
    }

    /// Says whether it went into a series of the target's own.
    #[inline]
    pub(crate) fn record(&self, outcome: ErrorType, duration: Duration) -> bool {
        let (histogram, own) = self.series(outcome);
        histogram.record(duration.as_secs_f64());
        *own
    }

    fn series(&self, outcome: ErrorType) -> &(Histogram, bool) {
        self.series[outcome.index()].get_or_init(|| {
            let labels = outcome.labels(self.side);
            match self.side {
                Side::Server => self.subject.histogram(SERVER_DURATION, &labels),
                Side::Client if self.subject.is_detailed() => self.subject.histogram(CLIENT_DURATION, &labels),
                // Of many names, how long their calls took matters more, and attempts are much like them.
                Side::Client => (self.subject.shared_histogram(CLIENT_DURATION, &labels), false),
            }
        })
    }
}

impl fmt::Debug for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durations").field("side", &self.side).finish_non_exhaustive()
    }
}

/// All that `rpc_response_status_code` says.
pub(super) fn codes() -> Vec<&'static str> {
    CODES.iter().map(|(_, label)| *label).chain([OTHER]).collect()
}

/// All that `error_type` says.
pub(super) fn error_types() -> Vec<&'static str> {
    let codes = (0..=CODES.len()).filter_map(|place| Some(ErrorType::Code(RpcCode(u8::try_from(place).ok()?))));
    let words = [
        ErrorType::ToolError,
        ErrorType::Rejected,
        ErrorType::Timeout,
        ErrorType::Panic,
        ErrorType::NotSent,
        ErrorType::Throttled,
        ErrorType::Ambiguous,
        ErrorType::Denied,
        ErrorType::SessionLost,
        ErrorType::ClientFault,
        ErrorType::Cancelled,
        ErrorType::Hurried,
        ErrorType::ApplicationError,
    ];
    words.into_iter().chain(codes).map(|end| end.labels(Side::Client)[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::ErrorObject;

    fn labels(response: Response<&'static str>) -> [&'static str; 2] {
        ErrorType::of(&Ok(response)).labels(Side::Server)
    }

    #[test]
    fn who_is_in_a_hurry_is_told_from_a_tool_that_hangs() {
        let mut hurried = Response::from_error(ErrorObject::new(504, "no"));
        hurried.verdict = Some(Verdict::Hurried);
        assert_eq!(labels(hurried), ["hurried", ""]);
        let mut refused = Response::from_error(ErrorObject::new(504, "no"));
        refused.verdict = Some(Verdict::RemoteReject { retry_after: None });
        assert_eq!(labels(refused), ["rejected", ""], "by the next hop");
    }

    #[test]
    fn an_applications_own_code_is_told_from_one_that_leaves_a_doubt() {
        let of = |code| labels(Response::from_error(ErrorObject::new(code, "no")));
        assert_eq!(of(1001), ["application_error", "_OTHER"]);
        assert_eq!(of(-32050), ["_OTHER", "_OTHER"]);
        let mut in_doubt = Response::from_error(ErrorObject::new(1001, "no"));
        in_doubt.verdict = Some(Verdict::AMBIGUOUS);
        assert_eq!(labels(in_doubt), ["_OTHER", "_OTHER"]);
        for (code, label) in [(-32000, "-32000"), (-32001, "-32001"), (429, "429"), (503, "503"), (504, "504")] {
            assert_eq!(of(code), [label, label]);
        }
    }

    #[test]
    fn each_end_has_a_place_of_its_own() {
        let codes = CODES.iter().map(|(code, _)| *code).chain([1 << 40]).map(|code| ErrorType::Code(RpcCode::of(code)));
        let places: Vec<usize> = [ErrorType::Cancelled, ErrorType::Hurried, ErrorType::ApplicationError]
            .into_iter()
            .chain(codes)
            .map(ErrorType::index)
            .collect();
        assert_eq!(places, (11..ErrorType::COUNT).collect::<Vec<_>>());
    }
}
