//! What is to go wrong, how often, and where.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use crate::{
    call::{CallResult, ErrorObject, Facts, Method, Response, Target},
    classify::code,
    error::{BoxError, HttpStatus, Transport},
};

/// Which half of a call is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The request: the handler is never called, so nothing happens.
    Request,
    /// The answer: the handler runs to its end, so whatever it does has happened.
    Answer,
}

/// One way in which a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// HTTP 429: refused for now. The handler is not called.
    Throttled {
        /// The `Retry-After` that goes with it.
        retry_after: Option<Duration>,
    },
    /// The connection is refused. The handler is not called.
    NotSent,
    /// HTTP 425: too early. The handler is not called.
    TooEarly,
    /// HTTP 401: nobody knows who calls. The handler is not called.
    Unauthorized,
    /// HTTP 403: the caller may not. The handler is not called.
    Forbidden,
    /// HTTP 404 to a request of a session: the server has forgotten it. The handler is not called.
    SessionLost,
    /// A tool's own answer that it failed: a result with `isError: true`, or, where the type of results has none, an error of the
    /// application's own.
    ToolError(Lost),
    /// JSON-RPC error -32603: the server failed.
    InternalError(Lost),
    /// HTTP 503.
    Unavailable(Lost),
    /// The connection is reset after the request was sent.
    Reset(Lost),
    /// No answer ever comes.
    Hang(Lost),
    /// The handler panics. Without the panic hook, so that a game day does not fill standard error.
    Panic(Lost),
}

impl Fault {
    /// One of each kind, for labels.
    pub(super) const KINDS: [&'static str; 13] = [
        "slow",
        "throttled",
        "not_sent",
        "too_early",
        "unauthorized",
        "forbidden",
        "session_lost",
        "tool_error",
        "internal_error",
        "unavailable",
        "reset",
        "hang",
        "panic",
    ];

    /// The value of the `fault` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::NotSent => "not_sent",
            Self::TooEarly => "too_early",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::SessionLost => "session_lost",
            Self::ToolError(_) => "tool_error",
            Self::InternalError(_) => "internal_error",
            Self::Unavailable(_) => "unavailable",
            Self::Reset(_) => "reset",
            Self::Hang(_) => "hang",
            Self::Panic(_) => "panic",
        }
    }

    /// Whether the handler runs all the same.
    pub(super) const fn reaches_the_handler(self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::NotSent
            | Self::TooEarly
            | Self::Unauthorized
            | Self::Forbidden
            | Self::SessionLost => false,
            Self::ToolError(lost)
            | Self::InternalError(lost)
            | Self::Unavailable(lost)
            | Self::Reset(lost)
            | Self::Hang(lost)
            | Self::Panic(lost) => matches!(lost, Lost::Answer),
        }
    }

    /// What the call ends in. `None`: it never ends.
    ///
    /// # Panics
    ///
    /// That is one of them.
    pub(super) fn strike<R: CallResult>(self) -> Option<Result<Response<R>, BoxError>> {
        let status = |code, retry_after, in_session| HttpStatus { code, retry_after, in_session };
        let error: BoxError = match self {
            Self::Throttled { retry_after } => status(429, retry_after, false).into(),
            Self::NotSent => Transport::not_sent("injected").into(),
            Self::TooEarly => status(425, None, false).into(),
            Self::Unauthorized => status(401, None, false).into(),
            Self::Forbidden => status(403, None, false).into(),
            Self::SessionLost => status(404, None, true).into(),
            Self::Unavailable(_) => status(503, None, false).into(),
            Self::Reset(_) => Transport::unknown("injected").into(),
            Self::ToolError(_) => {
                let failed = R::tool_error(INJECTED.to_owned(), &Facts::new("tool_error", false));
                return Some(Ok(Response::from_result(failed.map_err(|text| ErrorObject::new(FAILED, text)))));
            }
            Self::InternalError(_) => {
                return Some(Ok(Response::from_error(ErrorObject::new(code::INTERNAL_ERROR, INJECTED))));
            }
            Self::Hang(_) => return None,
            Self::Panic(_) => std::panic::resume_unwind(Box::new("injected")),
        };
        Some(Err(error))
    }
}

/// What an answer that is injected says.
const INJECTED: &str = "Failed on purpose: this answer was injected.";
/// The code of an error of the application's own.
const FAILED: i64 = 1;

/// The trouble that the calls of a target meet: which share of them is slowed down, and which shares meet which fault. The two
/// are drawn apart, so a call may be slow and then fail.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trouble {
    faults: Vec<(Fault, f64)>,
    slow: Option<Slow>,
}

/// A share of the calls that is slowed down.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slow {
    share: f64,
    least: Duration,
    most: Duration,
}

/// Shares are sums of fractions that binary numbers do not hold exactly.
const ROUNDING: f64 = 1e-9;

impl Trouble {
    /// Each fault with the share of the calls that meet it, from 0 to 1. A call meets at most one.
    ///
    /// # Errors
    ///
    /// A share that is none, or shares that are more than 1 together, with the values.
    pub fn new(faults: impl IntoIterator<Item = (Fault, f64)>) -> Result<Self, TroubleError> {
        let faults: Vec<(Fault, f64)> = faults.into_iter().collect();
        for (fault, share) in &faults {
            is_share(fault.as_str(), *share)?;
        }
        let sum: f64 = faults.iter().map(|(_, share)| share).sum();
        if sum > 1.0 + ROUNDING {
            let told: Vec<String> = faults.iter().map(|(fault, share)| format!("{} {share}", fault.as_str())).collect();
            return Err(TroubleError::Sum { sum, shares: told.join(", ") });
        }
        Ok(Self { faults, slow: None })
    }

    /// The same, with this share of the calls slowed down: the handler's future is made at once, and first polled after a delay
    /// that is drawn evenly from `least` to `most`.
    ///
    /// # Errors
    ///
    /// A share that is none, or a `least` above `most`, with the values.
    pub fn slow(mut self, share: f64, least: Duration, most: Duration) -> Result<Self, TroubleError> {
        is_share("slow", share)?;
        if least > most {
            return Err(TroubleError::Delay { least, most });
        }
        self.slow = Some(Slow { share, least, most });
        Ok(self)
    }

    /// What one call meets. Always draws as often, so that a run stays the same when one share of it changes.
    fn draw(&self, rng: &mut Rng) -> Fate {
        let [slowed, how_long, at] = [rng.f64(), rng.f64(), rng.f64()];
        let delay = self.slow.filter(|slow| slowed < slow.share).map(|Slow { least, most, .. }| {
            // At most `most`, which is a duration.
            least + (most - least).mul_f64(how_long)
        });
        let mut below = 0.0;
        let fault = self.faults.iter().find(|(_, share)| {
            below += share;
            at < below
        });
        Fate { delay, fault: fault.map(|(fault, _)| *fault) }
    }
}

fn is_share(of: &'static str, share: f64) -> Result<(), TroubleError> {
    if (0.0..=1.0).contains(&share) { Ok(()) } else { Err(TroubleError::Share { of, share }) }
}

/// What one call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    pub(super) delay: Option<Duration>,
    pub(super) fault: Option<Fault>,
}

/// Which trouble which calls meet. The empty plan breaks nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    all: Option<Trouble>,
    methods: BTreeMap<String, Trouble>,
    named: BTreeMap<String, Trouble>,
}

impl Plan {
    /// This trouble for all targets that get none of their own.
    pub fn all(trouble: Trouble) -> Self {
        Self { all: Some(trouble), ..Self::default() }
    }

    /// The same plan, with this trouble for the calls of this method (`tools/list`, say), in place of what all others meet.
    #[must_use]
    pub fn method(mut self, method: &Method, trouble: Trouble) -> Self {
        self.methods.insert(method.as_str().to_owned(), trouble);
        self
    }

    /// The same plan, with this trouble for the tool or prompt of this name, or the resource template, in place of what its
    /// method or all others meet.
    #[must_use]
    pub fn target(mut self, name: impl Into<String>, trouble: Trouble) -> Self {
        self.named.insert(name.into(), trouble);
        self
    }

    pub(super) fn draw(&self, target: &Target, rng: &mut Rng) -> Fate {
        let own = target.name().and_then(|name| self.named.get(name));
        let own = own.or_else(|| self.methods.get(target.method().as_str()));
        own.or(self.all.as_ref()).map_or_else(Fate::default, |trouble| trouble.draw(rng))
    }
}

/// Why a set of settings is no [`Trouble`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TroubleError {
    /// Not a share.
    #[error("the share of {of} is {share}, but must be from 0 to 1")]
    Share {
        /// What it is the share of.
        of: &'static str,
        /// The share given.
        share: f64,
    },
    /// A call meets one fault at most.
    #[error("the shares are {sum} together, but must be at most 1: {shares}")]
    Sum {
        /// Their sum.
        sum: f64,
        /// Each of them.
        shares: String,
    },
    /// No such delay.
    #[error("the shortest delay is {least:?}, but must be no longer than the longest, which is {most:?}")]
    Delay {
        /// The shortest delay given.
        least: Duration,
        /// The longest delay given.
        most: Duration,
    },
}
