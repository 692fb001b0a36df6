use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{
    QuotaFuture,
    shared::{Answer, Counted, Shared},
    ticket::Ticket,
};
use crate::{
    call::{Request, Response},
    error::BoxError,
    gate::let_go,
};

/// Limits how many calls reach the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct QuotaService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> QuotaService<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, P, R> Service<Request<P>> for QuotaService<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = QuotaFuture<S, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let head = &request.head;
        let mut ticket = Ticket::default();
        let answer = if head.target.is_exempt() { Answer::Free } else { self.shared.admit(head, &mut ticket) };
        match answer {
            Answer::Free => QuotaFuture::running(self.inner.call(request), None),
            Answer::Counted(standing) => {
                let future = self.inner.call(request);
                QuotaFuture::running(future, Some(Counted { shared: self.shared.clone(), ticket, standing }))
            }
            Answer::Later(turn) => {
                let_go(&mut self.inner);
                QuotaFuture::waiting(turn, request, self.inner.clone())
            }
            Answer::Refused(rejected) => {
                let_go(&mut self.inner);
                QuotaFuture::refused(rejected)
            }
        }
    }
}
