use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{AuditFuture, entry::Open, layer::Shared};
use crate::{
    call::{CallParams, CallResult, Request, Response},
    error::BoxError,
    gate::{Gate, let_go},
};

/// Puts each call to the inner service on record. See the [module](super).
#[derive(Debug, Clone)]
pub struct Audit<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Audit<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for Audit<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    P: CallParams,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = AuditFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let shared = &self.shared;
        if !shared.settings.covers(request.head.method()) {
            return AuditFuture::new(Gate::passed(self.inner.call(request)), None);
        }
        shared.meet(&request.head.target);
        let mut open = Open::new(shared, &request);
        let gate = match open.admit() {
            Ok(()) => Gate::passed(open.inside(|| self.inner.call(request))),
            Err(rejected) => {
                let_go(&mut self.inner);
                Gate::refused(rejected)
            }
        };
        AuditFuture::new(gate, Some(open))
    }
}
