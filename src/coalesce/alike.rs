//! When two calls may be one.

use crate::call::{Admission, CacheScope, CallParams, Criticality, Head, Identity, Key, Question, Request};

/// What makes a call the same as another, and as good: who joins gets what is done for the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Alike {
    key: Key,
    /// Else a critical call would be shed with a sheddable one.
    criticality: Criticality,
    /// Whether the sender repeats the call, and this stack does not.
    marked: bool,
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
        let marked = head.meta.as_ref().is_some_and(|meta| meta.attempt.is_some());
        Some(Self { key, criticality: head.criticality(), marked })
    }
}

/// An idempotent write is safe to repeat, and yet not to share: another write may have come between the two. Nor is an attempt that
/// is given up sooner than others, since it must not wait or is spare.
fn may_be_shared(head: &Head) -> bool {
    let target = &head.target;
    let waits = head.admission == Admission::Wait && !head.spare;
    target.is_read_only() && waits && target.is_safe() && head.peer.is_none() && !target.is_exempt()
}
