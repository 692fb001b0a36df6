use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{FaultFuture, layer::Shared};
use crate::{
    call::{CallResult, Request, Response},
    error::BoxError,
    gate::let_go,
};

/// Breaks calls to the inner service on purpose. See the [module](super).
#[derive(Debug, Clone)]
pub struct FaultService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> FaultService<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for FaultService<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    R: CallResult,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = FaultFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let fate = self.shared.draw(&request.head.target);
        let reaches = fate.fault.is_none_or(|fault| fault.reaches_the_handler());
        if !reaches {
            let_go(&mut self.inner);
        }
        FaultFuture::new(reaches.then(|| self.inner.call(request)), fate)
    }
}
