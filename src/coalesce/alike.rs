//! When two calls may be one.

use crate::call::{Admission, CacheScope, CallParams, Criticality, Head, Identity, Key, Question, Repeats, Request};

/// What makes a call the same as another, and as good: who joins gets what is done for the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Alike {
    key: Key,
    /// Else a critical call would be shed with a sheddable one.
    criticality: Criticality,
    /// What the sender repeats of the call, and this stack does not.
    repeated: Option<Repeats>,
}

impl Alike {
    /// `None`: the call is not to be shared.
    pub(super) fn of<P: CallParams>(request: &Request<P>, single_caller: bool) -> Option<Self> {
        let head = &request.head;
        if !may_be_shared(head) {
            return None;
        }
        let identity = Identity::of(head, single_caller)?;
        let key = Question::of(request)?.scoped(CacheScope::Private, Some(identity))?;
        let repeated = head.meta.as_ref().and_then(|meta| meta.repeated());
        Some(Self { key, criticality: head.criticality(), repeated })
    }
}

/// An idempotent write is safe to repeat, and yet not to share: another write may have come between the two. Nor is an attempt
/// that is given up sooner than others, since it must not wait or is spare.
fn may_be_shared(head: &Head) -> bool {
    let target = &head.target;
    let waits = head.admission == Admission::Wait && !head.spare;
    target.is_read_only() && waits && target.is_idempotent() && head.peer.is_none() && !target.is_exempt()
}
