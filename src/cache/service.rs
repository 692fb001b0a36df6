use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tower::Service;

use super::{
    CacheFuture,
    entry::Refresh,
    fill::Fill,
    rules::Standing,
    store::{Lookup, Store},
};
use crate::{
    call::{Admission, CallParams, CallResult, Deadline, Joint, Request, Response},
    error::BoxError,
};

/// Keeps answers of the inner service. See the [module](super).
#[derive(Debug, Clone)]
pub struct Cache<S> {
    inner: S,
    store: Arc<Store>,
}

/// How long a fetch in the background may take where the call has no deadline.
const REFRESH_LIMIT: Duration = Duration::from_secs(60);

impl<S> Cache<S> {
    pub(super) const fn new(inner: S, store: Arc<Store>) -> Self {
        Self { inner, store }
    }
}

impl<S, P, R> Service<Request<P>> for Cache<S>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    P: CallParams,
    R: CallResult + Send + Sync + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = CacheFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<P>) -> Self::Future {
        let store = &self.store;
        let Some(ask) = store.ask(&request) else {
            return CacheFuture::passed(self.inner.call(request));
        };
        let (cell, now) = (store.cell(&ask.target), Instant::now());
        let kept = store.find(&ask);
        let nothing = (Standing::Dead, Duration::ZERO);
        let (standing, fresh_for) = kept.as_ref().map_or(nothing, |kept| store.standing(&ask, &kept.entry, now));
        let answer = match (&kept, standing) {
            (Some(kept), Standing::Fresh) => kept.entry.answer(now, Some(fresh_for)),
            (Some(kept), Standing::Stale) => kept.entry.answer(now, None),
            _ => None,
        };
        match (answer, kept) {
            (Some(answer), _) if standing == Standing::Fresh => {
                cell.count(Lookup::Hit);
                CacheFuture::found(answer)
            }
            (Some(answer), Some(kept)) if Handle::try_current().is_ok() => {
                cell.count(Lookup::Stale);
                if let Some(refresh) = store.refresh(&kept) {
                    self.refresh(refresh, Fill { store: store.clone(), ask, kept: Some(kept) }, request);
                }
                CacheFuture::found(answer)
            }
            (_, kept) => {
                cell.count(Lookup::Miss);
                let fill = Fill { store: store.clone(), ask, kept };
                CacheFuture::filling(self.inner.call(request), fill)
            }
        }
    }
}

impl<S> Cache<S> {
    /// Fetches an answer anew, in a task of its own: nobody waits for it.
    fn refresh<P, R>(&mut self, refresh: Refresh, fill: Fill, mut request: Request<P>)
    where
        S: Service<Request<P>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        R: CallResult + Send + Sync + 'static,
    {
        let head = &mut request.head;
        head.peer = None;
        // Nobody waits for it, so whoever asks has no say in how long it may take: it would be stale for as long as callers hurry.
        if let Some(granted) = head.granted.take() {
            head.deadline = Deadline { soft: head.arrived.checked_add(granted), ..Deadline::default() };
        }
        // It outlives the request that it was made of, and takes no slot that somebody waits for. But it may be a breaker's
        // probe: where all are served what is kept, no other call comes that could be.
        head.joint = Some(Joint::new(head.deadline));
        head.admission = Admission::NoWait;
        let end = head.deadline.end(None).map_or_else(|| Instant::now() + REFRESH_LIMIT, |(end, _)| end);
        let call = self.inner.call(request);
        tokio::spawn(async move {
            let _under_way = refresh;
            if let Ok(outcome) = timeout_at(end, call).await {
                fill.learn(&outcome.map_err(Into::into));
            }
        });
    }
}
