use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower::Service;

use super::race::{Outcome, Race};
use crate::{
    call::{Peer, Request, Response},
    error::BoxError,
};

pin_project! {
    /// The future of [`Hedge`](super::Hedge).
    pub struct HedgeFuture<S, P, R>
    where
        S: Service<Request<P>>,
    {
        #[pin]
        state: State<S::Future, S, P, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, P, R>
    where
        S: Service<Request<P>>,
    {
        Passed { #[pin] future: F },
        Racing {
            #[pin]
            first: Option<F>,
            // Armed when the first attempt is first found pending.
            #[pin]
            timer: Option<Sleep>,
            peer: Option<Peer>,
            race: Race<S, P, R>,
        },
        Done,
    }
}

impl<S, P, R> HedgeFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    pub(super) const fn passed(future: S::Future) -> Self {
        Self { state: State::Passed { future } }
    }

    pub(super) const fn racing(first: S::Future, peer: Option<Peer>, race: Race<S, P, R>) -> Self {
        Self { state: State::Racing { first: Some(first), timer: None, peer, race } }
    }
}

impl<S, P, R> Future for HedgeFuture<S, P, R>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Outcome<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let outcome = match state.as_mut().project() {
            StateProj::Passed { future } => return future.poll(cx).map_err(Into::into),
            StateProj::Racing { first, timer, peer, race } => ready!(poll_both(first, timer, peer.as_ref(), race, cx)),
            // Polled after it was done, as a future must not be.
            StateProj::Done => return Poll::Pending,
        };
        // Who lost is dropped before the answer is given.
        state.set(State::Done);
        Poll::Ready(outcome)
    }
}

fn poll_both<S, P, R>(
    mut first: Pin<&mut Option<S::Future>>,
    mut timer: Pin<&mut Option<Sleep>>,
    peer: Option<&Peer>,
    race: &mut Race<S, P, R>,
    cx: &mut Context<'_>,
) -> Poll<Outcome<R>>
where
    S: Service<Request<P>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    if let Some(future) = first.as_mut().as_pin_mut()
        && let Poll::Ready(outcome) = future.poll(cx)
    {
        first.set(None);
        if let Some(outcome) = race.first_ended(outcome.map_err(Into::into)) {
            return Poll::Ready(outcome);
        }
    }
    if first.is_some() && peer.is_some_and(Peer::is_committed) {
        race.committed();
    }
    loop {
        if let Some(second) = race.second() {
            let outcome = ready!(second.poll(cx)).map_err(Into::into);
            if let Some(outcome) = race.second_ended(outcome) {
                return Poll::Ready(outcome);
            }
        }
        let Some(due) = race.due() else { return Poll::Pending };
        if timer.is_none() {
            timer.set(Some(sleep_until(due)));
        }
        if let Some(timer) = timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
        race.send(cx);
    }
}

impl<S, P, R> fmt::Debug for HedgeFuture<S, P, R>
where
    S: Service<Request<P>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passed { .. } => "passed",
            State::Racing { .. } => "racing",
            State::Done => "done",
        };
        f.debug_struct("HedgeFuture").field("state", &state).finish_non_exhaustive()
    }
}
