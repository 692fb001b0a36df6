use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{layer::Limits, store::Store};
use crate::{
    call::{Caller, Digest, Request, Response},
    error::BoxError,
    gate::Gate,
};

/// Limits how many calls reach the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct QuotaService<S> {
    inner: S,
    limits: Limits,
    store: Arc<Store>,
    /// What stands for the tenant in limits that all tenants share.
    shared: Digest,
}

impl<S> QuotaService<S> {
    pub(super) fn new(inner: S, limits: Limits, store: Arc<Store>) -> Self {
        Self { inner, limits, store, shared: Caller::nobody() }
    }
}

impl<S, P, R> Service<Request<P>> for QuotaService<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Gate<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let head = &request.head;
        if !head.target.is_exempt()
            && let Err(rejected) = self.limits.admit(&self.store, head, self.shared, head.arrived)
        {
            return Gate::refused(rejected);
        }
        Gate::passed(self.inner.call(request))
    }
}
