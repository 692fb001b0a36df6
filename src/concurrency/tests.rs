use std::{future::Future, num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Bounds, ConcurrencyLayer};
use crate::{
    Mode,
    call::{Admission, Caller, Deadline, HeldSlot, Joint, KeptSlot, Method, Request, Response, Target, TargetPolicy},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected},
    metrics::QUEUE_DURATION,
    testing::{Outcome, Script, Step, tool},
};

pub(super) fn hang() -> Script {
    Script::new([Step::Hang])
}

pub(super) fn reason(outcome: &Outcome) -> Option<Reason> {
    outcome.as_ref().err()?.downcast_ref().map(Rejected::reason)
}

pub(super) fn request(target: &Arc<Target>) -> Request<()> {
    Request::new(target.clone(), ())
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_the_order_of_coming() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let service = {
        let order = order.clone();
        service_fn(move |call: Request<u32>| {
            order.lock().unwrap().push(call.params);
            async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok::<_, BoxError>(Response::new(()))
            }
        })
    };
    let service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(9).layer(service);
    let target = tool("t");
    let calls: Vec<_> = (0..10).map(|n| tokio::spawn(service.clone().oneshot(Request::new(target.clone(), n)))).collect();
    let began = Instant::now();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(began.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_queue_and_without_leave_to_wait_a_call_is_refused() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).layer(hang());
    let target = tool("t");
    let running = service.call(request(&target));
    let waiting = service.call(request(&target));
    assert_eq!(reason(&service.call(request(&target)).await), Some(Reason::QueueFull));
    let mut retry = request(&target);
    retry.head.admission = Admission::NoWait;
    assert_eq!(reason(&service.call(retry).await), Some(Reason::NoSlot));
    drop(running);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline_and_gives_the_place_back() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).layer(hang());
    let target = tool("t");
    let _running = service.call(request(&target));
    for _ in 0..3 {
        let mut late = request(&target);
        late.head.deadline.soft = Some(Instant::now() + Duration::from_secs(2));
        let began = Instant::now();
        assert_eq!(reason(&service.call(late).await), Some(Reason::Deadline));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }
}

/// A call that is made for several has its deadline in its `Joint`, which moves.
#[tokio::test(start_paused = true)]
async fn a_call_for_several_waits_as_long_as_the_last_of_them() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).layer(hang());
    let target = tool("t");
    let _running = service.call(request(&target));
    let within = |seconds| Deadline { soft: Some(Instant::now() + Duration::from_secs(seconds)), ..Deadline::default() };
    let joint = Joint::new(within(2));
    let mut shared = request(&target);
    shared.head.joint = Some(joint.clone());
    let began = Instant::now();
    let waiting = tokio::spawn(service.call(shared));
    tokio::time::sleep(Duration::from_secs(1)).await;
    joint.join(within(4));
    assert_eq!(reason(&waiting.await.unwrap()), Some(Reason::Deadline));
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    // What could not begin in time does not wait.
    let mut late = request(&target);
    late.head.joint = Some(Joint::new(within(0)));
    assert_eq!(reason(&service.call(late).now_or_never().unwrap()), Some(Reason::Deadline));
}

/// Also where the slot comes free in between: then it is not this call's first caller who decides whether it is worth beginning.
#[tokio::test(start_paused = true)]
async fn a_call_for_several_is_let_in_by_the_last_of_them_though_the_first_is_gone() {
    let two = Duration::from_secs(2);
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN)
        .queue(1)
        .layer(Script::new([Step::After(two, Ok(Response::new("first"))), Step::After(two, Ok(Response::new("shared")))]));
    let target = tool("t");
    let within = |time| Deadline { soft: Some(Instant::now() + time), ..Deadline::default() };
    for last in [Deadline::default(), within(55 * two)] {
        let running = tokio::spawn(service.call(request(&target)));
        let joint = Joint::new(within(two / 4));
        let mut shared = request(&target);
        shared.head.joint = Some(joint.clone());
        let waiting = tokio::spawn(service.call(shared));
        joint.join(last);
        assert!(running.await.unwrap().is_ok());
        assert_eq!(reason(&waiting.await.unwrap()), None);
    }
}

/// What would begin at its deadline could only be cut off at once, and its outcome would not be known.
#[tokio::test(start_paused = true)]
async fn a_slot_that_comes_free_at_the_deadline_comes_too_late() {
    let five = Duration::from_secs(5);
    let script = Script::new([Step::After(five, Ok(Response::new("first")))]);
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).layer(script.clone());
    let target = tool("t");
    let first = service.call(request(&target));
    let mut late = request(&target);
    late.head.deadline.soft = Some(Instant::now() + five);
    let (first, second) = tokio::join!(first, service.call(late));
    assert!(first.is_ok());
    assert_eq!((reason(&second), script.calls()), (Some(Reason::Deadline), 1));
}

/// Who waits for a task may wait for minutes: that keeps nobody from a result that is there.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_work_elsewhere_have_a_cap_of_their_own_and_no_queue() {
    let target = Catalogue::new("up").resolve(&Method::TasksResult, None, None);
    let higher = NonZeroU32::new(2000).unwrap();
    let layers = [
        (ConcurrencyLayer::default(), 1024),
        (ConcurrencyLayer::adaptive(Bounds::default()), 1024),
        (ConcurrencyLayer::new(higher), 2000),
    ];
    for (layer, most) in layers {
        let mut service = layer.layer(hang_all(most));
        let waiting: Vec<_> = (0..most).map(|_| service.call(of_tenant(&target, "heavy"))).collect();
        let status = layer.handle().target(&target).unwrap();
        assert_eq!((status.in_flight as usize, status.limit as usize, status.places), (most, most, 0));
        let refused = service.call(of_tenant(&target, "light")).now_or_never().unwrap();
        assert_eq!(reason(&refused), Some(Reason::QueueFull));
        drop(waiting);
        assert!(service.call(of_tenant(&target, "light")).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_set_for_all_targets_leaves_that_cap_as_it_is_for_those_met_and_those_to_come() {
    let [met, unmet] = ["met", "unmet"].map(|upstream| Catalogue::new(upstream).resolve(&Method::TasksResult, None, None));
    for layer in [ConcurrencyLayer::default(), ConcurrencyLayer::adaptive(Bounds::default())] {
        let handle = layer.handle();
        let is = |target| handle.target(target).map(|status| (status.limit, status.places)).unwrap();
        assert_eq!(is(&met), (1024, 0));
        for (limit, cap) in [(10, 1024), (2000, 2000), (11, 1024)] {
            handle.set_limits(NonZeroU32::new(limit).unwrap());
            handle.set_queues(5);
            assert_eq!(is(&met), (cap, 0));
        }
        assert_eq!(is(&unmet), (1024, 0));
        // What is said of the target itself is heard.
        handle.set_limit(&met, NonZeroU32::MIN);
        handle.set_queue(&met, 2);
        assert_eq!(is(&met), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn targets_do_not_take_each_others_slots() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(0).layer(hang());
    let (one, other) = (tool("one"), tool("other"));
    let _running = service.call(request(&one));
    assert!(service.call(request(&other)).await.is_ok());
}

/// Waiting does not eat the attempt's own time.
#[tokio::test(start_paused = true)]
async fn an_attempt_begins_when_it_has_its_slot() {
    let service = service_fn(async |call: Request<()>| {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok::<_, BoxError>(Response::new(call.head.attempt_at))
    });
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).layer(service);
    let target = tool("t");
    let began = Instant::now();
    let (first, second) = tokio::join!(service.call(request(&target)), service.call(request(&target)));
    assert_eq!(first.unwrap().result, Ok(began));
    assert_eq!(second.unwrap().result, Ok(began + Duration::from_secs(3)));
}

pub(super) fn of_tenant(target: &Arc<Target>, tenant: &str) -> Request<()> {
    let mut request = request(target);
    request.head.caller = Caller::of_tenant(tenant);
    request
}

/// Of tenants.
type Names = Arc<std::sync::Mutex<Vec<String>>>;

/// Answers after a second, and says who was served.
pub(super) fn slow() -> (impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + Send, Names)
{
    let served = Names::default();
    let service = {
        let served = served.clone();
        service_fn(move |call: Request<()>| {
            served.lock().unwrap().push(call.head.caller.tenant().to_owned());
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, BoxError>(Response::new(()))
            }
        })
    };
    (service, served)
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_one_call_does_not_wait_behind_anothers_backlog() {
    let (service, served) = slow();
    let service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(9).layer(service);
    let target = tool("t");
    let tenants = ["heavy", "heavy", "heavy", "heavy", "light"];
    let calls: Vec<_> = tenants.map(|tenant| tokio::spawn(service.clone().oneshot(of_tenant(&target, tenant)))).into();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let place = served.lock().unwrap().iter().position(|tenant| tenant == "light").unwrap();
    assert!(place <= 2, "{:?}", served.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_room_for_who_has_less_in_it() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(2).layer(hang());
    let target = tool("t");
    let running = service.call(of_tenant(&target, "heavy"));
    let first = service.call(of_tenant(&target, "heavy"));
    let last = service.call(of_tenant(&target, "heavy"));
    let light = service.call(of_tenant(&target, "light"));
    assert_eq!(reason(&last.await), Some(Reason::QueueFull));
    drop((running, first));
    assert!(light.await.is_ok());
}

/// The slot that a call gives up on its way to it is not lost.
#[tokio::test(start_paused = true)]
async fn a_slot_on_its_way_to_a_call_that_is_dropped_goes_to_the_next() {
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(2).layer(hang());
    let target = tool("t");
    let running = service.call(request(&target));
    let next = service.call(request(&target));
    let after = service.call(request(&target));
    drop(running);
    drop(next);
    let after = after.await;
    assert!(after.is_ok(), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_lowered_waits_for_those_under_way_and_one_that_is_raised_lets_in_who_waits() {
    let layer = ConcurrencyLayer::new(NonZeroU32::new(3).unwrap());
    let (handle, mut service, target) = (layer.handle(), layer.layer(hang_all(8)), tool("t"));
    let mut running: Vec<_> = (0..3).map(|_| service.call(request(&target))).collect();
    handle.set_limit(&target, NonZeroU32::MIN);
    let mut waiting = watched(service.call(request(&target)));
    for left in [2, 1] {
        running.pop();
        assert!(!waiting.is_done().await);
        let status = handle.target(&target).unwrap();
        assert_eq!((status.in_flight, status.limit, status.waiting, status.tenants_waiting), (left, 1, 1, 1));
    }
    handle.set_limit(&target, NonZeroU32::new(2).unwrap());
    assert!(!waiting.is_done().await);
    assert_eq!(handle.target(&target).unwrap().in_flight, 2);
    // All are given back.
    drop((running, waiting));
    tokio::task::yield_now().await;
    let status = handle.target(&target).unwrap();
    assert_eq!((status.in_flight, status.waiting), (0, 0));
    assert_eq!(handle.iter().collect::<Vec<_>>(), [status]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_the_operators_word_or_the_layers_own_and_who_waits_is_let_in_by_either() {
    let layer = ConcurrencyLayer::new(NonZeroU32::MIN).queue(5);
    let (handle, mut service, some) = (layer.handle(), layer.layer(hang_all(8)), |n| NonZeroU32::new(n).unwrap());
    let catalogue = Catalogue::new("up").tool("t", TargetPolicy::default());
    let target = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
    let mut calls: Vec<_> = (0..6).map(|_| watched(service.call(request(&target)))).collect();
    assert!(!calls[5].is_done().await);
    let status = || handle.target(&target).map(|status| (status.in_flight, status.waiting, status.limit)).unwrap();
    assert_eq!(status(), (1, 5, 1));
    let word = TargetPolicy::default().concurrency(some(3));
    catalogue.set_tool("t", word.clone()).unwrap();
    assert_eq!(status(), (3, 3, 3));
    handle.set_limit(&target, some(4));
    catalogue.set_tool("t", word.idempotent(true)).unwrap();
    assert_eq!(status(), (4, 2, 4), "nothing new is said of it");
    handle.set_limits(some(5));
    assert_eq!(status(), (4, 2, 4), "the layer's own is not asked");
    catalogue.set_tool("t", TargetPolicy::default()).unwrap();
    assert_eq!(status(), (5, 1, 5));
    handle.set_limits(some(6));
    assert_eq!(status(), (6, 0, 6));
}

#[tokio::test(start_paused = true)]
async fn queue_places_change_while_calls_wait() {
    let layer = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1);
    let (handle, mut service, target) = (layer.handle(), layer.layer(hang()), tool("t"));
    let running = service.call(request(&target));
    let waiting = service.call(request(&target));
    handle.set_queue(&target, 0);
    assert_eq!(reason(&service.call(request(&target)).await), Some(Reason::QueueFull));
    handle.set_queue(&target, 2);
    assert!(service.call(request(&target)).now_or_never().is_none(), "there is room for two");
    assert_eq!(handle.target(&target).unwrap().places, 2);
    drop(running);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_new_calls_and_ends_with_the_last_that_runs_or_waits() {
    let layer = ConcurrencyLayer::new(NonZeroU32::MIN);
    let (handle, target) = (layer.handle(), tool("t"));
    let mut service = layer.layer(slow().0);
    let calls = [service.call(request(&target)), service.call(request(&target))].map(tokio::spawn);
    let began = Instant::now();
    let drained = handle.drain(&target);
    let refused = service.call(request(&target)).await;
    assert_eq!(refused.unwrap_err().downcast_ref().map(Rejected::reason), Some(Reason::Draining));
    assert!(handle.target(&target).unwrap().draining);
    drained.await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    // Nothing is under way: at once.
    handle.drain(&target).await;
    handle.resume(&target);
    assert!(service.call(request(&target)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_where_limits_are_only_observed() {
    for layer in [ConcurrencyLayer::new(NonZeroU32::MIN), ConcurrencyLayer::adaptive(Bounds::try_new(1, 1, 8).unwrap())] {
        let layer = layer.mode(Mode::Observe);
        let (handle, target) = (layer.handle(), tool("t"));
        let mut service = layer.layer(slow().0);
        let calls = [service.call(request(&target)), service.call(request(&target))].map(tokio::spawn);
        let drained = handle.drain(&target);
        let refused = service.call(request(&target)).await;
        assert_eq!(refused.unwrap_err().downcast_ref().map(Rejected::reason), Some(Reason::Draining));
        drained.await;
        assert_eq!(handle.target(&target).unwrap().in_flight, 0);
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
        handle.resume(&target);
        assert!(service.call(request(&target)).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn draining_that_is_called_off_ends() {
    let layer = ConcurrencyLayer::new(NonZeroU32::MIN);
    let (handle, target) = (layer.handle(), tool("t"));
    let _running = layer.layer(hang()).call(request(&target));
    let drained = tokio::spawn(handle.drain(&target));
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    handle.resume(&target);
    drained.await.unwrap();
}

/// A server that ignores a cancellation goes on holding what the limit bounds.
#[tokio::test(start_paused = true)]
async fn a_slot_that_is_kept_counts_until_it_is_given_back() {
    let kept = Arc::<std::sync::Mutex<Option<KeptSlot>>>::default();
    let service = {
        let kept = kept.clone();
        service_fn(move |call: Request<()>| {
            // Called off, and yet at work: kept while the attempt's own slot is held, as a transport does in a drop.
            *kept.lock().unwrap() = call.head.held_slot().map(HeldSlot::keep);
            async { Ok::<_, BoxError>(Response::new(())) }
        })
    };
    let layer = ConcurrencyLayer::new(NonZeroU32::MIN);
    let (handle, mut service, target) = (layer.handle(), layer.layer(service), tool("t"));
    assert!(service.call(request(&target)).await.is_ok());
    let status = handle.target(&target).unwrap();
    assert_eq!((status.in_flight, status.kept), (1, 1));
    let mut retry = request(&target);
    retry.head.admission = Admission::NoWait;
    assert_eq!(service.call(retry).await.unwrap_err().downcast_ref().map(Rejected::reason), Some(Reason::NoSlot));

    let mut waiting = watched(service.call(request(&target)));
    assert!(!waiting.is_done().await);
    drop(kept.lock().unwrap().take());
    assert!(waiting.is_done().await);
    drop(kept.lock().unwrap().take());
    let status = handle.target(&target).unwrap();
    assert_eq!((status.in_flight, status.kept), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn observing_counts_what_it_would_refuse_and_lets_everything_pass_at_once() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let layer = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).mode(Mode::Observe);
    let (handle, mut service, target) = (layer.handle(), layer.layer(hang_all(4)), tool("t"));
    // The first has the slot, the second would wait, two more be refused; and a retry is.
    let running: Vec<_> = (0..4).map(|_| service.call(request(&target))).collect();
    let mut retry = request(&target);
    retry.head.admission = Admission::NoWait;
    assert!(service.call(retry).await.is_ok());
    assert_eq!(handle.target(&target).unwrap().in_flight, 4);
    let counted: Vec<(String, u64)> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, _, _, value)| {
            let reason = key.key().labels().find(|label| label.key() == "reason")?.value().to_owned();
            match value {
                metrics_util::debugging::DebugValue::Counter(count) => Some((reason, count)),
                _ => None,
            }
        })
        .collect();
    let mut counted = counted;
    counted.sort();
    assert_eq!(counted, [("no_slot".to_owned(), 1), ("queue_full".to_owned(), 2)]);
    drop(running);

    // And back: who waits is let in when nothing is refused any more.
    handle.set_mode(Mode::Enforce);
    let mut service = layer.layer(hang_all(1));
    let _running = service.call(request(&target));
    let mut waiting = watched(service.call(request(&target)));
    assert!(!waiting.is_done().await);
    handle.set_mode(Mode::Observe);
    assert!(waiting.is_done().await);
}

#[tokio::test(start_paused = true)]
async fn how_long_who_waited_had_to_is_recorded() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let step = Step::After(Duration::from_secs(2), Ok(Response::new("done")));
    let mut service = ConcurrencyLayer::new(NonZeroU32::MIN).queue(1).layer(Script::new([step]));
    let target = tool("t");
    let (first, second) = (service.call(request(&target)), service.call(request(&target)));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    let waited = recorder.snapshotter().snapshot().into_vec().into_iter().find_map(|(key, .., value)| match value {
        metrics_util::debugging::DebugValue::Histogram(waited) if key.key().name() == QUEUE_DURATION.name => Some(waited),
        _ => None,
    });
    assert_eq!(waited, Some(vec![2.0.into()]));
}

/// The pace at which slots came free in an incident says nothing of a burst an hour and a thousand quick calls later.
#[tokio::test(start_paused = true)]
async fn a_burst_is_not_shed_by_the_pace_of_an_incident_long_over() {
    let service = service_fn(|call: Request<u64>| async move {
        tokio::time::sleep(Duration::from_millis(call.params)).await;
        Ok::<_, BoxError>(Response::new(()))
    });
    for (limit, slow, took, burst) in [(1, 3, 15_000, 20), (4, 8, 20_000, 40), (64, 65, 20_000, 128)] {
        let (service, target) = (ConcurrencyLayer::new(NonZeroU32::new(limit).unwrap()).queue(64).layer(service), tool("t"));
        let at_once = async |calls: usize, took| {
            let call = || {
                let mut request = Request::new(target.clone(), took);
                request.head.deadline.soft = Some(Instant::now() + Duration::from_secs(55));
                service.clone().oneshot(request)
            };
            let outcomes = futures_util::future::join_all((0..calls).map(|_| call())).await;
            outcomes.iter().filter(|outcome| outcome.is_ok()).count()
        };
        assert_eq!(at_once(slow, took).await, slow);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        for _ in 0..1000 {
            assert_eq!(at_once(1, 50).await, 1);
        }
        assert_eq!(at_once(burst, 50).await, burst, "{limit} slots");
    }
}

#[tokio::test(start_paused = true)]
async fn only_answers_tell_how_long_calls_take() {
    let layer = ConcurrencyLayer::default();
    let answer = |result| Step::After(Duration::from_secs(1), result);
    let script = Script::new([answer(Ok(Response::new("ok"))), answer(Err("lost".into())), Step::Hang]);
    let (handle, mut service, target) = (layer.handle(), layer.layer(script), tool("t"));
    assert!(service.call(request(&target)).await.is_ok());
    let p50 = handle.target(&target).unwrap().p50;
    assert_eq!(p50.map(|p50| p50.as_millis()), Some(1000));
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(service.call(request(&target)).await.is_err());
    drop(service.call(request(&target)));
    assert_eq!(handle.target(&target).unwrap().p50, p50);
}

pub(super) fn hang_all(times: usize) -> Script {
    Script::new((0..times).map(|_| Step::Hang))
}

/// A task whose end can be looked at after everything has had its turn.
struct Spawned<T>(tokio::task::JoinHandle<T>);

fn watched<F>(future: F) -> Spawned<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    Spawned(tokio::spawn(future))
}

impl<T> Spawned<T> {
    async fn is_done(&mut self) -> bool {
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        self.0.is_finished()
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
