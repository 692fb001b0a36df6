//! What a call through the whole default stack allocates, with a Prometheus recorder installed.

use std::{
    convert::Infallible,
    future::Future,
    num::NonZeroU32,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use buttress::{
    Stack,
    admin::Metrics,
    call::{Method, Request, Response},
    catalogue::Catalogue,
    quota::QuotaLayer,
};
use governor::Quota;
use tower::service_fn;

const CALLS: u32 = 10_000;

/// Pends once, and wakes itself.
#[derive(Default)]
struct PendOnce(bool);

impl Future for PendOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// The bare handler allocates nothing, so all that is counted is the stack's.
#[tokio::test]
async fn the_default_stack_allocates_at_most_twice_a_call() {
    let metrics = Metrics::install().unwrap();
    let generous = Quota::per_second(NonZeroU32::MAX);
    let stack = Stack::new().quota(QuotaLayer::new().per_tenant_and_target(generous).overall(generous));
    let target = Catalogue::new("up").tool("tool", Default::default()).resolve(&Method::ToolsCall, Some("tool"), None);
    for pends in [false, true] {
        let service = stack.service(service_fn(move |call: Request<u64>| async move {
            if pends {
                PendOnce::default().await;
            }
            Ok::<_, Infallible>(Response::new(if call.params == 7 { "done" } else { "wrong" }))
        }));
        let call = || assert_eq!(finish(service.answer(Request::new(target.clone(), 7))).unwrap().result, Ok("done"));
        // The first calls make the cells and the handles of the target.
        (0..100).for_each(|_| call());
        let counted = measure(|| (0..CALLS).for_each(|_| call()));
        let per_call = counted.count_total as f64 / f64::from(CALLS);
        println!("pends {pends}: {per_call:.3} allocations a call, {} bytes kept", counted.bytes_current);
        assert!(per_call <= 2.0, "{per_call} allocations a call");
    }
    // What is kept is samples on their way to their buckets, and only until the next upkeep.
    drop(metrics.render());
}
