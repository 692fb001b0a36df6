//! One call, as layers see it.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Admission, Caller, Criticality, Deadline, Joint, Meta, Method, Peer, Revision, Session, SlotPool, Target, Traced, Turn,
};
use crate::error::Clock;

/// One MCP call on its way to a handler: to MCP what `http::Request` is to HTTP.
///
/// Layers read the [`Head`] and are generic over the parameters `P`: typed structs of an SDK, or the bytes as they came. A
/// layer that may repeat a call copies it, so `P`'s `Clone` should be cheap (`Bytes`, an `Arc`).
#[derive(Debug, Clone)]
pub struct Request<P> {
    /// What layers read.
    pub head: Head,
    /// What the handler reads.
    pub params: P,
}

impl<P> Request<P> {
    /// A call to `target` that arrives now, from the default caller, without a deadline.
    pub fn new(target: Arc<Target>, params: P) -> Self {
        Self { head: Head::new(target), params }
    }

    /// The same call with other parameters.
    pub fn map<Q>(self, f: impl FnOnce(P) -> Q) -> Request<Q> {
        Request { head: self.head, params: f(self.params) }
    }
}

/// What every layer may read of a call.
#[derive(Clone)]
#[non_exhaustive]
pub struct Head {
    /// What is called. Resolved once, from the [`Catalogue`](crate::catalogue::Catalogue).
    pub target: Arc<Target>,
    /// Who calls.
    pub caller: Caller,
    /// The revision of the protocol that the call is made in. `None`: not known, or one for all calls.
    pub revision: Option<Revision>,
    /// The session that the call is made in. `None`: there are none, or all calls are of one.
    pub session: Option<Session>,
    /// The one clock read at entry.
    pub arrived: Instant,
    /// When the call has to end.
    pub deadline: Deadline,
    /// How long the call could have taken with nothing heard of it, where its caller gives it less: see
    /// [a fair time](crate::timeout#a-fair-time). `None`: it does not.
    pub granted: Option<Duration>,
    /// Set where the call is made for all who ask the same: then the deadline is there, and moves.
    pub joint: Option<Joint>,
    /// Whether this attempt may wait for a slot.
    pub admission: Admission,
    /// Whether nobody is the worse off without this attempt (a hedge): it must not wait, and a breaker that is not closed does not
    /// try its luck with it.
    pub spare: bool,
    /// Which attempt this is, counted from 0.
    pub attempt: u32,
    /// When this attempt began: `arrived` for the first one, later if it had to wait.
    pub attempt_at: Instant,
    /// When this attempt is given up where nothing is heard of it, if that may be before the call ends. The next hop is told so.
    pub attempt_end: Option<Instant>,
    /// Whether another attempt may follow when this one's outcome is unknown. Only then does it make sense to give up on an
    /// attempt before the call itself has to end.
    pub repeatable: bool,
    /// Whether a layer of this stack repeats the call if need be. The next hop is told so, and does not repeat it itself.
    pub repeats: bool,
    /// Set where two layers of this stack could repeat the call: whoever takes it first does.
    pub turn: Option<Turn>,
    /// Where this attempt's slot comes from, if it holds one: for a transport that has to keep one for work that goes on (see
    /// [`held_slot`](Self::held_slot)).
    pub slots: Option<Arc<dyn SlotPool>>,
    /// What the request says about itself. `None`: nothing that a layer reads.
    pub meta: Option<Arc<Meta>>,
    /// What a layer that traces says of the call, and with it to the next hop. `None`: none does, and what the request says of
    /// its trace travels untouched.
    pub traced: Option<Arc<Traced>>,
    /// How to speak to the caller while the call runs. `None`: it did not ask to hear anything.
    pub peer: Option<Peer>,
    /// For layers of your own.
    pub extensions: http::Extensions,
}

impl Head {
    /// See [`Request::new`].
    pub fn new(target: Arc<Target>) -> Self {
        let arrived = Instant::now();
        Self {
            target,
            caller: Caller::default(),
            revision: None,
            session: None,
            arrived,
            deadline: Deadline::default(),
            granted: None,
            joint: None,
            admission: Admission::Wait,
            spare: false,
            attempt: 0,
            attempt_at: arrived,
            attempt_end: None,
            repeatable: false,
            repeats: false,
            turn: None,
            slots: None,
            meta: None,
            traced: None,
            peer: None,
            extensions: http::Extensions::new(),
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.target.method()
    }

    /// How much the call matters: the lower of what the operator says of the caller and of the target.
    pub fn criticality(&self) -> Criticality {
        self.target.criticality().map_or(self.caller.importance(), |target| target.min(self.caller.importance()))
    }

    /// When the call ends as things stand, and which clock says so.
    pub fn end(&self) -> Option<(Instant, Clock)> {
        let deadline = self.joint.as_ref().map_or(self.deadline, Joint::deadline);
        deadline.end(self.peer.as_ref().and_then(Peer::last_progress))
    }

    /// The session, where the revision has such. From 2026-07-28 on none tells one call from another.
    pub(crate) fn session_of_revision(&self) -> Option<Session> {
        self.session.filter(|_| self.revision.is_none_or(Revision::has_sessions))
    }

    /// Whether the caller has already seen something of the outcome: such a call is never repeated.
    pub fn is_committed(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::is_committed)
    }

    /// Whether the call may be repeated when its outcome is unknown: the target is safe, or the call carries an idempotency
    /// key that the backend honours, and nothing of the outcome has been seen yet.
    #[inline]
    pub fn is_idempotent(&self) -> bool {
        let keyed =
            || self.target.honours_idempotency_key() && self.meta.as_ref().is_some_and(|meta| meta.idempotency_key.is_some());
        (self.target.is_idempotent() || keyed()) && !self.is_committed()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("target", &self.target)
            .field("caller", &self.caller)
            .field("deadline", &self.deadline)
            .field("admission", &self.admission)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
