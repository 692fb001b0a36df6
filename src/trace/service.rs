use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{TraceFuture, policy::Policy, span::Open};
use crate::{
    call::{CallParams, CallResult, Head, Request, Response},
    error::BoxError,
    metrics::Side,
};

/// Opens a span for each call to the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
    side: Side,
    policy: Policy,
}

impl<S> Trace<S> {
    pub(super) const fn new(inner: S, side: Side, policy: Policy) -> Self {
        Self { inner, side, policy }
    }
}

impl<S, P, R> Service<Request<P>> for Trace<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    P: CallParams,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request<P>) -> Self::Future {
        let open = match self.side {
            Side::Server => {
                let open = Open::call(&request, &self.policy);
                at_the_edge(&mut request.head, open.as_ref(), &self.policy);
                open
            }
            Side::Client => {
                let open = Open::attempt(&request.head);
                in_an_attempt(&mut request.head, open.as_ref());
                open
            }
        };
        let future = match &open {
            Some(open) => open.inside(|| self.inner.call(request)),
            None => self.inner.call(request),
        };
        TraceFuture::new(future, open)
    }
}

/// What the caller says of traces goes on only as far as the policy lets it, also where nobody listens.
fn at_the_edge(head: &mut Head, open: Option<&Open>, policy: &Policy) {
    head.traced = Some(policy.traced(head.meta.as_deref(), open.and_then(Open::context)));
}

/// The next hop's parent is the attempt that it sees.
fn in_an_attempt(head: &mut Head, open: Option<&Open>) {
    if let Some(context) = open.and_then(Open::context) {
        Arc::make_mut(head.traced.get_or_insert_default()).span = Some(context);
    }
}
