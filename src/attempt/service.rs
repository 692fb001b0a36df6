use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::AttemptFuture;
use crate::{
    call::{CallResult, Request, Response, Slot},
    error::BoxError,
    metrics::{Durations, Side, Subject},
};

/// Classifies and records each attempt at the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct Attempt<S> {
    inner: S,
    slot: Slot<Arc<Durations>>,
}

impl<S> Attempt<S> {
    pub(super) const fn new(inner: S, slot: Slot<Arc<Durations>>) -> Self {
        Self { inner, slot }
    }
}

impl<S, P, R> Service<Request<P>> for Attempt<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = AttemptFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let target = &request.head.target;
        let durations = target.cell(&self.slot, || Arc::new(Durations::new(Side::Client, Subject::of(target)))).clone();
        let hurries = request.head.granted.is_some() || target.method().waits();
        let judged = target.is_judged().then(|| (target.clone(), hurries));
        let began = request.head.attempt_at;
        AttemptFuture::new(self.inner.call(request), judged, durations, began)
    }
}
