//! What the benches put layers around, and how they drive it.

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    num::NonZeroU32,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use buttress::{
    Stack,
    call::{Meta, Method, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
    quota::QuotaLayer,
};
use governor::Quota;
use tower::Service;

/// What a handler does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Answers when it is first polled.
    Ready,
    /// Is found pending once.
    PendsOnce,
    /// Works for a microsecond.
    Works,
    /// Never answers.
    Hangs,
}

/// A handler, with a future that has a name and allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct Handler(pub Act);

/// The future of [`Handler`].
#[derive(Debug)]
pub struct Handled {
    act: Act,
    polled: bool,
    params: u64,
}

impl Future for Handled {
    type Output = Result<Response<&'static str>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = std::mem::replace(&mut self.polled, true);
        match self.act {
            Act::Hangs => return Poll::Pending,
            Act::PendsOnce if !polled => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Act::Works => work(),
            Act::Ready | Act::PendsOnce => {}
        }
        black_box(self.params);
        Poll::Ready(Ok(Response::new("done")))
    }
}

/// About a microsecond, by instructions and not by a clock.
fn work() {
    let mut sum = 1_u64;
    for n in 0..1_850_u64 {
        sum = black_box(sum.rotate_left(7) ^ n);
    }
    black_box(sum);
}

impl Service<Request<u64>> for Handler {
    type Response = Response<&'static str>;
    type Error = Infallible;
    type Future = Handled;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<u64>) -> Handled {
        self.handled(request.params)
    }
}

impl Handler {
    pub const fn handled(self, params: u64) -> Handled {
        Handled { act: self.0, polled: false, params }
    }
}

/// Polls to the end without a runtime's own costs.
pub fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// One call of a service that is ready at once, as all are here.
pub fn call<S, Q>(service: &mut S, request: Q) -> Result<S::Response, S::Error>
where
    S: Service<Q>,
{
    let mut cx = Context::from_waker(Waker::noop());
    while service.poll_ready(&mut cx)?.is_pending() {}
    finish(service.call(request))
}

/// A tool of its own, so that no bench meets the state of another.
pub fn target() -> Arc<Target> {
    let safe = TargetPolicy::default().idempotent(true);
    Catalogue::new("bench").tool("tool", safe).resolve(&Method::ToolsCall, Some("tool"), None)
}

/// One that only reads, so that its answers may be kept and shared.
pub fn read() -> Arc<Target> {
    let reads = TargetPolicy::default().idempotent(true).read_only(true).cache_for(LONG);
    Catalogue::new("bench").tool("read", reads).resolve(&Method::ToolsCall, Some("read"), None)
}

/// A call under an idempotency key: always the same one.
pub fn keyed(target: &Arc<Target>) -> Request<u64> {
    let mut request = Request::new(target.clone(), 7);
    let mut meta = Meta::default();
    meta.idempotency_key = Some(Arc::from("pay once"));
    request.head.meta = Some(Arc::new(meta));
    request
}

/// More than anybody can use.
pub const PLENTY: Quota = Quota::per_second(NonZeroU32::MAX);
/// Long enough that no bench waits for it.
pub const LONG: Duration = Duration::from_secs(3600);

/// The default stack of the cost targets: with a quota per tenant and tool and one overall, and an upstream limit.
pub fn stack() -> Stack {
    Stack::new()
        .quota(QuotaLayer::new().per_tenant_and_target(PLENTY).overall(PLENTY))
        .rate_limit(Arc::new(governor::RateLimiter::direct(PLENTY)))
}
