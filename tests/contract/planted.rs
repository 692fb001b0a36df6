//! Layers that are wrong on purpose: a check that lets them pass checks nothing.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use buttress::{
    BoxError,
    call::{Request, Response, Slot},
};
use metrics::Gauge;
use tower::{Layer, Service};

use crate::{
    checks::{Checked, drops, readiness, sharing, spin},
    drive::Served,
    stage::{Act, Answer, Outcome, Params},
};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// Nothing: the control.
    None,
    /// A gauge goes up with a call, and down only when it is answered.
    Leak,
    /// What waits wakes itself: `wake_by_ref(); Pending`.
    Spin,
    /// The same in `poll_ready`.
    SpinUnready,
    /// Calls a clone of what was found ready, which itself stays ready.
    Hasty,
    /// Waits for ever for an inner service that has failed.
    Deaf,
    /// Claims its handles anew for every service.
    Forgetful,
}

#[derive(Debug, Clone)]
struct Planted {
    defect: Defect,
    slot: Slot<Gauge>,
}

impl<S> Layer<S> for Planted {
    type Service = Wrong<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let slot = if self.defect == Defect::Forgetful { Slot::new() } else { self.slot };
        Wrong { defect: self.defect, slot, inner }
    }
}

#[derive(Debug, Clone)]
struct Wrong<S> {
    defect: Defect,
    slot: Slot<Gauge>,
    inner: S,
}

impl<S: Served> Service<Request<Params>> for Wrong<S> {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match (self.inner.poll_ready(cx), self.defect) {
            (Poll::Pending, Defect::SpinUnready) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (Poll::Ready(Err(_)), Defect::Deaf) => Poll::Pending,
            (ready, _) => ready,
        }
    }

    fn call(&mut self, request: Request<Params>) -> Self::Future {
        let defect = self.defect;
        let gauge = request.head.target.cell(&self.slot, || metrics::gauge!("planted")).clone();
        let mut future = Box::pin(match defect {
            Defect::Hasty => self.inner.clone().call(request),
            _ => self.inner.call(request),
        });
        if defect == Defect::Leak {
            gauge.increment(1.0);
        }
        Box::pin(async move {
            let outcome = std::future::poll_fn(|cx| {
                let poll = future.as_mut().poll(cx);
                if poll.is_pending() && defect == Defect::Spin {
                    cx.waker().wake_by_ref();
                }
                poll
            });
            let outcome = outcome.await;
            if defect == Defect::Leak {
                gauge.decrement(1.0);
            }
            outcome
        })
    }
}

/// The checks that find the defect, by name.
async fn found(defect: Defect) -> Vec<&'static str> {
    let layer = Planted { defect, slot: Slot::new() };
    let checked: [(&str, Checked); 6] = [
        ("calls only what is ready", readiness::calls_only_what_is_ready(layer.clone()).await),
        ("passes readiness errors on", readiness::passes_readiness_errors_on(layer.clone()).await),
        ("keeps nothing ready", readiness::keeps_nothing_ready_while_it_waits(layer.clone()).await),
        ("sleeps", spin::sleeps_while_it_waits(layer.clone()).await),
        ("leaks nothing", drops::leaks_nothing_wherever_it_is_dropped(layer.clone()).await),
        ("shares its handles", sharing::shares_its_handles(layer, Act::Answer).await),
    ];
    checked.into_iter().filter_map(|(name, checked)| checked.is_err().then_some(name)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_layer_without_defect_passes() {
    assert_eq!(found(Defect::None).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_planted_leak_is_found() {
    assert_eq!(found(Defect::Leak).await, ["leaks nothing"]);
}

#[tokio::test(start_paused = true)]
async fn a_planted_spin_is_found() {
    assert_eq!(found(Defect::Spin).await, ["sleeps"]);
    assert_eq!(found(Defect::SpinUnready).await, ["sleeps"]);
}

#[tokio::test(start_paused = true)]
async fn other_planted_defects_are_found() {
    assert_eq!(found(Defect::Hasty).await, ["calls only what is ready", "keeps nothing ready"]);
    assert_eq!(found(Defect::Deaf).await, ["passes readiness errors on"]);
    assert_eq!(found(Defect::Forgetful).await, ["shares its handles"]);
}
