use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{agent::Ticket, agents::Who, key::Key, layer::Shared, outcome::News};
use crate::{
    call::{CallParams, CallResult, Digest, Head, Response, Target},
    classify::ended,
    error::BoxError,
    gate::Gate,
};

pin_project! {
    /// The future of [`LoopGuard`](super::LoopGuard).
    #[derive(Debug)]
    pub struct LoopGuardFuture<F, P> {
        #[pin]
        inner: Gate<F>,
        watch: Option<Watch<P>>,
    }
}

impl<F, P> LoopGuardFuture<F, P> {
    pub(super) const fn new(inner: Gate<F>, watch: Option<Watch<P>>) -> Self {
        Self { inner, watch }
    }
}

impl<F, P, R, E> Future for LoopGuardFuture<F, P>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    P: CallParams,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        if let Some(watch) = this.watch.take() {
            watch.settle(&outcome);
        }
        Poll::Ready(outcome)
    }
}

/// A call that was let through, and what has to be known of it when it ends. Dropped before that, it counts nowhere.
pub(super) struct Watch<P> {
    shared: Arc<Shared>,
    who: Who,
    target: Arc<Target>,
    /// Parameters are copied cheaply, and digested dearly: most calls go well, and then nobody asks which call it was.
    params: P,
    authorisation: Option<Digest>,
    /// `None`: not asked for yet.
    key: Option<Option<Key>>,
    ticket: Option<Ticket>,
    /// It goes with a call that has been counted.
    retry: bool,
}

impl<P> Watch<P> {
    pub(super) fn new(shared: Arc<Shared>, who: Who, head: &Head, params: P) -> Self {
        let (target, authorisation) = (head.target.clone(), head.caller.authorisation());
        Self { shared, who, target, params, authorisation, key: None, ticket: None, retry: false }
    }

    pub(super) const fn holds(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    pub(super) const fn retries(&mut self) {
        self.retry = true;
    }
}

impl<P: CallParams> Watch<P> {
    pub(super) fn key(&mut self) -> Option<Key> {
        *self.key.get_or_insert_with(|| Key::of(&self.target, &self.params, self.authorisation))
    }

    fn settle<R: CallResult>(mut self, outcome: &Result<Response<R>, BoxError>) {
        let (shared, who) = (self.shared.clone(), self.who);
        let policy = shared.rules.load().policy;
        let news = News::of(outcome, policy.settings().identical_successes > 0);
        let news = if self.retry { news.of_retry() } else { news };
        let begins = matches!(news, News::Outcome(_));
        // A call that goes well is held against nobody, and nobody who is not remembered has anything to be taken back.
        if news == News::Nothing || !(begins || shared.agents.with(who, |_| ()).is_some()) {
            return;
        }
        let Some(key) = self.key() else { return };
        let now = ended(outcome);
        let ticket = self.ticket.take();
        if begins {
            if let Some(found) = shared.agents.with_new(who, |agent| agent.settle(key, ticket, news, &policy, now)) {
                shared.tell(found, &self.target);
            }
        } else {
            shared.agents.with(who, |agent| agent.settle(key, ticket, news, &policy, now));
            shared.agents.forget_if(who, |agent| agent.is_idle(&policy, now));
        }
    }
}

impl<P> Drop for Watch<P> {
    fn drop(&mut self) {
        if let (Some(ticket), Some(Some(key))) = (self.ticket, self.key) {
            self.shared.agents.with(self.who, |agent| agent.release(key, ticket));
        }
    }
}

impl<P> fmt::Debug for Watch<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("target", &self.target).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
