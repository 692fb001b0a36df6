use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::RateLimit;
use crate::{
    call::{Request, Response},
    error::{BoxError, Reason, Rejected},
    gate::Gate,
};

/// Limits the rate of attempts at the inner service. See the [module](super).
#[derive(Clone)]
pub struct RateLimited<S> {
    inner: S,
    limiter: Option<Arc<dyn RateLimit>>,
}

impl<S> RateLimited<S> {
    pub(super) fn new(inner: S, limiter: Option<Arc<dyn RateLimit>>) -> Self {
        Self { inner, limiter }
    }
}

impl<S, P, R> Service<Request<P>> for RateLimited<S>
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
        if let Some(limiter) = &self.limiter
            && !request.head.target.is_exempt()
            && let Err(delay) = limiter.check(&request.head)
        {
            return Gate::refused(Rejected::new("rate_limit", Reason::RateLimit).retry_after(Some(delay)));
        }
        Gate::passed(self.inner.call(request))
    }
}

impl<S: fmt::Debug> fmt::Debug for RateLimited<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited").field("inner", &self.inner).finish_non_exhaustive()
    }
}
