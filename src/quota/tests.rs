use std::{
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use governor::Quota;
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep},
};
use tower::{Layer, Service};

use super::{Per, QuotaError, QuotaLayer, QuotaService};
use crate::{
    call::{Admission, Caller, Deadline, Digest, Head, Method, Request, Target, TargetPolicy},
    catalogue::Catalogue,
    error::{Allowance, Reason, Rejected, Scope},
    gate::Mode,
    testing::{Script, Step, tool},
};

const SECOND: Duration = Duration::from_secs(1);

fn per_minute(calls: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(calls).unwrap())
}

async fn refused(service: &mut QuotaService<Script>, tenant: &str, target: &Arc<Target>) -> Option<Rejected> {
    let mut request = Request::new(target.clone(), ());
    request.head.caller = Caller::of_tenant(tenant.to_owned());
    service.call(request).await.err()?.downcast_ref().copied()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_limit_and_the_exact_wait() {
    let mut service = QuotaLayer::new().per_tenant(per_minute(2)).layer(Script::default());
    let target = tool("t");
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(refused(&mut service, "a", &target).await, None);
    let rejected = refused(&mut service, "a", &target).await.unwrap();
    let allowance = Allowance { calls: 2, per: Duration::from_secs(60), scope: Scope::Tenant };
    let wait = Duration::from_secs(30);
    let expected = Rejected::new("quota", Reason::Quota).allowing(allowance).retry_after(Some(wait));
    assert_eq!(rejected, expected);
    advance(wait - Duration::from_millis(1)).await;
    assert!(refused(&mut service, "a", &target).await.is_some());
    advance(Duration::from_millis(1)).await;
    assert_eq!(refused(&mut service, "a", &target).await, None);
}

/// A tenant over its own limit takes nothing from what all share.
#[tokio::test(start_paused = true)]
async fn a_noisy_tenant_does_not_use_up_the_shared_limit() {
    let layer = QuotaLayer::new().per_tenant(per_minute(2)).overall(per_minute(4));
    let mut service = layer.layer(Script::default());
    let target = tool("t");
    for _ in 0..50 {
        refused(&mut service, "noisy", &target).await;
    }
    for tenant in ["b", "c"] {
        assert_eq!(refused(&mut service, tenant, &target).await, None, "{tenant}");
    }
    assert!(refused(&mut service, "d", &target).await.is_some_and(|rejected| rejected.allowance().unwrap().calls == 4));
    // noisy, b, c, and the one cell that all share: a refused key is not remembered.
    assert_eq!((layer.tracked_keys(), layer.overflows()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn each_scope_has_cells_of_its_own() {
    type With = fn(QuotaLayer, Quota) -> QuotaLayer;
    let scopes: [(With, [bool; 3]); 4] = [
        (QuotaLayer::per_tenant_and_target, [true, true, true]),
        (QuotaLayer::per_tenant, [false, true, true]),
        (QuotaLayer::per_target, [true, false, true]),
        (QuotaLayer::overall, [false, false, false]),
    ];
    let (one, other) = (tool("one"), tool("other"));
    for (scope, admitted) in scopes {
        for (n, (tenant, target)) in [("a", &other), ("b", &one), ("b", &other)].into_iter().enumerate() {
            let mut service = scope(QuotaLayer::new(), per_minute(1)).layer(Script::default());
            assert_eq!(refused(&mut service, "a", &one).await, None);
            assert_eq!(refused(&mut service, tenant, target).await.is_none(), admitted[n], "{n}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lifecycle_methods_pass_and_are_not_counted() {
    let layer = QuotaLayer::new().overall(per_minute(1));
    let mut service = layer.layer(Script::default());
    let initialize = Catalogue::new("up").resolve(&Method::Initialize, None, None);
    for _ in 0..5 {
        assert_eq!(refused(&mut service, "a", &initialize).await, None);
    }
    assert_eq!(refused(&mut service, "a", &tool("t")).await, None);
}

fn per_second(calls: u32) -> Quota {
    Quota::per_second(NonZeroU32::new(calls).unwrap())
}

fn request(tenant: &str, target: &Arc<Target>) -> Request<()> {
    let mut request = Request::new(target.clone(), ());
    request.head.caller = Caller::of_tenant(tenant.to_owned());
    request
}

fn head(tenant: &str, target: &Arc<Target>) -> Head {
    request(tenant, target).head
}

fn costly(cost: u32) -> Arc<Target> {
    let policy = TargetPolicy::default().cost(NonZeroU32::new(cost).unwrap());
    Catalogue::new("up").tool("costly", policy).resolve(&Method::ToolsCall, Some("costly"), None)
}

fn local_reject() -> Step {
    Step::Answer(Err(Rejected::new("concurrency", Reason::QueueFull).into()))
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_as_much_as_its_tool_costs() {
    let mut service = QuotaLayer::new().per_tenant(per_minute(5)).layer(Script::default());
    let (cheap, dear, beyond) = (tool("t"), costly(4), costly(6));
    assert_eq!(refused(&mut service, "a", &dear).await, None);
    assert_eq!(refused(&mut service, "a", &cheap).await, None);
    assert_eq!(refused(&mut service, "a", &dear).await.and_then(|rejected| rejected.delay()), Some(48 * SECOND));
    let never = refused(&mut service, "b", &beyond).await.unwrap();
    assert!(never.is_final() && never.delay().is_none());
}

#[test]
fn a_burst_below_the_cost_of_a_declared_tool_does_not_build() {
    let policy = |cost| TargetPolicy::default().cost(NonZeroU32::new(cost).unwrap());
    let catalogue = Catalogue::new("up").tool("light", policy(2)).tool("heavy", policy(6)).tool("plain", TargetPolicy::default());
    let layer = QuotaLayer::new().overall(per_minute(100)).per_tenant(per_minute(5));
    let error = layer.clone().checked_for(&catalogue).unwrap_err();
    assert_eq!(error, QuotaError::Burst { tool: "heavy".into(), cost: 6, scope: Scope::Tenant, burst: 5 });
    assert_eq!(
        error.to_string(),
        "a call of \"heavy\" costs 6, but the burst of the limit per tenant is 5: none would ever pass"
    );
    let layer = layer.per_tenant(per_minute(6)).checked_for(&catalogue).unwrap();
    assert!(layer.handle().set(Per::TENANT, per_minute(5)).is_err());
    assert_eq!(layer.handle().limits()[0].1, per_minute(6), "nothing is changed by what is refused");
    assert_eq!(layer.handle().set(Per::TENANT, per_minute(7)), Ok(()));
    // A second catalogue takes nothing back.
    assert_eq!(layer.handle().check_for(&Catalogue::new("other").tool("light", policy(2))), Ok(()));
    assert!(layer.handle().set(Per::TENANT, per_minute(5)).is_err());
    let stack = crate::Stack::new().quota(QuotaLayer::new().per_tenant(per_minute(5)));
    assert_eq!(stack.check_for(&catalogue), Err(error));
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_count_per_agent_client_principal_or_a_key_of_ones_own() {
    fn by_token(head: &Head) -> Option<Digest> {
        head.caller.authorisation()
    }
    let target = tool("t");
    let me = || Caller::of_tenant("a").principal("p").client("c").agent("s").access_token(b"x");
    let cases: [(Per, Scope, Caller); 5] = [
        (Per::AGENT, Scope::Agent, me().agent("other")),
        (Per::CLIENT, Scope::Client, me().client("other")),
        (Per::PRINCIPAL.and(Per::TARGET), Scope::PrincipalAndTarget, me().principal("other")),
        (Per::key_by(by_token), Scope::Own, me().access_token(b"other")),
        (Per::AGENT.and(Per::PRINCIPAL), Scope::Agent, me().principal("other")),
    ];
    for (per, scope, other) in cases {
        let mut service = QuotaLayer::new().limit(per, per_minute(1)).unwrap().layer(Script::default());
        let mut ask = async |caller: Caller| {
            let mut request = Request::new(target.clone(), ());
            request.head.caller = caller;
            service.call(request).await.err()
        };
        assert!(ask(me()).await.is_none());
        let error = ask(me()).await.unwrap();
        assert_eq!(error.downcast_ref::<Rejected>().unwrap().allowance().unwrap().scope, scope);
        assert!(ask(other).await.is_none(), "{scope:?}");
        if scope == Scope::Agent {
            assert!(ask(Caller::of_tenant("b").principal("p").client("c").agent("s")).await.is_none(), "of another tenant");
        }
        if scope == Scope::Own {
            for _ in 0..3 {
                assert!(ask(Caller::of_tenant("a")).await.is_none(), "no key, no limit");
            }
        }
    }
}

#[test]
fn a_layer_has_room_for_two_limits_beside_the_named_ones() {
    let with = |layer: QuotaLayer, per| layer.limit(per, per_minute(1));
    let layer = QuotaLayer::new().per_tenant(per_minute(1)).overall(per_minute(1));
    let layer = with(with(layer, Per::AGENT).unwrap(), Per::CLIENT).unwrap();
    assert_eq!(with(layer.clone(), Per::PRINCIPAL).unwrap_err(), QuotaError::TooMany(3));
    let layer = with(layer, Per::CLIENT).unwrap().per_target(per_minute(1)).per_tenant_and_target(per_minute(1));
    let scopes: Vec<_> = layer.handle().limits().into_iter().map(|(per, _)| per.scope()).collect();
    let expected = [Scope::Agent, Scope::Client, Scope::TenantAndTarget, Scope::Tenant, Scope::Target, Scope::All];
    assert_eq!(scopes, expected, "a caller's own come first");
}

/// Shed further in, a call is not counted; but not where that would give out what others were decided on.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_is_taken_back() {
    let layer = QuotaLayer::new().per_tenant(per_minute(1)).overall(per_minute(3));
    let target = tool("t");
    let mut service = layer.layer(Script::new([local_reject(), Step::Answer(Ok(crate::call::Response::new("done")))]));
    assert_eq!(refused(&mut service, "a", &target).await.unwrap().layer(), "concurrency");
    assert_eq!(layer.tracked_keys(), 0);
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(refused(&mut service, "a", &target).await.unwrap().layer(), "quota");

    // Two under way in the shared cell: the first to be shed is not on top, and stays counted there.
    let left = |tenant| {
        let standing = |per| layer.handle().standing(per, &head(tenant, &target)).unwrap().remaining;
        (standing(Per::TENANT), standing(Per::ALL))
    };
    assert_eq!(left("b"), (1, 2));
    let shed = || Step::After(SECOND, Err(Rejected::new("concurrency", Reason::QueueFull).into()));
    let mut service = layer.layer(Script::new([shed(), shed()]));
    let [first, second] = ["b", "c"].map(|tenant| service.call(request(tenant, &target)));
    assert_eq!(left("b"), (0, 0));
    assert!(first.await.is_err());
    assert_eq!(left("b"), (1, 0));
    assert!(second.await.is_err());
    assert_eq!((left("b"), left("c")), ((1, 1), (1, 1)), "the last one is taken back in both");
}

/// Sent, or lost on the way, or left by its caller: counted.
#[tokio::test(start_paused = true)]
async fn any_other_end_stays_counted() {
    let layer = QuotaLayer::new().overall(per_minute(9));
    let steps = [Step::Answer(Err(crate::error::Transport::not_sent("down").into())), Step::Hang];
    let mut service = layer.layer(Script::new(steps));
    let target = tool("t");
    assert!(service.call(request("a", &target)).await.is_err());
    let mut hanging = Box::pin(service.call(request("a", &target)));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    drop(hanging);
    assert_eq!(layer.handle().standing(Per::ALL, &head("a", &target)).unwrap().remaining, 7);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_where_its_caller_stands() {
    let mut service = QuotaLayer::new().per_tenant(per_minute(6)).overall(per_minute(100)).layer(Script::default());
    let target = tool("t");
    let standing = service.call(request("a", &target)).await.unwrap().standing.unwrap();
    assert_eq!((standing.scope, standing.quota, standing.remaining), (Scope::Tenant, 6, 5));
    assert_eq!((standing.window, standing.reset), (60 * SECOND, 10 * SECOND));
}

/// Notes who reaches the handler, and when.
#[derive(Clone)]
struct Notes {
    began: Instant,
    seen: Arc<Mutex<Vec<(String, u64)>>>,
    shed: bool,
}

impl Notes {
    fn new() -> Self {
        Self { began: Instant::now(), seen: Arc::default(), shed: false }
    }

    fn take(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Service<Request<()>> for Notes {
    type Response = crate::call::Response<&'static str>;
    type Error = crate::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        assert_eq!(request.head.attempt_at, Instant::now());
        self.seen.lock().unwrap().push((request.head.caller.tenant().to_owned(), at));
        let shed = self.shed;
        Box::pin(async move {
            if shed { Err(Rejected::new("breaker", Reason::BreakerOpen).into()) } else { Ok(crate::call::Response::new("done")) }
        })
    }
}

type Waited = JoinHandle<Option<Rejected>>;

/// Makes a call in a task of its own, and lets it take its place.
async fn start<S>(service: &mut S, request: Request<()>) -> Waited
where
    S: Service<Request<()>, Error = crate::BoxError, Future: Send + 'static>,
{
    let call = service.call(request);
    let task = tokio::spawn(async move { call.await.err().map(|error| *error.downcast_ref().unwrap()) });
    tokio::task::yield_now().await;
    task
}

const fn delay(rejected: Option<Rejected>) -> Option<Duration> {
    match rejected {
        Some(rejected) => rejected.delay(),
        None => None,
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_in_line_and_a_later_one_overtakes_nobody() {
    let notes = Notes::new();
    let layer = QuotaLayer::new().overall(per_second(1)).wait(10 * SECOND, 3);
    let mut service = layer.layer(notes.clone());
    let target = tool("t");
    let mut calls = Vec::new();
    for tenant in ["a", "b", "c"] {
        calls.push(start(&mut service, request(tenant, &target)).await);
    }
    assert_eq!(layer.handle().waiting(), 2);
    advance(SECOND / 2).await;
    calls.push(start(&mut service, request("d", &target)).await);
    let full = start(&mut service, request("e", &target)).await.await.unwrap();
    assert_eq!(delay(full), Some(3 * SECOND + SECOND / 2), "the places are taken, and it is told when to come back");
    // The place of the last in line is free again; that of one who has others behind it is lost.
    sleep(3 * SECOND).await;
    for call in calls {
        assert_eq!(call.await.unwrap(), None);
    }
    let seen: Vec<_> = [("a", 0), ("b", 1000), ("c", 2000), ("d", 3000)].map(|(who, at)| (who.to_owned(), at)).into();
    assert_eq!((notes.take(), layer.handle().waiting()), (seen, 0));
}

#[tokio::test(start_paused = true)]
async fn whether_calls_may_wait_is_changed_while_some_do() {
    let (layer, target) = (QuotaLayer::new().overall(per_second(1)), tool("t"));
    let (mut service, handle) = (layer.layer(Script::default()), layer.handle());
    assert_eq!(handle.wait(), (Duration::ZERO, 0));
    handle.set_wait(10 * SECOND, 9);
    let mut calls = Vec::new();
    for _ in 0..6 {
        calls.push(start(&mut service, request("a", &target)).await);
    }
    assert_eq!((handle.waiting(), handle.wait()), (5, (10 * SECOND, 9)));
    handle.set_wait(Duration::ZERO, 0);
    assert!(start(&mut service, request("a", &target)).await.await.unwrap().is_some(), "nobody else may");
    // The cell is ahead of its time by as much as calls could wait: the next quota has to know for as long.
    handle.set(Per::ALL, per_minute(60)).unwrap();
    let left = || handle.standing(Per::ALL, &head("a", &target)).unwrap().remaining;
    assert_eq!(left(), 54);
    sleep(3 * SECOND).await;
    assert_eq!(left(), 57);
    for call in calls {
        assert_eq!(call.await.unwrap(), None, "who waited keeps its turn");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_gives_its_place_back_only_from_its_end() {
    let notes = Notes::new();
    let layer = QuotaLayer::new().overall(per_second(1)).wait(10 * SECOND, 9);
    let mut service = layer.layer(notes.clone());
    let target = tool("t");
    let mut calls = Vec::new();
    for tenant in ["a", "b", "c", "d"] {
        calls.push(start(&mut service, request(tenant, &target)).await);
    }
    for left in [3, 1] {
        calls[left].abort();
        tokio::task::yield_now().await;
    }
    assert_eq!(layer.handle().waiting(), 1);
    let last = start(&mut service, request("e", &target)).await;
    sleep(9 * SECOND).await;
    assert_eq!(last.await.unwrap(), None);
    let seen: Vec<_> = [("a", 0), ("c", 2000), ("e", 3000)].map(|(who, at)| (who.to_owned(), at)).into();
    assert_eq!(notes.take(), seen, "d was the last: e has its place; b was not");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_comes_too_late_or_may_not_wait() {
    let layer = QuotaLayer::new().overall(per_second(1)).wait(2 * SECOND, 9);
    let mut service = layer.layer(Notes::new());
    let target = tool("t");
    let first = start(&mut service, request("a", &target)).await;
    let mut retry = request("a", &target);
    retry.head.admission = Admission::NoWait;
    assert_eq!(delay(start(&mut service, retry).await.await.unwrap()), Some(SECOND));
    let mut brief = request("a", &target);
    let end = brief.head.arrived + 2 * SECOND - Duration::from_nanos(2);
    brief.head.deadline = Deadline { hard: Some(end), ..Deadline::default() };
    assert_eq!(delay(start(&mut service, brief).await.await.unwrap()), Some(SECOND), "less than half of its time would be left");
    let waiting = [start(&mut service, request("a", &target)).await, start(&mut service, request("a", &target)).await];
    assert_eq!(delay(start(&mut service, request("a", &target)).await.await.unwrap()), Some(3 * SECOND), "longer than allowed");
    assert_eq!(first.await.unwrap(), None);
    for call in waiting {
        assert_eq!(call.await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_limit_that_is_gone() {
    for remove in [true, false] {
        let notes = Notes::new();
        let layer = QuotaLayer::new().overall(per_minute(1)).wait(300 * SECOND, 9);
        let (mut service, handle, target) = (layer.layer(notes.clone()), layer.handle(), tool("t"));
        let mut calls = vec![start(&mut service, request("a", &target)).await, start(&mut service, request("b", &target)).await];
        sleep(SECOND).await;
        // Another change is none for those who wait.
        handle.set(Per::TENANT, per_minute(9)).unwrap();
        sleep(SECOND).await;
        if remove {
            handle.remove(Per::ALL);
        } else {
            handle.set_mode(Mode::Observe);
        }
        calls.push(start(&mut service, request("c", &target)).await);
        sleep(Duration::from_millis(1)).await;
        let seen: Vec<_> = [("a", 0), ("b", 2000), ("c", 2000)].map(|(who, at)| (who.to_owned(), at)).into();
        let mut came = notes.take();
        came.sort();
        assert_eq!((came, handle.waiting()), (seen, 0), "{remove}");
        for call in calls {
            assert_eq!(call.await.unwrap(), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_half_of_the_line_where_others_wait_too_and_alone_it_leaves_some_room() {
    let layer = QuotaLayer::new().per_tenant(per_minute(1)).wait(3600 * SECOND, 8);
    let (mut service, handle, target) = (layer.layer(Notes::new()), layer.handle(), tool("t"));
    let mut sends = async |tenant, calls, after: u32| {
        sleep(after * SECOND).await;
        for _ in 0..calls {
            start(&mut service, request(tenant, &target)).await;
        }
        handle.waiting()
    };
    assert_eq!([sends("noisy", 12, 0).await, sends("light", 12, 0).await, sends("other", 12, 0).await], [7, 8, 8]);
    assert_eq!(sends("light", 2, 130).await, 6, "five of the noisy one's, and one more");
    assert_eq!(sends("noisy", 1, 0).await, 6);
    assert_eq!(sends("noisy", 1, 55).await, 5, "four, which is half");
    assert_eq!(sends("light", 12, 0).await, 8);
}

/// A place in a line must not hold up whoever shares another limit.
#[tokio::test(start_paused = true)]
async fn a_tenant_that_waits_for_itself_takes_nothing_from_the_others() {
    let notes = Notes::new();
    let layer = QuotaLayer::new().per_tenant(per_second(1)).overall(per_second(10)).wait(10 * SECOND, 50);
    let mut service = layer.layer(notes.clone());
    let target = tool("t");
    let mut noisy = Vec::new();
    for _ in 0..8 {
        noisy.push(start(&mut service, request("noisy", &target)).await);
    }
    for tenant in ["b", "c", "d", "e", "f"] {
        assert_eq!(start(&mut service, request(tenant, &target)).await.await.unwrap(), None);
    }
    assert!(notes.take().iter().all(|(_, at)| *at == 0), "none of them waited");
    // When its turn comes, what all share is used up: it is refused, and its own limit is given back.
    advance(SECOND - Duration::from_millis(1)).await;
    for n in 0..10 {
        assert_eq!(start(&mut service, request(&format!("g{n}"), &target)).await.await.unwrap(), None);
    }
    let shared = noisy.remove(1).await.unwrap().unwrap();
    assert_eq!(shared.allowance().unwrap().scope, Scope::All);
    assert_eq!(notes.take().len(), 10);
    sleep(10 * SECOND).await;
    assert_eq!(notes.take().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_and_was_not_sent_is_taken_back() {
    let layer = QuotaLayer::new().per_tenant(per_second(1)).overall(per_second(10)).wait(10 * SECOND, 50);
    let mut service = layer.layer(Notes { shed: true, ..Notes::new() });
    let target = tool("t");
    assert_eq!(refused_by(&mut service, &target).await, Some("breaker"));
    let mut passing = layer.layer(Notes::new());
    assert_eq!(refused_by(&mut passing, &target).await, None);
    assert_eq!(refused_by(&mut service, &target).await, Some("breaker"), "after a second");
    let standing = |per| layer.handle().standing(per, &head("a", &target)).unwrap().remaining;
    assert_eq!((standing(Per::TENANT), standing(Per::ALL)), (1, 10));
}

async fn refused_by(service: &mut QuotaService<Notes>, target: &Arc<Target>) -> Option<&'static str> {
    let error = service.call(request("a", target)).await.err()?;
    error.downcast_ref().map(Rejected::layer)
}

#[tokio::test(start_paused = true)]
async fn a_limit_changes_while_it_is_in_use() {
    let layer = QuotaLayer::new().per_tenant(per_minute(4));
    let (handle, target) = (layer.handle(), tool("t"));
    let mut service = layer.layer(Script::default());
    for _ in 0..4 {
        assert_eq!(refused(&mut service, "a", &target).await, None);
    }
    assert_eq!(delay(refused(&mut service, "a", &target).await), Some(15 * SECOND));
    assert_eq!(refused(&mut service, "b", &target).await, None);
    // Faster: what is owed is paid at the new rate.
    handle.set(Per::TENANT, per_second(2)).unwrap();
    assert_eq!(delay(refused(&mut service, "a", &target).await), Some(SECOND / 2), "the burst, not more, is owed");
    assert_eq!(refused(&mut service, "b", &target).await, None);
    assert_eq!(delay(refused(&mut service, "b", &target).await), Some(SECOND / 2), "one of two was owed");
    assert_eq!(refused(&mut service, "fresh", &target).await, None);
    // Slower, and other calls in between.
    advance(SECOND / 2).await;
    assert_eq!(refused(&mut service, "a", &target).await, None);
    handle.set(Per::TENANT, per_minute(4)).unwrap();
    assert_eq!(handle.standing(Per::TENANT, &head("a", &target)).unwrap().remaining, 2);
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(delay(refused(&mut service, "a", &target).await), Some(15 * SECOND));
    handle.remove(Per::TENANT);
    assert_eq!((refused(&mut service, "a", &target).await, handle.limits().len()), (None, 0));
    // What an earlier limit left behind means nothing to a new one.
    handle.set(Per::TENANT, per_minute(4)).unwrap();
    assert_eq!(handle.standing(Per::TENANT, &head("a", &target)).unwrap().remaining, 4);
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_set_again_and_again_stay_limits() {
    let layer = QuotaLayer::new().per_tenant(per_minute(4));
    let (handle, target) = (layer.handle(), tool("t"));
    let mut service = layer.layer(Script::default());
    for _ in 0..4 {
        assert_eq!(refused(&mut service, "a", &target).await, None);
    }
    // As who reads the same configuration twice does, and who changes his mind: nobody calls meanwhile.
    for calls in [4, 4, 2, 4, 8, 4] {
        handle.set(Per::TENANT, per_minute(calls)).unwrap();
    }
    assert_eq!(handle.standing(Per::TENANT, &head("a", &target)).unwrap().remaining, 2, "the burst of 2 was owed, and no more");
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(refused(&mut service, "a", &target).await, None);
    assert_eq!(delay(refused(&mut service, "a", &target).await), Some(15 * SECOND));
    for _ in 0..20 {
        handle.set(Per::TENANT, per_minute(4)).unwrap();
    }
    assert_eq!(delay(refused(&mut service, "a", &target).await), Some(15 * SECOND));
    // So many changes are remembered.
    for calls in [5, 4, 5, 4, 5, 4, 5, 4] {
        handle.set(Per::TENANT, per_minute(calls)).unwrap();
    }
    assert_eq!(delay(refused(&mut service, "a", &target).await), Some(15 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn observed_a_call_over_the_limit_passes_and_is_not_counted() {
    let layer = QuotaLayer::new().overall(per_minute(1)).wait(60 * SECOND, 9).mode(Mode::Observe);
    let (handle, target) = (layer.handle(), tool("t"));
    let mut service = layer.layer(Script::default());
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshot = recorder.snapshotter();
    {
        let _recording = metrics::set_default_local_recorder(&recorder);
        for _ in 0..3 {
            assert_eq!(refused(&mut service, "a", &target).await, None);
        }
    }
    let counted = snapshot
        .snapshot()
        .into_vec()
        .into_iter()
        .find_map(|(key, _, _, value)| (key.key().name() == crate::metrics::OBSERVED_REJECTIONS.name).then_some(value));
    assert_eq!(counted, Some(metrics_util::debugging::DebugValue::Counter(2)));
    handle.set_mode(Mode::Enforce);
    let mut now = request("a", &target);
    now.head.admission = Admission::NoWait;
    assert_eq!(delay(start(&mut service, now).await.await.unwrap()), Some(60 * SECOND), "one was counted, not three");
}
