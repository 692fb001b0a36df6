use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::layer::Shared;
use crate::{
    call::{Request, Response},
    error::{BoxError, Reason, Rejected},
    gate::{Gate, Mode, let_go},
};

/// Limits the rate of attempts at the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct RateLimited<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> RateLimited<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for RateLimited<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Gate<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let head = &request.head;
        let setting = self.shared.setting.load();
        if let Some(limiter) = &setting.limiter
            && !head.target.is_exempt()
            && let Err(delay) = limiter.check(head)
        {
            match setting.mode {
                Mode::Enforce => {
                    let_go(&mut self.inner);
                    return Gate::refused(Rejected::new("rate_limit", Reason::RateLimit).retry_after(Some(delay)));
                }
                Mode::Observe => self.shared.observe(&head.target),
            }
        }
        Gate::passed(self.inner.call(request))
    }
}
