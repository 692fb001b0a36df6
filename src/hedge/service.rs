use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tower::Service;

use super::{
    HedgeFuture,
    layer::Shared,
    race::{Race, Spare},
    tool::Tool,
};
use crate::{
    call::{Admission, Head, Repeats, Request, Response, Turn},
    error::BoxError,
};

/// Makes a second attempt at calls to the inner service that take unusually long. See the [module](super).
#[derive(Debug, Clone)]
pub struct Hedge<S> {
    inner: S,
    shared: Arc<Shared>,
    /// Where a future finds a service for the second attempt.
    pristine: Arc<S>,
}

impl<S: Clone> Hedge<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { pristine: Arc::new(inner.clone()), inner, shared }
    }
}

/// A call that is repeated elsewhere, that must not wait, or that waits for work elsewhere, is not hedged; nor one that an
/// idempotency key alone makes safe: two at once under one key are a conflict.
fn may_be_hedged(head: &Head) -> bool {
    let elsewhere = head.meta.as_ref().and_then(|meta| meta.repeated()) == Some(Repeats::All);
    let takes_its_time = head.method().waits();
    let first = head.admission == Admission::Wait && !head.spare;
    head.target.is_idempotent() && !head.target.is_exempt() && !head.is_committed() && first && !elsewhere && !takes_its_time
}

impl<S, P, R> Service<Request<P>> for Hedge<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: Clone,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = HedgeFuture<S, P, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<P>) -> Self::Future {
        if !may_be_hedged(&request.head) {
            return HedgeFuture::passed(self.inner.call(request));
        }
        let (head, now) = (&mut request.head, Instant::now());
        let tool = head.target.cell(&self.shared.slot, || Tool::new(&head.target, now)).clone();
        let (peer, reads, delay) = (head.peer.clone(), head.target.is_read_only(), tool.begin(self.shared.share()));
        let due = delay.and_then(|delay| now.checked_add(delay)).filter(|due| head.end().is_none_or(|(end, _)| *due < end));
        let spare = due.map(|at| {
            let turn = Turn::default();
            request.head.turn = Some(turn.clone());
            Spare { at, turn, request: request.clone(), pristine: self.pristine.clone() }
        });
        HedgeFuture::racing(self.inner.call(request), peer, Race::new(tool, reads, now, spare))
    }
}
