use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
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
        if head.method().waits() {
            (head.deadline.soft, head.deadline.idle) = (None, None);
        }
        if let Some(own) = callers_own(head) {
            let [ours, both] =
                [head.deadline, head.deadline.tightened(own)].map(|deadline| deadline.end(None).map(|(end, _)| end));
            head.deadline = head.deadline.tightened(own);
            if both != ours {
                head.granted = Some(ours.map_or(Duration::MAX, |end| end.saturating_duration_since(head.arrived)));
            }
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
    let meta = head.meta.as_ref()?;
    let end = |timeout: Option<Duration>| head.arrived.checked_add(timeout?);
    // Progress moves the one, here as there: it passes through to the sender.
    let (soft, hard) = (end(meta.timeout), end(meta.hard_timeout));
    (soft.is_some() || hard.is_some()).then_some(Deadline { soft, idle: None, hard })
}
