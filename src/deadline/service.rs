use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::layer::InForce;
use crate::{
    call::{Deadline, Head, Request, Response},
    error::{BoxError, Reason, Rejected},
    gate::{Gate, let_go},
};

/// Stamps each call with its deadline. See the [module](super).
#[derive(Debug, Clone)]
pub struct DeadlineService<S> {
    inner: S,
    in_force: Arc<InForce>,
}

impl<S> DeadlineService<S> {
    pub(super) const fn new(inner: S, in_force: Arc<InForce>) -> Self {
        Self { inner, in_force }
    }
}

impl<S, P, R> Service<Request<P>> for DeadlineService<S>
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
    fn call(&mut self, mut request: Request<P>) -> Self::Future {
        let head = &mut request.head;
        head.deadline = head.deadline.tightened(self.in_force.from(head.arrived));
        if let Some(own) = callers_own(head) {
            head.deadline = head.deadline.tightened(own);
        }
        let late = head.deadline.end(None).is_some_and(|(end, _)| end <= head.arrived);
        if late && !head.target.is_exempt() {
            let_go(&mut self.inner);
            return Gate::refused(Rejected::new("deadline", Reason::Deadline));
        }
        Gate::passed(self.inner.call(request))
    }
}

/// How long the sender of the request will wait, by its own word.
fn callers_own(head: &Head) -> Option<Deadline> {
    let end = head.arrived.checked_add(head.meta.as_ref()?.timeout?)?;
    // Progress moves it, here as there: it passes through to the sender.
    Some(Deadline { soft: Some(end), idle: None, hard: None })
}
