//! The record of one call: opened before the call is made, and closed exactly once, whatever happens.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::Gauge;
use tokio::time::Instant;

use super::{
    HashKey,
    arguments::Said,
    layer::Shared,
    outcome::{Answered, Outcome},
    text::capped,
};
use crate::{
    call::{CallParams, CallResult, Caller, Request, Response, Revision, Served, Session, Target, TraceContext, Verdict},
    classify::{attempts, ended, refusal},
    error::{BoxError, Reason, Rejected},
};

/// How long a word of the caller's may be.
const WORD: usize = 64;
/// How long a name of the caller may be: longer than any key or session id.
const NAME: usize = 256;

/// What will be a line. Bounded, whatever the call holds: it may wait while the disk does not answer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) target: Arc<Target>,
    /// By name only: what is shortened has lost its access token.
    pub(super) caller: Caller,
    pub(super) authenticated: bool,
    pub(super) name: Option<Box<str>>,
    pub(super) request_id: Option<Box<str>>,
    pub(super) revision: Option<Revision>,
    pub(super) session: Option<Session>,
    /// Of the call's span, where a layer outside gives it one.
    pub(super) span: Option<Ids>,
    /// Of the span that the caller says it is made in.
    pub(super) caller_span: Option<Ids>,
    pub(super) arguments: Said,
    pub(super) pseudonyms: Option<HashKey>,
    pub(super) end: End,
    /// From the call's end on.
    pub(super) waiting: Option<Waiting>,
}

/// That a record waits to be written, as the gauge has it: until it is written or lost, and so gone.
pub(super) struct Waiting(Gauge);

impl Waiting {
    pub(super) fn new(backlog: &Gauge) -> Self {
        backlog.increment(1.0);
        Self(backlog.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

/// Which span of which trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    pub(super) trace: u128,
    pub(super) span: u64,
}

impl Ids {
    fn of(context: &TraceContext) -> Self {
        Self { trace: context.trace_id(), span: context.span_id() }
    }
}

/// How the call ended.
#[derive(Debug)]
pub(super) struct End {
    /// When the call arrived, since 1970.
    pub(super) arrived: Duration,
    pub(super) duration: Duration,
    pub(super) outcome: Outcome,
    pub(super) verdict: Option<Verdict>,
    pub(super) refused: Option<(&'static str, Reason)>,
    pub(super) attempts: Option<u32>,
    pub(super) served: Option<Served>,
    pub(super) answered: Option<Answered>,
}

impl End {
    /// Of a call that nobody has seen the end of.
    const fn unseen(outcome: Outcome, verdict: Option<Verdict>) -> Self {
        Self {
            arrived: Duration::ZERO,
            duration: Duration::ZERO,
            outcome,
            verdict,
            refused: None,
            attempts: None,
            served: None,
            answered: None,
        }
    }

    fn of<R: CallResult>(outcome: &Result<Response<R>, BoxError>) -> Self {
        let verdict = Verdict::of(outcome);
        let mut end = Self::unseen(Outcome::of(outcome, verdict), Some(verdict));
        end.attempts = Some(attempts(outcome));
        end.refused = refusal(outcome);
        if let Ok(response) = outcome {
            end.served = Some(response.served);
            end.answered = Some(Answered::of(response));
        }
        end
    }
}

/// A record that is not closed yet. Dropped in that state, the caller has left, or the call has panicked.
#[derive(Debug)]
pub(super) struct Open {
    /// `None`: it is closed.
    entry: Option<Box<Entry>>,
    shared: Arc<Shared>,
    arrived: Instant,
    /// Whether a place in the queue is kept for it.
    reserved: bool,
    /// Whether the inner service is at work right now.
    inside: bool,
}

impl Open {
    pub(super) fn new<P: CallParams>(shared: &Arc<Shared>, request: &Request<P>) -> Self {
        let target = request.head.target.clone();
        let listed = target.name().is_some();
        let word = |word: Option<Cow<'_, str>>| word.map(|word| capped(&word, WORD).into());
        let settings = &shared.settings;
        let entry = Entry {
            caller: bounded(&request.head.caller),
            authenticated: request.head.caller.authorisation().is_some(),
            name: if listed { None } else { word(request.params.name()) },
            request_id: word(request.params.request_id()),
            revision: request.head.revision,
            session: request.head.session_of_revision(),
            span: request.head.traced.as_ref().and_then(|traced| traced.span.as_ref()).map(Ids::of),
            caller_span: request.head.meta.as_ref().and_then(|meta| meta.trace.as_ref()).map(Ids::of),
            arguments: settings.said(&request.params, listed),
            pseudonyms: settings.pseudonyms.clone(),
            end: End::unseen(Outcome::Cancelled, Some(Verdict::Cancelled)),
            waiting: None,
            target,
        };
        let arrived = request.head.arrived;
        Self { entry: Some(Box::new(entry)), shared: shared.clone(), arrived, reserved: false, inside: false }
    }

    /// Keeps a place for the record, where calls without one are not made.
    pub(super) fn admit(&mut self) -> Result<(), Rejected> {
        let exempt = self.entry.as_ref().is_none_or(|entry| entry.target.is_exempt());
        if exempt || !self.shared.settings.fails_closed() {
            return Ok(());
        }
        self.reserved = self.shared.queue.reserve();
        if self.reserved { Ok(()) } else { Err(Rejected::new("audit", Reason::Unrecorded)) }
    }

    /// Runs the inner service. If this unwinds, it has panicked.
    pub(super) fn inside<T>(&mut self, run: impl FnOnce() -> T) -> T {
        self.inside = true;
        let done = run();
        self.inside = false;
        done
    }

    pub(super) fn close<R: CallResult>(&mut self, outcome: &Result<Response<R>, BoxError>) {
        self.finish(End::of(outcome), ended(outcome));
    }

    #[expect(clippy::disallowed_methods, reason = "what is compared with the records of other machines bears the wall's time")]
    fn finish(&mut self, end: End, completed: Instant) {
        let Some(mut entry) = self.entry.take() else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let duration = completed.saturating_duration_since(self.arrived);
        entry.end = End { duration, arrived: now.saturating_sub(duration), ..end };
        self.shared.record(entry, self.reserved);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let end = match self.inside {
            true => End::unseen(Outcome::Panic, None),
            false => End::unseen(Outcome::Cancelled, Some(Verdict::Cancelled)),
        };
        if self.entry.is_some() {
            self.finish(end, Instant::now());
        }
    }
}

/// The caller, with no name longer than a record has room for.
fn bounded(caller: &Caller) -> Caller {
    let names = [Some(caller.tenant()), caller.principal_name(), caller.client_name(), caller.agent_name()];
    if names.into_iter().flatten().all(|name| name.len() <= NAME) {
        return caller.clone();
    }
    let [tenant, principal, client, agent] = names.map(|name| name.map(|name| capped(name, NAME)));
    let mut bounded = Caller::of_tenant(tenant.unwrap_or_default());
    bounded = principal.into_iter().fold(bounded, Caller::principal);
    bounded = client.into_iter().fold(bounded, Caller::client);
    agent.into_iter().fold(bounded, Caller::agent)
}
