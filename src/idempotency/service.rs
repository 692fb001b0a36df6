use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{IdempotencyFuture, asking::Asking, layer::Shared};
use crate::{
    call::{CallParams, CallResult, Request, Response},
    error::BoxError,
};

/// Makes calls under one idempotency key once. See the [module](super).
#[derive(Debug, Clone)]
pub struct Idempotency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Idempotency<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for Idempotency<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: CallParams,
    R: CallResult + Send + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = IdempotencyFuture<S, P, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let head = &request.head;
        let key = head.meta.as_ref().and_then(|meta| meta.idempotency_key.clone());
        match key {
            Some(key) if !head.target.is_exempt() && self.shared.knows(&head.caller) => {
                // A clone is not ready: a call that waits for another must not hold what the inner service has reserved.
                self.inner = self.inner.clone();
                IdempotencyFuture::asking(Asking::new(self.shared.clone(), key, request, self.inner.clone()))
            }
            _ => IdempotencyFuture::passed(self.inner.call(request)),
        }
    }
}
