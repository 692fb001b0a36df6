use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    call::{CallResult, Response, Target, Verdict},
    classify::handlers,
    error::BoxError,
    metrics::{Durations, ErrorType},
    outcome::{self, Word},
};

pin_project! {
    /// The future of [`Attempt`](super::Attempt).
    #[derive(Debug)]
    pub struct AttemptFuture<F> {
        #[pin]
        inner: F,
        word: Option<Word>,
        // Only where the operator has said something of what its answers mean: and whether the call's caller hurries.
        judged: Option<(Arc<Target>, bool)>,
        open: Open,
    }
}

impl<F> AttemptFuture<F> {
    pub(super) const fn new(inner: F, judged: Option<(Arc<Target>, bool)>, durations: Arc<Durations>, began: Instant) -> Self {
        Self { inner, word: None, judged, open: Open { durations, began, closed: false } }
    }
}

/// An attempt that has no answer yet. Dropped in that state, it was cancelled.
#[derive(Debug)]
struct Open {
    durations: Arc<Durations>,
    began: Instant,
    closed: bool,
}

impl Open {
    fn close(&mut self, outcome: ErrorType, completed: Instant) {
        self.closed = true;
        self.durations.record(outcome, completed.saturating_duration_since(self.began));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            self.close(ErrorType::Cancelled, Instant::now());
        }
    }
}

impl<F, R, E> Future for AttemptFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
    R: CallResult,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = outcome::listen(this.word, || this.inner.poll(cx));
        let mut outcome = ready!(poll).map_err(|error| handlers(error.into(), *this.word));
        let completed = Instant::now();
        if let Ok(response) = &mut outcome {
            response.completed = Some(completed);
            response.word = match (*this.word, response.word) {
                (Some(said), Some(answered)) => Some(said.then(answered)),
                (said, answered) => said.or(answered),
            };
            response.verdict = Some(match this.judged {
                Some((target, hurries)) => Verdict::of_answer_to(target, response, *hurries),
                None => Verdict::of_answer(response),
            });
        }
        this.open.close(ErrorType::of(&outcome), completed);
        Poll::Ready(outcome)
    }
}
