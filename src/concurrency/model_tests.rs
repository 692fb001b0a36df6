//! Whatever callers, handlers and operators do, and in whatever order: no slot is lost, and none is given twice.

use std::{
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{Layer, Service, service_fn};

use super::{Bounds, ConcurrencyLayer, adapting_tests::Paced, tests::of_tenant};
use crate::{
    call::{Admission, Criticality, HeldSlot, Request, Response},
    error::BoxError,
    testing::tool,
};

/// What callers, handlers and operators may do to one target, in any order.
#[derive(Debug, Clone, Copy)]
enum Act {
    Call { tenant: u8, class: usize, wait: bool, within: u64 },
    Poll(usize),
    Drop(usize),
    Pass(u64),
    Limit(u32),
    Keep,
    GiveBack(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..3_u8, 0..4_usize, prop::bool::weighted(0.8), 1..200_u64)
            .prop_map(|(tenant, class, wait, within)| Act::Call { tenant, class, wait, within }),
        8 => (0..30_usize).prop_map(Act::Poll),
        3 => (0..30_usize).prop_map(Act::Drop),
        3 => (0..50_u64).prop_map(Act::Pass),
        1 => (1..4_u32).prop_map(Act::Limit),
        1 => Just(Act::Keep),
        1 => (0..30_usize).prop_map(Act::GiveBack),
    ]
}

/// Counts itself as at work while it lives, and ends when it is polled a second time.
struct AtWork(Arc<std::sync::atomic::AtomicU32>, bool);

impl AtWork {
    fn begin(counter: &Arc<std::sync::atomic::AtomicU32>) -> Self {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(counter.clone(), false)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Future for AtWork {
    type Output = Result<Response<()>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = std::mem::replace(&mut self.1, true);
        if polled { Poll::Ready(Ok(Response::new(()))) } else { Poll::Pending }
    }
}

/// Whatever happens, no more are at work than there are slots, nobody waits while a slot is free, and in the end all is given
/// back. Where those who wait are let in at a pace, the model knows it, and everybody who is woken is polled at once: nobody
/// waits while a slot is free and somebody due.
async fn conserves(acts: Vec<Act>, layer: ConcurrencyLayer, paced: Option<Paced>) {
    let at_work = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let pool = Arc::<std::sync::Mutex<Option<HeldSlot>>>::default();
    let inner = {
        let (at_work, pool) = (at_work.clone(), pool.clone());
        service_fn(move |call: Request<()>| {
            *pool.lock().unwrap() = call.head.held_slot();
            AtWork::begin(&at_work)
        })
    };
    let (handle, mut service, target) = (layer.handle(), layer.layer(inner), tool("t"));
    let mut calls = Vec::new();
    let mut kept = Vec::new();
    // The most that may be held: it comes down only as slots come back.
    let mut most = 2;
    for act in acts {
        match act {
            Act::Call { tenant, class, wait, within } => {
                let mut request = of_tenant(&target, &tenant.to_string());
                request.head.caller = request.head.caller.criticality(Criticality::ALL[class]);
                request.head.admission = if wait { Admission::Wait } else { Admission::NoWait };
                request.head.deadline.hard = Some(Instant::now() + Duration::from_millis(within));
                let (woken, waker) = Flag::new();
                calls.push((Box::pin(service.call(request)), woken, waker));
            }
            Act::Poll(n) if !calls.is_empty() => {
                let n = n % calls.len();
                let (call, _, waker) = &mut calls[n];
                let mut cx = Context::from_waker(waker);
                if tokio::task::unconstrained(call.as_mut()).poll_unpin(&mut cx).is_ready() {
                    drop(calls.swap_remove(n));
                }
            }
            Act::Drop(n) if !calls.is_empty() => drop(calls.swap_remove(n % calls.len())),
            Act::Keep => kept.extend(pool.lock().unwrap().clone().map(HeldSlot::keep)),
            Act::GiveBack(n) if !kept.is_empty() => drop(kept.swap_remove(n % kept.len())),
            Act::Pass(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
            Act::Limit(limit) => handle.set_limit(&target, NonZeroU32::new(limit).unwrap()),
            Act::Poll(_) | Act::Drop(_) | Act::GiveBack(_) => {}
        }
        while paced.is_some() && calls.iter().any(|(_, woken, _)| woken.is_set()) {
            poll_woken(&mut calls);
        }
        let Some(status) = handle.target(&target) else { return };
        let held = status.in_flight - status.kept;
        most = held.max(status.limit).min(most.max(status.limit));
        assert!(held <= most, "{held} held of {most}: {status:?}");
        assert!(at_work.load(std::sync::atomic::Ordering::Relaxed) <= held, "more at work than hold a slot: {status:?}");
        // A limit that adapts may let those who wait in one by one, as long as somebody runs.
        let paces = match &paced {
            Some(paced) => *paced.due.lock().unwrap() > Instant::now(),
            None => true,
        };
        let served = status.in_flight >= if status.adapts && paces { 1 } else { status.limit };
        assert!(status.waiting == 0 || served, "who waits is not served: {status:?}");
        assert_eq!(status.kept, u32::try_from(kept.len()).unwrap());
    }
    // Everybody who is woken, and nobody else, is polled: all get on to their ends.
    for _ in 0..200 {
        tokio::time::advance(Duration::from_millis(1)).await;
        poll_woken(&mut calls);
    }
    drop(kept);
    calls.clear();
    let status = handle.target(&target).unwrap();
    assert_eq!((status.in_flight, status.waiting, status.kept, status.tenants_waiting), (0, 0, 0, 0));
}

/// A call, whether it has been woken, and what wakes it.
type Polled<F> = (Pin<Box<F>>, Arc<Flag>, Waker);

/// Polls those who are woken. Who has ended goes.
fn poll_woken<F: Future>(calls: &mut Vec<Polled<F>>) {
    calls.retain_mut(|(call, woken, waker)| {
        let running = woken.take();
        let mut cx = Context::from_waker(waker);
        !running || tokio::task::unconstrained(call.as_mut()).poll_unpin(&mut cx).is_pending()
    });
}

/// Whether a waker was called.
struct Flag(std::sync::atomic::AtomicBool);

impl Flag {
    fn new() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self(std::sync::atomic::AtomicBool::new(true)));
        (flag.clone(), flag.into())
    }

    fn is_set(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        self.0.swap(false, std::sync::atomic::Ordering::Relaxed)
    }
}

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_are_conserved(acts in prop::collection::vec(act(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(conserves(acts, ConcurrencyLayer::new(NonZeroU32::new(2).unwrap()).queue(4), None));
    }

    #[test]
    fn slots_of_a_limit_that_adapts_are_conserved(acts in prop::collection::vec(act(), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(conserves(acts, ConcurrencyLayer::adaptive(Bounds::try_new(1, 2, 4).unwrap()).queue(4), None));
    }

    #[test]
    fn slots_that_are_given_out_at_a_pace_are_conserved(acts in prop::collection::vec(act(), 1..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let paced = Paced::new(4);
            let layer = ConcurrencyLayer::adaptive_with({
                let paced = paced.clone();
                move |_| paced.clone()
            });
            conserves(acts, layer.queue(4), Some(paced)).await;
        });
    }
}
