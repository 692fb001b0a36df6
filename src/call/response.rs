//! What came back.

use std::{borrow::Cow, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{Digest, Facts, OUTCOME_KEY, Standing, Verdict, Word};

/// A handler's answer: `Ok(Response)` of a service means that it answered, whatever the answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Response<R> {
    /// The result, or the JSON-RPC error object.
    pub result: Result<R, ErrorObject>,
    /// What it means, once the classifier has seen it.
    pub verdict: Option<Verdict>,
    /// What the handler itself said of its outcome (see [`outcome`](crate::outcome)); outranks what the answer looks like.
    pub word: Option<Word>,
    /// How many attempts it took, the last one included.
    pub attempts: u32,
    /// When it came: the classifier's one clock read. `None`: nobody has looked, or it was held back since, and is of now.
    pub completed: Option<Instant>,
    /// Where the answer came from.
    pub served: Served,
    /// Where its caller stands with the limit that was nearest to refusing it, if a limit counted the call.
    pub standing: Option<Standing>,
    /// What machines may read of it, where there is more to say than the answer does. An adapter writes it where the result
    /// does not hold it already: [into the `data`](Facts::add_to) of an error.
    pub facts: Option<Box<Facts>>,
    /// Set where this answer was worded by [`rescue`](crate::rescue), for adapters that still can choose a status.
    pub refusal: Option<Refusal>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Served {
    /// An attempt of this very call.
    #[default]
    Attempt,
    /// An attempt of another call that asked the same at the same time.
    Shared,
    /// An earlier call that asked the same.
    Cache {
        /// How long ago it was answered.
        age: Duration,
        /// Whether it is past its time, and was served all the same.
        stale: bool,
    },
    /// The first call under the same idempotency key.
    Replay,
}

impl Served {
    /// A stable lower-case name, for records and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Shared => "coalesced",
            Self::Cache { stale: false, .. } => "cache",
            Self::Cache { stale: true, .. } => "stale",
            Self::Replay => "idempotency",
        }
    }
}

/// What a transport may say about a refused or lost call outside the JSON-RPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status: 429, 503 or 504.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<std::time::Duration>,
}

/// The member of an error's data in which servers name a delay, in milliseconds.
pub(crate) const RETRY_AFTER: &str = "retryAfterMs";

impl<R> Response<R> {
    /// A result.
    pub fn new(result: R) -> Self {
        Self::from_result(Ok(result))
    }

    /// A JSON-RPC error.
    pub fn from_error(error: ErrorObject) -> Self {
        Self::from_result(Err(error))
    }

    /// Either.
    pub fn from_result(result: Result<R, ErrorObject>) -> Self {
        Self {
            result,
            verdict: None,
            word: None,
            attempts: 1,
            completed: None,
            served: Served::Attempt,
            standing: None,
            facts: None,
            refusal: None,
        }
    }

    /// The same answer with the handler's word on what happened. For services that cannot call
    /// [`outcome`](crate::outcome)'s functions while they run.
    #[must_use]
    pub fn with_word(mut self, word: Word) -> Self {
        self.word = Some(word);
        self
    }

    /// The code of the JSON-RPC error that this is, whichever side of the result it stands on: raw messages
    /// [carry theirs within](ResultKind::Error). `None`: it is a result.
    pub fn error_code(&self) -> Option<i64>
    where
        R: CallResult,
    {
        match &self.result {
            Err(error) => Some(error.code),
            Ok(result) => match result.kind() {
                ResultKind::Error(code) => Some(code),
                _ => None,
            },
        }
    }

    /// What that error says. `None`: it is a result, or the error says nothing.
    pub(crate) fn error_message(&self) -> Option<Cow<'_, str>>
    where
        R: CallResult,
    {
        self.error_code()?;
        match &self.result {
            Err(error) => Some(Cow::Borrowed(&error.message)),
            Ok(result) => result.error_text(),
        }
    }

    /// The same answer with another result type.
    pub fn map<T>(self, f: impl FnOnce(R) -> T) -> Response<T> {
        Response {
            result: self.result.map(f),
            verdict: self.verdict,
            word: self.word,
            attempts: self.attempts,
            completed: self.completed,
            served: self.served,
            standing: self.standing,
            facts: self.facts,
            refusal: self.refusal,
        }
    }
}

/// A JSON-RPC error object.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorObject {
    /// The code.
    pub code: i64,
    /// One sentence.
    pub message: Cow<'static, str>,
    /// Anything more.
    pub data: Option<Value>,
}

impl ErrorObject {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The delay that its data names, as [`CallResult::retry_after`] does.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.data.as_ref()?.get(RETRY_AFTER)?.as_u64().map(Duration::from_millis)
    }

    /// As [`CallResult::clear_facts`] does.
    pub(crate) fn clear_facts(&mut self) {
        if let Some(Value::Object(data)) = &mut self.data
            && data.remove(OUTCOME_KEY).is_some()
            && data.is_empty()
        {
            self.data = None;
        }
    }
}

impl std::fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ErrorObject {}

/// What kind of answer a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultKind {
    /// A result that does not say whether it is a success: for the handler's own types. Taken for one, unless the handler
    /// says otherwise (see [`outcome`](crate::outcome)).
    Unstated,
    /// `resultType` is `complete`, or absent.
    Complete,
    /// A tool result with `isError: true`.
    ToolError,
    /// `resultType` is `input_required`.
    InputRequired,
    /// `resultType` is `task`; or, in revision 2025-11-25, which has no types, there is a `task` with a `taskId`.
    Task,
    /// `resultType` is none of these, or the result cannot be read: not valid for a client that does not know it either. Taken
    /// for the tool's own failure: the server has spoken, and what it said is neither repeated nor kept.
    Unrecognised,
    /// A JSON-RPC error that this result type carries within itself (raw messages).
    Error(i64),
}

impl ResultKind {
    /// What a result's `resultType` and `isError` say; `is_task` tells whether it has a `task` with a `taskId`.
    pub(crate) fn stated(result_type: Option<&str>, is_error: Option<bool>, is_task: impl FnOnce() -> bool) -> Self {
        match (result_type, is_error) {
            (Some("input_required"), _) => Self::InputRequired,
            (Some("task"), _) => Self::Task,
            (None | Some("complete"), Some(true)) => Self::ToolError,
            (None, _) if is_task() => Self::Task,
            (None | Some("complete"), _) => Self::Complete,
            (Some(_), _) => Self::Unrecognised,
        }
    }
}

/// How long a result may be served again, and to whom (specification, Caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Freshness {
    /// `ttlMs`: how long after it was received a result is fresh. Zero, also where it is absent or negative: not at all.
    pub ttl: Duration,
    /// `cacheScope`.
    pub scope: CacheScope,
}

impl Freshness {
    /// Fresh for `ttl`, for those whom `scope` says.
    pub const fn new(ttl: Duration, scope: CacheScope) -> Self {
        Self { ttl, scope }
    }
}

/// Who may be served a result that somebody else asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheScope {
    /// Everybody.
    Public,
    /// The same authorisation only; also where it is absent.
    #[default]
    Private,
}

/// A result type that the stack can read, and answer in.
///
/// An adapter implements it for its SDK's result; implement it for your own where you put the layers around a plain
/// function. The defaults suit a function that either answers or fails. A [`serde_json::Value`] is read as the `result` object
/// of a response.
pub trait CallResult: Sized + Clone {
    /// What kind of answer this is.
    fn kind(&self) -> ResultKind {
        ResultKind::Unstated
    }

    /// What a tool result with `isError: true` says to the model, or the message of a JSON-RPC error that this type carries, for
    /// [`TargetPolicy::judge_errors`](super::TargetPolicy).
    fn error_text(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The same for machines: the `structuredContent` of the result, or the `data` of the error.
    fn structured(&self) -> Option<Cow<'_, Value>> {
        None
    }

    /// What a stack behind the next hop says of the outcome: the object under our own key in `_meta` (see
    /// [`rescue`](crate::rescue)). Read only where the operator trusts that hop.
    fn said_facts(&self) -> Option<Value> {
        None
    }

    /// The delay that a [JSON-RPC error](ResultKind::Error) carried within names in its data (`retryAfterMs`).
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Takes out what [`said_facts`](Self::said_facts) reads, wherever else the result may hold it: from a server that the
    /// operator does not trust it would be taken for ours by whoever trusts us.
    fn clear_facts(&mut self) {}

    /// How long this result may be served again, and to whom.
    fn freshness(&self) -> Freshness {
        Freshness::default()
    }

    /// Says how long this result may still be served again, where it says anything of that: an answer that was kept has aged.
    fn set_ttl(&mut self, left: Duration) {
        let _ = left;
    }

    /// About how many bytes of memory the result takes, for what keeps results.
    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    /// How many bytes the result has on the wire, where that is at hand. `None`: it would have to be written first.
    fn bytes(&self) -> Option<usize> {
        None
    }

    /// A digest of what the result says, equal for two results only if a caller cannot tell them apart but by what a server
    /// stamps on each of them (`_meta`). `None`: unknown.
    fn digest(&self) -> Option<Digest> {
        None
    }

    /// A tool result with `isError: true` that says `text` to the model and carries `facts` (under our own `_meta` key).
    ///
    /// # Errors
    ///
    /// The text, where this type has no such result: a JSON-RPC error is used instead.
    fn tool_error(text: String, facts: &Facts) -> Result<Self, String> {
        let _ = facts;
        Err(text)
    }

    /// Adds `text` and `facts` to an answer that the handler gave, where the type can hold them.
    fn add_notice(&mut self, text: &str, facts: &Facts) {
        let _ = (text, facts);
    }
}

impl CallResult for () {}

impl CallResult for String {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.len()
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.len())
    }

    fn digest(&self) -> Option<Digest> {
        Some(Digest::of(self.as_bytes()))
    }

    fn tool_error(text: String, _facts: &Facts) -> Result<Self, String> {
        Ok(text)
    }
}

impl CallResult for &'static str {
    fn digest(&self) -> Option<Digest> {
        Some(Digest::of(self.as_bytes()))
    }
}
