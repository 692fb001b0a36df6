//! `subscriptions/listen`: a stream, not a call, and so a service of its own with a cap of its own.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use ::rmcp::{
    ErrorData,
    model::{ErrorCode, RequestId},
};
use futures_util::FutureExt;
use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    call::Target,
    metrics::{REJECTIONS, SUBSCRIPTIONS, Subject, upstream},
};

/// The open subscriptions of one server.
#[derive(Debug)]
pub(super) struct Subscriptions {
    target: Arc<Target>,
    places: Arc<Semaphore>,
    cap: usize,
}

impl Subscriptions {
    pub(super) fn new(target: Arc<Target>, cap: usize) -> Self {
        Self { target, places: Arc::new(Semaphore::new(cap.min(Semaphore::MAX_PERMITS))), cap }
    }

    pub(super) fn with_cap(&self, cap: usize) -> Self {
        Self::new(self.target.clone(), cap)
    }

    /// Takes a place for one subscription, if there is room for it.
    pub(super) fn open(&self, id: &RequestId) -> Result<Open, ErrorData> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            Subject::of(&self.target).counter(REJECTIONS, &["subscriptions", "queue_full"]).increment(1);
            tracing::debug!(%id, cap = self.cap, "a subscription is refused");
            let text = format!("Busy: {} has all the subscriptions it can take. Try again later.", self.target);
            return Err(ErrorData::new(ErrorCode(503), text, None));
        };
        Ok(Open::new(SUBSCRIPTIONS.gauge([upstream(&self.target)]), place))
    }

    /// Runs one subscription, if there is room for it, to its end.
    pub(super) async fn run(
        &self,
        id: &RequestId,
        left: impl Future<Output = ()>,
        stream: impl Future<Output = Result<(), ErrorData>>,
    ) -> Result<(), ErrorData> {
        let _open = self.open(id)?;
        // As in the panic guard: a stream that panicked is never polled again.
        let stream = AssertUnwindSafe(stream).catch_unwind();
        tokio::select! {
            biased;
            ended = stream => ended.unwrap_or_else(|_| {
                tracing::error!(upstream = self.target.upstream(), "the subscription panicked");
                let text = format!("Unavailable: {} failed. Subscribing again is safe.", self.target);
                Err(ErrorData::new(ErrorCode(503), text, None))
            }),
            // As with calls: who leaves takes the stream along, and its place is free. rmcp sends nothing any more.
            () = left => Ok(()),
        }
    }
}

/// The place of one subscription. Keeps the gauge right however the stream ends.
pub(super) struct Open {
    gauge: Gauge,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(gauge: Gauge, place: OwnedSemaphorePermit) -> Self {
        gauge.increment(1.0);
        Self { gauge, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}
