//! Calls, polled by hand under a waker that counts.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use buttress::{
    BoxError,
    call::{Request, Response},
};
use tokio::task::unconstrained;
use tower::{Layer, Service, ServiceExt};

use crate::{
    probe::Probe,
    stage::{Answer, Outcome, Params},
};

/// A service as every layer of this crate makes it: this is where `Send`, `Sync`, `Clone` and `'static` are asked for.
pub trait Served:
    Service<Request<Params>, Response = Response<Answer>, Error = BoxError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Served for S where
    S: Service<Request<Params>, Response = Response<Answer>, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A layer that the contract binds.
pub trait Subject: Layer<Probe, Service: Served> + Clone + Send + Sync + 'static {}

impl<L> Subject for L where L: Layer<Probe, Service: Served> + Clone + Send + Sync + 'static {}

/// A call under way. The service that it is made through lives as long as the call, as that of a connection does.
pub struct Driven {
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

/// How often the task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Driven {
    /// Makes the call where the service is ready now, so that there is a future that nobody has polled yet. Else the polls wait
    /// for readiness first.
    pub fn new<S: Served>(mut service: S, request: Request<Params>) -> Self {
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(wakes.clone());
        // Without tokio's budget for one task: it is spent after 128 polls, and then wakes.
        let future: Pin<Box<dyn Future<Output = Outcome>>> = match service.poll_ready(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(())) => {
                let call = service.call(request);
                Box::pin(unconstrained(async move {
                    let _kept = service;
                    call.await
                }))
            }
            _ => Box::pin(unconstrained(async move { service.ready().await?.call(request).await })),
        };
        Self { future, wakes, waker }
    }

    /// Polls once.
    pub fn poll(&mut self) -> Poll<Outcome> {
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }

    /// How often its task has been woken.
    pub fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

/// Makes one call, and waits for what becomes of it: for an hour and a thousand polls at most, so that a layer which hangs or
/// spins fails the check and does not keep it.
pub async fn call<S: Served>(service: &mut S, request: Request<Params>) -> Outcome {
    let outcome = async { service.ready().await?.call(request).await };
    let mut outcome = pin!(tokio::time::timeout(Duration::from_secs(3600), outcome));
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        match outcome.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome.unwrap_or_else(|_| Err("hangs".into()))),
            Poll::Pending if polls == 1000 => Poll::Ready(Err("spins".into())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
