use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tracing::Level;

use super::layer::Handles;
use crate::{
    call::{CallResult, Response, Verdict},
    classify::{attempts, ended, refusal},
    error::BoxError,
    metrics::ErrorType,
};

pin_project! {
    /// The future of [`Record`](super::Record).
    #[derive(Debug)]
    pub struct RecordFuture<F> {
        #[pin]
        inner: F,
        open: Open,
    }
}

impl<F> RecordFuture<F> {
    pub(super) fn new(inner: F, handles: Arc<Handles>, arrived: Instant) -> Self {
        handles.in_flight.increment(1.0);
        Self { inner, open: Open { handles, arrived, closed: false } }
    }
}

/// A record that is not closed yet. Dropped in that state, the caller has left.
#[derive(Debug)]
struct Open {
    handles: Arc<Handles>,
    arrived: Instant,
    closed: bool,
}

impl Open {
    fn close<R: CallResult>(&mut self, outcome: &Result<Response<R>, BoxError>) {
        self.closed = true;
        let duration = self.finish(ErrorType::of(outcome), ended(outcome));
        let refused = refusal(outcome);
        if let Some((layer, reason)) = refused {
            self.handles.rejected(layer, reason);
        }
        if tracing::event_enabled!(Level::DEBUG) {
            self.handles.log(Verdict::of(outcome), Some(attempts(outcome)), refused, duration);
        }
    }

    fn finish(&self, outcome: ErrorType, completed: Instant) -> Duration {
        let duration = completed.saturating_duration_since(self.arrived);
        self.handles.ended(outcome, duration);
        duration
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            let duration = self.finish(ErrorType::Cancelled, Instant::now());
            self.handles.log(Verdict::Cancelled, None, None, duration);
        }
    }
}

impl<F, R, E> Future for RecordFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx)).map_err(Into::into);
        this.open.close(&outcome);
        Poll::Ready(outcome)
    }
}
