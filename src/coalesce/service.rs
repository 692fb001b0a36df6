use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tower::Service;

use super::{Alike, CoalesceFuture, layer::Shared, work::Work};
use crate::{
    call::{CallParams, CallResult, Deadline, Head, Request, Response, falls_short},
    error::{BoxError, Clock},
    metrics::{COALESCED, Subject},
};

/// Makes one call to the inner service of calls that ask the same at the same time. See the [module](super).
#[derive(Debug, Clone)]
pub struct Coalesce<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Coalesce<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for Coalesce<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    P: CallParams + Send + 'static,
    R: CallResult + Send + Sync + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = CoalesceFuture<S, P, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let Some(alike) = Alike::of(&request, self.shared.single_caller) else {
            return CoalesceFuture::passed(self.inner.call(request));
        };
        let head = &request.head;
        let (began, deadline, target) = (head.arrived, head.deadline, head.target.clone());
        let end = own_end(head);
        // The service that was found ready goes into the call; who joins one does not keep what it has reserved.
        let fresh = self.inner.clone();
        let mut unsent = Some((std::mem::replace(&mut self.inner, fresh), request));
        // Not taken where there is a call to join.
        let waiter = self.shared.flights.join(alike, deadline, |seat, joint| {
            let call = unsent.take().map(|(service, mut request)| {
                request.head.deadline = Deadline::default();
                request.head.joint = Some(joint);
                (service, request)
            });
            Work::new(call, seat)
        });
        // Made on the first call, so that a scrape shows the zero before the first joins.
        let joins = target.cell(&self.shared.slot, || Subject::of(&target).counter(COALESCED, &[]));
        match waiter {
            Some(waiter) => {
                if !waiter.has_led() {
                    joins.increment(1);
                }
                // A clone is not ready: who waits holds nothing that the inner service has reserved.
                let own = unsent.map(|(_, request)| (self.inner.clone(), request));
                CoalesceFuture::waiting(waiter, own, began, end)
            }
            None => match unsent {
                Some((mut service, request)) => CoalesceFuture::passed(service.call(request)),
                None => CoalesceFuture::done(),
            },
        }
    }
}

/// When a waiter leaves, and by which clock: who gives the call less than a fair time says nothing of the target.
fn own_end(head: &Head) -> Option<(Instant, Clock)> {
    let (end, clock) = head.deadline.end(None)?;
    let had = end.saturating_duration_since(head.arrived);
    let hurries = head.granted.is_some_and(|granted| falls_short(had, granted));
    Some((end, if hurries { Clock::Patience } else { clock }))
}
