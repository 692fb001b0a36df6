use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use tower::Service;

use super::{
    PanicFuture,
    layer::{Panics, Witness},
};
use crate::{
    call::{Request, Response, Slot},
    error::BoxError,
};

/// Turns panics of the inner service into errors. See the [module](super).
#[derive(Debug, Clone)]
pub struct PanicGuard<S> {
    inner: S,
    slot: Slot<Panics>,
}

impl<S> PanicGuard<S> {
    pub(super) const fn new(inner: S, slot: Slot<Panics>) -> Self {
        Self { inner, slot }
    }
}

impl<S, P, R> Service<Request<P>> for PanicGuard<S>
where
    S: Service<Request<P>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = PanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request<P>) -> Self::Future {
        let witness = Witness { target: request.head.target.clone(), slot: self.slot };
        // A service that panicked halfway may be in a state of its own making, but not in an unsound one, and the next call
        // would meet the same service without this guard too.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => PanicFuture::running(future, witness),
            Err(panic) => PanicFuture::panicked(witness.saw(&*panic), witness),
        }
    }
}
