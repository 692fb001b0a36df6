//! What the whole stack costs around a handler, beside the bare handler, in one run.
//!
//! `cargo bench --all-features --bench stack`. Divide: `stack` less `bare` is the cost; see `benches/README.md`.

use std::{
    convert::Infallible,
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use buttress::{
    Stack,
    admin::Metrics,
    call::{Method, Request, Response, Target},
    catalogue::Catalogue,
    quota::QuotaLayer,
};
use criterion::{Criterion, criterion_group, criterion_main};
use governor::Quota;
use tower::{Service, service_fn};

/// Pends as often as it is told to, and wakes itself.
struct Pend(u32);

impl Future for Pend {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.checked_sub(1) {
            None => Poll::Ready(()),
            Some(left) => {
                self.0 = left;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// A handler that pends `times` before it answers.
fn handler(
    times: u32,
) -> impl Service<
    Request<u64>,
    Response = Response<&'static str>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<&'static str>, Infallible>> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |call: Request<u64>| async move {
        Pend(times).await;
        black_box(call.params);
        Ok(Response::new("done"))
    })
}

/// Polls to the end without a runtime's own costs.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// The default stack with a quota that never refuses.
fn stack() -> Stack {
    let generous = Quota::per_second(std::num::NonZeroU32::MAX);
    Stack::new().quota(QuotaLayer::new().per_tenant_and_target(generous).overall(generous))
}

fn target() -> Arc<Target> {
    Catalogue::new("bench").tool("tool", Default::default()).resolve(&Method::ToolsCall, Some("tool"), None)
}

fn whole(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { return };
    let _inside = runtime.enter();
    let metrics = Metrics::install();
    if let Ok(metrics) = &metrics {
        let metrics = metrics.clone();
        runtime.spawn(async move { metrics.upkeep().await });
    }
    let target = target();
    for (name, times) in [("ready", 0), ("pends_once", 1)] {
        let mut group = c.benchmark_group(name);
        let mut bare = handler(times);
        group.bench_function("bare", |b| b.iter(|| finish(bare.call(Request::new(target.clone(), 7)))));
        let service = stack().service(handler(times));
        group.bench_function("stack", |b| b.iter(|| finish(service.answer(Request::new(target.clone(), 7)))));
        group.finish();
    }
}

criterion_group!(benches, whole);
criterion_main!(benches);
