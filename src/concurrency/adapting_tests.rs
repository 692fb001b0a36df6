//! A limit that adapts, as the layer asks it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    AdaptiveLimit, Bounds, ConcurrencyLayer, Crowd, Sample,
    tests::{hang_all, reason, request, slow},
};
use crate::{
    Mode,
    call::{Admission, Method, Request, Response, TargetPolicy, Verdict},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected},
    testing::{Script, Step, tool},
};

/// Takes one more slot after every answer, and one fewer after anything else.
#[derive(Debug)]
struct UpAndDown(u32, Arc<std::sync::Mutex<Vec<Sample>>>);

impl AdaptiveLimit for UpAndDown {
    fn limit(&self) -> NonZeroU32 {
        NonZeroU32::new(self.0).unwrap_or(NonZeroU32::MIN)
    }

    fn sample(&mut self, sample: &Sample) {
        self.1.lock().unwrap().push(*sample);
        self.0 = if sample.verdict == Verdict::Ok { self.0 + 1 } else { self.0.saturating_sub(1) };
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_adapts_hears_of_every_attempt_and_lets_in_who_waits() {
    let samples = Arc::<std::sync::Mutex<Vec<Sample>>>::default();
    let layer = {
        let samples = samples.clone();
        ConcurrencyLayer::adaptive_with(move |_| UpAndDown(1, samples.clone()))
    };
    let second = Duration::from_secs(1);
    let (handle, target) = (layer.handle(), tool("t"));
    let mut service = layer.layer(slow().0);
    let began = Instant::now();
    let calls: Vec<_> = (0..3).map(|_| service.call(request(&target))).map(tokio::spawn).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // One, and then two at once.
    assert_eq!(began.elapsed(), 2 * second);
    assert_eq!(handle.target(&target).unwrap().limit, 4);
    {
        let samples = samples.lock().unwrap();
        let told: Vec<_> = samples.iter().map(|s| (s.started - began, s.ended - began, s.waited, s.in_flight)).collect();
        let zero = Duration::ZERO;
        assert_eq!(told[0], (zero, second, zero, 1));
        assert!(told[1..].iter().all(|(started, ended, waited, _)| (*started, *ended, *waited) == (second, 2 * second, second)));
    }
    // What a layer further in refuses says nothing of the target.
    let refused = || Step::Answer(Err(Rejected::new("quota", Reason::Quota).into()));
    assert_eq!(reason(&layer.layer(Script::new([refused()])).oneshot(request(&target)).await), Some(Reason::Quota));
    assert_eq!(samples.lock().unwrap().len(), 3);
    drop(service.call(request(&target)));
    assert_eq!(samples.lock().unwrap().last().map(|sample| sample.verdict), Some(Verdict::Cancelled));
    assert_eq!(handle.target(&target).unwrap().limit, 3);
    handle.set_limit(&target, NonZeroU32::new(9).unwrap());
    assert!(service.call(request(&target)).await.is_ok());
    let status = handle.target(&target).unwrap();
    assert_eq!((status.limit, status.adapts, samples.lock().unwrap().len()), (9, false, 4));
}

/// Hears of those who come and of those who start: how many slots are held and how many calls wait.
#[derive(Debug, Clone, Default)]
struct Counting {
    came: Arc<std::sync::Mutex<Vec<(u32, u32)>>>,
    started: Arc<std::sync::Mutex<Vec<(u32, u32)>>>,
}

impl AdaptiveLimit for Counting {
    fn limit(&self) -> NonZeroU32 {
        NonZeroU32::MIN
    }

    fn arrived(&mut self, crowd: Crowd, _now: Instant) {
        self.came.lock().unwrap().push((crowd.in_flight, crowd.waiting));
    }

    fn started(&mut self, crowd: Crowd, _now: Instant) {
        self.started.lock().unwrap().push((crowd.in_flight, crowd.waiting));
    }

    fn sample(&mut self, _sample: &Sample) {}
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_has_to_wait_is_one_of_those_who_wait() {
    let heard = Counting::default();
    let layer = ConcurrencyLayer::adaptive_with({
        let heard = heard.clone();
        move |_| heard.clone()
    });
    let (mut service, target) = (layer.layer(slow().0), tool("t"));
    let calls: Vec<_> = (0..3).map(|_| service.call(request(&target))).collect();
    assert_eq!(*heard.came.lock().unwrap(), [(0, 0), (1, 1), (1, 2)]);
    for call in calls.into_iter().map(tokio::spawn).collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*heard.started.lock().unwrap(), [(1, 0), (1, 1), (1, 0)]);
}

/// Has three slots once it has seen an answer, and would rather let nobody in who waits.
#[derive(Debug)]
struct Reluctant(NonZeroU32);

impl AdaptiveLimit for Reluctant {
    fn limit(&self) -> NonZeroU32 {
        self.0
    }

    fn may_start(&self, now: Instant) -> Instant {
        now + Duration::from_secs(3600)
    }

    fn sample(&mut self, _sample: &Sample) {
        self.0 = NonZeroU32::new(3).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_hold_back_who_waits_as_long_as_anybody_runs() {
    let layer = ConcurrencyLayer::adaptive_with(|_| Reluctant(NonZeroU32::MIN));
    let (mut service, target) = (layer.layer(slow().0), tool("t"));
    let calls: Vec<_> = (0..3).map(|_| service.call(request(&target))).map(tokio::spawn).collect();
    let began = Instant::now();
    let all = tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(calls)).await;
    assert!(all.is_ok_and(|all| all.into_iter().all(|call| call.unwrap().is_ok())));
    assert_eq!(began.elapsed(), Duration::from_secs(3), "one after the other, although there are slots for all");
}

/// As many slots as it says, and whoever waits is let in ten milliseconds after the last one who was, or when it is told.
#[derive(Debug, Clone)]
pub(super) struct Paced {
    pub(super) limit: NonZeroU32,
    pub(super) due: Arc<std::sync::Mutex<Instant>>,
}

impl Paced {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: NonZeroU32::new(limit).unwrap(), due: Arc::new(std::sync::Mutex::new(Instant::now())) }
    }
}

impl AdaptiveLimit for Paced {
    fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    fn started(&mut self, _crowd: Crowd, now: Instant) {
        *self.due.lock().unwrap() = now + 10 * MS;
    }

    fn may_start(&self, _now: Instant) -> Instant {
        *self.due.lock().unwrap()
    }

    fn sample(&mut self, _sample: &Sample) {}
}

const MS: Duration = Duration::from_millis(1);

/// Takes so many milliseconds, and notes when it began.
fn takes() -> (TakesSo, Arc<std::sync::Mutex<Vec<Duration>>>) {
    let (epoch, begun) = (Instant::now(), Arc::<std::sync::Mutex<Vec<Duration>>>::default());
    let service = {
        let begun = begun.clone();
        service_fn(move |call: Request<u64>| {
            begun.lock().unwrap().push(epoch.elapsed());
            async move {
                tokio::time::sleep(Duration::from_millis(call.params)).await;
                Ok::<_, BoxError>(Response::new(()))
            }
        })
    };
    (BoxCloneSyncService::new(service), begun)
}

type TakesSo = BoxCloneSyncService<Request<u64>, Response<()>, BoxError>;

/// One call hangs and four are quick; four more wait, and have four slots when these have ended.
#[tokio::test(start_paused = true)]
async fn who_waits_beside_free_slots_is_let_in_when_due_though_nothing_comes_or_ends() {
    // Whoever of them leaves meanwhile, another one looks out.
    for leaves in [None, Some(0), Some(1), Some(2), Some(3)] {
        let (inner, begun) = takes();
        let layer = ConcurrencyLayer::adaptive_with(|_| Paced::new(5));
        let (service, target) = (layer.layer(inner), tool("t"));
        let call = |took| tokio::spawn(service.clone().oneshot(Request::new(target.clone(), took)));
        let _running: Vec<_> = [3_600_000, 5, 5, 5, 5].into_iter().map(call).collect();
        tokio::task::yield_now().await;
        let waiting: Vec<_> = (0..4).map(|_| call(3_600_000)).collect();
        tokio::time::sleep(7 * MS).await;
        if let Some(leaves) = leaves {
            waiting[leaves].abort();
        }
        tokio::time::sleep(1000 * MS).await;
        let expected = [0, 0, 0, 0, 0, 10, 20, 30, 40].map(|at| at * MS);
        let expected = &expected[..expected.len() - usize::from(leaves.is_some())];
        assert_eq!(*begun.lock().unwrap(), expected, "{leaves:?} left");
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_out_hears_that_the_next_is_due_sooner() {
    let (inner, begun) = takes();
    let paced = Paced::new(2);
    let layer = ConcurrencyLayer::adaptive_with({
        let paced = paced.clone();
        move |_| paced.clone()
    });
    let (service, target, epoch) = (layer.layer(inner), tool("t"), Instant::now());
    let call = |took| tokio::spawn(service.clone().oneshot(Request::new(target.clone(), took)));
    let _running = [call(3_600_000), call(5)];
    tokio::task::yield_now().await;
    *paced.due.lock().unwrap() = epoch + 1000 * MS;
    let _first = call(3_600_000);
    tokio::time::sleep(100 * MS).await;
    *paced.due.lock().unwrap() = epoch + 200 * MS;
    // Whoever comes asks the limit again.
    let _second = call(3_600_000);
    tokio::time::sleep(1000 * MS).await;
    assert_eq!(begun.lock().unwrap()[2..], [200 * MS]);
}

/// The limit has seen calls one by one, in quick succession or one a minute. A burst beside one that hangs is not held back by
/// that.
#[tokio::test(start_paused = true)]
async fn a_burst_beside_a_call_that_hangs_is_served_though_calls_were_few() {
    for apart in [0, 60_000] {
        let layer = ConcurrencyLayer::adaptive(Bounds::default());
        let (service, target) = (layer.layer(takes().0), tool("t"));
        let call = |took| {
            let mut request = Request::new(target.clone(), took);
            request.head.deadline.soft = Some(Instant::now() + Duration::from_secs(55));
            service.clone().oneshot(request)
        };
        for _ in 0..200 {
            call(50).await.unwrap();
            tokio::time::sleep(apart * MS).await;
        }
        let _hangs = tokio::spawn(call(50_000));
        tokio::time::sleep(10 * MS).await;
        let began = Instant::now();
        let answered = futures_util::future::join_all((0..60).map(|_| call(50))).await;
        let answered = answered.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(answered == 60 && began.elapsed() < 500 * MS, "{apart} ms apart: {answered} in {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_grows_while_calls_wait_and_is_fixed_by_the_handle() {
    let layer = ConcurrencyLayer::adaptive(Bounds::try_new(4, 8, 256).unwrap()).queue(1000);
    let (handle, target) = (layer.handle(), tool("t"));
    let (inner, _) = slow();
    let service = layer.layer(inner);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        calls.spawn(service.clone().oneshot(request(&target)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = handle.target(&target).unwrap();
    assert!(status.adapts && (100..=256).contains(&status.limit), "{status:?}");
    handle.set_limit(&target, NonZeroU32::new(3).unwrap());
    calls.join_all().await;
    let status = handle.target(&target).unwrap();
    assert_eq!((status.adapts, status.limit, status.in_flight, status.waiting), (false, 3, 0, 0));
    assert!(service.oneshot(request(&target)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn behind_an_adaptive_limit_all_who_wait_are_served_though_nobody_else_comes() {
    let layer = ConcurrencyLayer::adaptive(Bounds::try_new(1, 2, 2000).unwrap()).queue(2000);
    let (inner, served) = slow();
    let (service, target) = (layer.layer(inner), tool("t"));
    let calls: Vec<_> = (0..2000).map(|_| tokio::spawn(service.clone().oneshot(request(&target)))).collect();
    for call in calls {
        // Some stand for so long that they are shed.
        let _told = call.await.unwrap();
    }
    let served = served.lock().unwrap().len();
    assert!(served >= 50, "{served}");
    let status = layer.handle().target(&target).unwrap();
    assert_eq!((status.in_flight, status.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn behind_an_adaptive_limit_too_a_retry_does_not_wait() {
    let layer = ConcurrencyLayer::adaptive(Bounds::try_new(1, 1, 1).unwrap());
    let (mut service, target) = (layer.layer(hang_all(2)), tool("t"));
    let retry = || {
        let mut request = request(&target);
        request.head.admission = Admission::NoWait;
        request
    };
    let running = service.call(retry());
    assert_eq!(reason(&service.call(retry()).await), Some(Reason::NoSlot));
    drop(running);
    assert!(service.call(retry()).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn behind_an_adaptive_limit_too_observing_counts_what_it_would_refuse() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let layer = ConcurrencyLayer::adaptive(Bounds::try_new(1, 1, 1).unwrap()).mode(Mode::Observe);
    let (mut service, target) = (layer.layer(hang_all(3)), tool("t"));
    let _running = [0; 3].map(|_| {
        let mut retry = request(&target);
        retry.head.admission = Admission::NoWait;
        service.call(retry)
    });
    let seen = recorder.snapshotter().snapshot().into_vec().into_iter();
    let counted = seen.filter(|(key, ..)| key.key().labels().any(|label| label.value() == "no_slot")).map(|(.., value)| value);
    assert_eq!(counted.collect::<Vec<_>>(), [metrics_util::debugging::DebugValue::Counter(2)]);
}

#[tokio::test(start_paused = true)]
async fn the_operators_word_on_a_tool_outranks_the_layers_limit() {
    let serial = Catalogue::new("up").tool("t", TargetPolicy::default().serial()).resolve(&Method::ToolsCall, Some("t"), None);
    for layer in [ConcurrencyLayer::default(), ConcurrencyLayer::adaptive_with(|_| UpAndDown(7, Arc::default()))] {
        assert_eq!(layer.handle().target(&serial).map(|status| (status.limit, status.places)), Some((1, 64)));
    }
    assert_eq!(ConcurrencyLayer::off().handle().target(&serial), None);
}
