//! What limiting layers share: the future that either lets a call through or refuses it on the spot, and the mode in which
//! nothing is refused.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, ready},
};

use metrics::Counter;
use pin_project_lite::pin_project;

use crate::{
    call::Target,
    error::{BoxError, Reason, Rejected},
    metrics::{OBSERVED_REJECTIONS, Subject},
};

/// What a limiting layer does with a call that is over its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Refuses it.
    #[default]
    Enforce,
    /// Counts it in [`OBSERVED_REJECTIONS`], and lets it pass: to see what a limit would do before it does it.
    Observe,
}

/// What a layer that only observes would have refused of one target: a counter per reason, made when it first happens.
pub(crate) struct Observed {
    layer: &'static str,
    counters: [OnceLock<Counter>; Reason::ALL.len()],
}

impl Observed {
    pub(crate) fn new(layer: &'static str) -> Self {
        Self { layer, counters: std::array::from_fn(|_| OnceLock::new()) }
    }

    pub(crate) fn count(&self, target: &Target, reason: Reason) {
        let Some(place) = Reason::ALL.iter().position(|known| *known == reason) else { return };
        let made = || Subject::of(target).counter(OBSERVED_REJECTIONS, &[self.layer, reason.as_str()]);
        self.counters[place].get_or_init(made).increment(1);
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// Lets go of whatever a service has reserved since it was found ready: a clone is not ready. For a layer that does not pass a
/// call on, or not yet: its owner may keep it, and others need what it holds, perhaps just to get on.
pub(crate) fn let_go<S: Clone>(service: &mut S) {
    *service = service.clone();
}

pin_project! {
    /// The future of a layer that either let a call through to the service whose future is `F`, or refused it on the spot.
    #[derive(Debug)]
    pub struct Gate<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Passed { #[pin] future: F },
        Refused { rejected: Option<Rejected> },
    }
}

impl<F> Gate<F> {
    pub(crate) const fn passed(future: F) -> Self {
        Self { state: State::Passed { future } }
    }

    pub(crate) const fn refused(rejected: Rejected) -> Self {
        Self { state: State::Refused { rejected: Some(rejected) } }
    }
}

impl<F, T, E> Future for Gate<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { future } => Poll::Ready(ready!(future.poll(cx)).map_err(Into::into)),
            StateProj::Refused { rejected } => match rejected.take() {
                Some(rejected) => Poll::Ready(Err(rejected.into())),
                // Polled after it was done, as a future must not be; it has nothing more to say.
                None => Poll::Pending,
            },
        }
    }
}
