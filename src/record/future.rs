use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::layer::Handles;
use crate::{call::Response, classify::refusal, error::BoxError, metrics::ErrorType};

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
    fn close<R>(&mut self, outcome: &Result<Response<R>, BoxError>) {
        self.closed = true;
        let completed = match outcome {
            // A repeated call may have waited after the answer that it gives in the end, so only the first attempt's
            // clock read is the call's own.
            Ok(Response { completed: Some(at), attempts: 1, .. }) => *at,
            _ => Instant::now(),
        };
        self.finish(ErrorType::of(outcome), completed);
        if let Some((layer, reason)) = outcome.as_ref().err().and_then(|error| refusal(&**error)) {
            self.handles.rejected(layer, reason);
        }
    }

    fn finish(&self, outcome: ErrorType, completed: Instant) {
        self.handles.ended(outcome, completed.saturating_duration_since(self.arrived));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            self.finish(ErrorType::Cancelled, Instant::now());
        }
    }
}

impl<F, R, E> Future for RecordFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
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
