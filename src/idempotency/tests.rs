use std::{
    borrow::Cow,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::{
    call::{Annotations, CallParams, Caller, Digest, Meta, Method, Request, Response, Served, Target, Verdict},
    catalogue::{Catalogue, Scope},
    classify::ended,
    error::{BoxError, Reason, Rejected, Transport},
    testing::{Outcome, safe_tool, tool},
};

const SECOND: Duration = Duration::from_secs(1);

/// What the handler does with a call, by its parameters: arguments, and what it continues.
#[derive(Debug, Clone)]
struct Ask(&'static str, Option<&'static str>);

impl CallParams for Ask {
    fn arguments(&self) -> Option<Digest> {
        Some(Digest::of(self.0.as_bytes()))
    }

    fn continuation(&self) -> Option<Digest> {
        self.1.map(|state| Digest::of(state.as_bytes()))
    }
}

fn keyed<P>(target: &Arc<Target>, key: &str, params: P) -> Request<P> {
    let mut request = Request::new(target.clone(), params);
    let meta = Meta { idempotency_key: Some(key.into()), ..Meta::default() };
    request.head.meta = Some(Arc::new(meta));
    request.head.deadline.soft = Some(Instant::now() + 10 * SECOND);
    request
}

/// For a transport that has one caller only.
fn layer() -> IdempotencyLayer {
    IdempotencyLayer::default().single_caller()
}

/// A handler that ends calls in these verdicts, and then succeeds; it counts how often it is called.
#[derive(Clone, Default)]
struct Told {
    verdicts: Arc<Mutex<Vec<Verdict>>>,
    calls: Arc<AtomicUsize>,
    takes: Duration,
}

impl Told {
    fn new(verdicts: &[Verdict]) -> Self {
        Self { verdicts: Arc::new(Mutex::new(verdicts.iter().rev().copied().collect())), ..Self::default() }
    }

    fn slow() -> Self {
        Self { takes: SECOND, ..Self::default() }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn behind(&self, layer: &IdempotencyLayer) -> Idempotency<Self> {
        layer.layer(self.clone())
    }
}

impl<P> Service<Request<P>> for Told {
    type Response = Response<&'static str>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<P>) -> Self::Future {
        let calls = self.calls.clone();
        let verdict = self.verdicts.lock().unwrap().pop().unwrap_or(Verdict::Ok);
        let takes = self.takes;
        Box::pin(async move {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            if !takes.is_zero() {
                sleep(takes).await;
            }
            let mut response = Response::new(["first", "second", "third", "fourth"][call.min(3)]);
            response.verdict = Some(verdict);
            match verdict {
                Verdict::NotSent => Err(Transport::not_sent("refused").into()),
                Verdict::LocalReject => Err(Rejected::new("breaker", Reason::BreakerOpen).into()),
                Verdict::Ambiguous { .. } => Err(Transport::unknown("reset").into()),
                _ => Ok(response),
            }
        })
    }
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    outcome.as_ref().err()?.downcast_ref().map(Rejected::reason)
}

fn said(outcome: Outcome) -> &'static str {
    outcome.unwrap().result.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_second_call_gets_by_what_became_of_the_first() {
    let throttled = Verdict::Throttled { retry_after: None };
    for (first, calls, unsafe_second, safe_second) in [
        (Verdict::Ok, 1, Verdict::Ok, Verdict::Ok),
        (Verdict::ToolError, 1, Verdict::ToolError, Verdict::ToolError),
        (Verdict::Task, 1, Verdict::Task, Verdict::Task),
        (Verdict::InputRequired, 2, Verdict::Ok, Verdict::Ok),
        (Verdict::ClientFault, 2, Verdict::Ok, Verdict::Ok),
        (Verdict::Denied, 2, Verdict::Ok, Verdict::Ok),
        (Verdict::SessionLost, 2, Verdict::Ok, Verdict::Ok),
        (throttled, 2, Verdict::Ok, Verdict::Ok),
        (Verdict::NotSent, 2, Verdict::Ok, Verdict::Ok),
        (Verdict::LocalReject, 2, Verdict::Ok, Verdict::Ok),
        (Verdict::AMBIGUOUS, 1, Verdict::AMBIGUOUS, Verdict::Ok),
        (Verdict::Cancelled, 1, Verdict::AMBIGUOUS, Verdict::Ok),
    ] {
        for (target, second) in [(tool("t"), unsafe_second), (safe_tool("t"), safe_second)] {
            let told = Told::new(&[first]);
            let service = told.behind(&layer());
            let call = async || service.clone().oneshot(keyed(&target, "k", Ask("x", None))).await;
            assert_eq!(Verdict::of(&call().await), first);
            let again = call().await;
            assert_eq!(Verdict::of(&again), second, "{first:?}");
            let made = if second == unsafe_second { calls } else { 2 };
            assert_eq!(told.calls(), made, "{first:?}");
            let replayed = again.is_ok_and(|response| response.served == Served::Replay);
            assert_eq!(replayed, made == 1 && second != Verdict::AMBIGUOUS, "{first:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_key_and_keys_of_others_are_apart() {
    let told = Told::default();
    let service = told.behind(&layer());
    let one = tool("one");
    let of = |caller: Caller| {
        let mut call = keyed(&one, "k", Ask("x", None));
        call.head.caller = caller;
        call
    };
    let acme = || Caller::of_tenant("acme");
    let calls = [
        Request::new(one.clone(), Ask("x", None)),
        Request::new(one.clone(), Ask("x", None)),
        keyed(&one, "k", Ask("x", None)),
        keyed(&one, "l", Ask("x", None)),
        of(acme()),
        of(acme().principal("p")),
        of(acme().access_token(b"t")),
    ];
    for (n, call) in calls.into_iter().enumerate() {
        assert!(service.clone().oneshot(call).await.is_ok_and(|response| response.served == Served::Attempt));
        assert_eq!(told.calls(), n + 1);
    }
}

/// A call that says its name itself, as the adapters' do, and whose arguments may be unreadable.
#[derive(Debug, Clone)]
struct Named(&'static str, Option<&'static str>);

impl CallParams for Named {
    fn arguments(&self) -> Option<Digest> {
        self.1.map(|arguments| Digest::of(arguments.as_bytes()))
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }
}

/// Its outcome stays unknown, although the name is listed after the first call, and the token is renewed.
#[tokio::test(start_paused = true)]
async fn a_key_outlives_the_entry_of_its_target() {
    let told = Told::new(&[Verdict::AMBIGUOUS]);
    let service = told.behind(&IdempotencyLayer::default());
    let catalogue = Catalogue::new("bank");
    let call = async |token: &'static str| {
        let caller = Caller::of_tenant("acme").principal("ann").access_token(token.as_bytes());
        let target = catalogue.resolve(&Method::ToolsCall, Some("pay"), caller.audience());
        let mut request = keyed(&target, "k", Named("pay", Some("x")));
        request.head.caller = caller.clone();
        let outcome = service.clone().oneshot(request).await;
        let listed = [("pay", Annotations::default())];
        catalogue.learn(&Method::ToolsCall, Scope::Private(caller.audience()), listed);
        Verdict::of(&outcome)
    };
    for token in ["old", "old", "new"] {
        assert_eq!(call(token).await, Verdict::AMBIGUOUS);
    }
    assert_eq!(told.calls(), 1);
    // Nor does it change with the connection: it is the same upstream by its name.
    let again = Catalogue::new("bank").resolve(&Method::ToolsCall, Some("pay"), None);
    let mut request = keyed(&again, "k", Named("pay", Some("x")));
    request.head.caller = Caller::of_tenant("acme").principal("ann");
    assert_eq!(Verdict::of(&service.oneshot(request).await), Verdict::AMBIGUOUS);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_used_for_another_tool_is_a_conflict() {
    let service = Told::default().behind(&layer());
    let nobody_listed = Catalogue::new("up").resolve(&Method::ToolsCall, Some("one"), None);
    let asks = async |key, target: &Arc<Target>, params| reason(&service.clone().oneshot(keyed(target, key, params)).await);
    for (key, first, other) in [
        ("names", Named("one", Some("x")), Named("other", Some("x"))),
        ("unreadable", Named("one", None), Named("other", None)),
        ("arguments", Named("one", Some("x")), Named("one", Some("y"))),
        ("readable first", Named("one", Some("x")), Named("one", None)),
        ("readable then", Named("one", None), Named("one", Some("x"))),
    ] {
        assert_eq!(asks(key, &nobody_listed, first.clone()).await, None, "{key}");
        assert_eq!(asks(key, &nobody_listed, other).await, Some(Reason::KeyReused), "{key}");
        assert_eq!(asks(key, &nobody_listed, first).await, None, "{key}");
    }
    // Parameters that do not say what they are for are for their target.
    let service = Told::default().behind(&layer());
    let asks = async |target| reason(&service.clone().oneshot(keyed(&target, "k", "x")).await);
    assert_eq!([asks(tool("one")).await, asks(tool("other")).await], [None, Some(Reason::KeyReused)]);
}

/// Two who cannot be told apart may not have each other's answers.
#[tokio::test(start_paused = true)]
async fn a_key_of_a_caller_that_nobody_knows_does_nothing() {
    let call = |caller: Caller| {
        let mut call = keyed(&tool("t"), "1", Ask("x", None));
        call.head.caller = caller;
        call
    };
    for (layer, caller, calls) in [
        (IdempotencyLayer::default(), Caller::default(), 2),
        (IdempotencyLayer::default(), Caller::of_tenant("acme").agent("session").client("claude"), 2),
        (IdempotencyLayer::default(), Caller::default().access_token(b"t"), 1),
        (IdempotencyLayer::default(), Caller::default().principal("p"), 1),
        (layer(), Caller::default(), 1),
    ] {
        let told = Told::default();
        let service = told.behind(&layer);
        for _ in 0..2 {
            assert_eq!(Verdict::of(&service.clone().oneshot(call(caller.clone())).await), Verdict::Ok);
        }
        assert_eq!(told.calls(), calls, "{caller:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_arguments_are_a_conflict_and_a_continuation_is_not() {
    let told = Told::new(&[Verdict::InputRequired, Verdict::InputRequired]);
    let service = told.behind(&layer());
    let target = tool("t");
    let call = async |arguments, continues| service.clone().oneshot(keyed(&target, "k", Ask(arguments, continues))).await;
    assert_eq!(said(call("x", None).await), "first");
    let conflict = call("y", None).await;
    assert_eq!(reason(&conflict), Some(Reason::KeyReused));
    assert!(conflict.unwrap_err().downcast_ref::<Rejected>().is_some_and(Rejected::is_final));
    assert_eq!(said(call("x", Some("round 1")).await), "second");
    assert_eq!(said(call("x", Some("round 2")).await), "third");
    // Now it is done, and so is each of its parts.
    assert_eq!(said(call("x", Some("round 2")).await), "third");
    assert_eq!(said(call("x", None).await), "third");
    assert_eq!(reason(&call("y", Some("round 2")).await), Some(Reason::KeyReused));
    assert_eq!(told.calls(), 3);
}

/// A continuation that was refused leaves the key where it was; one that was lost does not.
#[tokio::test(start_paused = true)]
async fn what_a_refused_call_leaves_behind_is_what_it_found() {
    for (verdicts, second) in [
        (&[Verdict::InputRequired, Verdict::LocalReject][..], Some(Reason::KeyReused)),
        (&[Verdict::LocalReject, Verdict::LocalReject], None),
        (&[Verdict::AMBIGUOUS, Verdict::LocalReject], Some(Reason::KeyReused)),
    ] {
        let service = Told::new(verdicts).behind(&layer());
        let target = safe_tool("t");
        for _ in 0..2 {
            let _ended = service.clone().oneshot(keyed(&target, "k", Ask("x", None))).await;
        }
        assert_eq!(reason(&service.oneshot(keyed(&target, "k", Ask("y", None))).await), second, "{verdicts:?}");
    }
    // Safe once, and refused: still nobody knows what the first one did.
    let told = Told::new(&[Verdict::AMBIGUOUS, Verdict::LocalReject]);
    let service = told.behind(&layer());
    let target = tool("t");
    let mut honours = keyed(&target, "k", Ask("x", None));
    assert!(service.clone().oneshot(honours.clone()).await.is_err());
    honours.head.target = target.clone();
    assert_eq!(Verdict::of(&service.oneshot(honours).await), Verdict::AMBIGUOUS);
    assert_eq!(told.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_it_runs_waits_for_the_answer() {
    let (told, target) = (Told::slow(), tool("t"));
    let service = told.behind(&layer());
    let calls: Vec<_> = (0..20).map(|_| tokio::spawn(service.clone().oneshot(keyed(&target, "k", Ask("x", None))))).collect();
    let mut ends = Vec::new();
    for call in calls {
        ends.push(match call.await.unwrap() {
            Ok(response) => {
                assert_eq!(response.result, Ok("first"));
                if response.served == Served::Replay { "joined" } else { "made" }
            }
            Err(error) => error.downcast_ref::<Rejected>().unwrap().reason().as_str(),
        });
    }
    let count = |what| ends.iter().filter(|end| **end == what).count();
    assert_eq!((told.calls(), count("made"), count("joined"), count("in_progress")), (1, 1, 8, 11));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline_and_when_the_first_call_is_lost() {
    for (target, expected) in [(tool("t"), Verdict::AMBIGUOUS), (safe_tool("t"), Verdict::Ok)] {
        let told = Told { takes: 100 * SECOND, ..Told::default() };
        let layer = layer();
        let service = told.behind(&layer);
        let first = tokio::spawn(service.clone().oneshot(keyed(&target, "k", Ask("x", None))));
        tokio::task::yield_now().await;
        let began = Instant::now();
        let second = service.clone().oneshot(keyed(&target, "k", Ask("x", None))).await;
        assert_eq!((reason(&second), began.elapsed()), (Some(Reason::InProgress), 10 * SECOND));

        let third = tokio::spawn(Told::default().behind(&layer).oneshot(keyed(&target, "k", Ask("x", None))));
        tokio::task::yield_now().await;
        first.abort();
        assert_eq!(Verdict::of(&third.await.unwrap()), expected);
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Only what may have reached the handler is unknown.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_it_begins_was_never_there() {
    let (store, target) = (InMemory::default(), tool("t"));
    let layer = IdempotencyLayer::new(store.clone()).single_caller();
    for polls in 0..2 {
        let mut call = Box::pin(layer.layer(NeverReady).call(keyed(&target, "k", Ask("x", None))));
        for _ in 0..polls {
            assert!(poll(&mut call).is_pending());
            assert_eq!(store.running(), 1);
        }
        drop(call);
        assert_eq!(store.keys(), 0, "{polls}");
    }
    let hangs = service_fn(|_: Request<Ask>| pending::<Outcome>());
    let mut call = Box::pin(layer.layer(hangs).call(keyed(&target, "k", Ask("x", None))));
    assert!(poll(&mut call).is_pending());
    drop(call);
    assert_eq!((store.keys(), store.running()), (1, 0));
    let next = Told::default().behind(&layer).oneshot(keyed(&target, "k", Ask("x", None))).await;
    assert_eq!(Verdict::of(&next), Verdict::AMBIGUOUS);
    // A service that is not ready in time was not called either.
    let late = layer.layer(NeverReady).call(keyed(&target, "l", Ask("x", None))).await;
    assert_eq!((reason(&late), store.keys()), (Some(Reason::Deadline), 1));
}

#[derive(Clone)]
struct NeverReady;

impl Service<Request<Ask>> for NeverReady {
    type Response = Response<&'static str>;
    type Error = BoxError;
    type Future = std::future::Ready<Outcome>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Pending
    }

    fn call(&mut self, _request: Request<Ask>) -> Self::Future {
        std::future::ready(Err("called".into()))
    }
}

/// A store that is far away, or broken.
#[derive(Debug)]
struct Far {
    store: InMemory,
    delay: Duration,
    works: bool,
}

#[derive(Debug)]
struct FarLease(Box<dyn Lease>, Duration);

impl Store for Far {
    fn claim(&self, call: &Keyed<'_>) -> Reply<Claim> {
        if !self.works {
            return Reply::now(Err("unreachable".into()));
        }
        let (claim, delay) = (self.store.claim(call), self.delay);
        Reply::later(async move {
            sleep(delay).await;
            Ok(match claim.await? {
                Claim::Run(lease) => Claim::Run(Box::new(FarLease(lease, delay))),
                known => known,
            })
        })
    }
}

impl Lease for FarLease {
    fn end(self: Box<Self>, end: End, now: Instant) -> Reply<()> {
        let Self(lease, delay) = *self;
        Reply::later(async move {
            sleep(delay).await;
            lease.end(end, now).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_may_take_its_time_and_may_fail() {
    let far = |delay, works| IdempotencyLayer::new(Far { store: InMemory::default(), delay, works }).single_caller();
    let (told, target) = (Told::slow(), tool("t"));
    let service = told.behind(&far(SECOND, true));
    let began = Instant::now();
    let call = || service.clone().oneshot(keyed(&target, "k", Ask("x", None)));
    let (first, second) = tokio::join!(call(), call());
    assert_eq!((said(first), said(second), told.calls()), ("first", "first", 1));
    assert_eq!(began.elapsed(), 4 * SECOND);

    // Too far away: refused before the call was made; and after it, the caller has its answer all the same.
    let too_far = told.behind(&far(20 * SECOND, true)).oneshot(keyed(&target, "k", Ask("x", None))).await;
    assert_eq!((reason(&too_far), told.calls()), (Some(Reason::Deadline), 1));
    let began = Instant::now();
    let forgetful = Told::default().behind(&far(6 * SECOND, true)).oneshot(keyed(&target, "k", Ask("x", None))).await;
    assert_eq!((said(forgetful), began.elapsed()), ("first", 10 * SECOND));

    // Without a store, only what needs no protection is made.
    for (target, expected) in [(tool("t"), Some(Reason::Shed)), (safe_tool("t"), None)] {
        let outcome = Told::default().behind(&far(SECOND, false)).oneshot(keyed(&target, "k", Ask("x", None))).await;
        assert_eq!(reason(&outcome), expected);
    }
}

/// The caller has waited since.
#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_for_the_store_is_not_of_its_own_time() {
    let handler = service_fn(|_: Request<Ask>| {
        let mut response = Response::new("done");
        response.completed = Some(Instant::now());
        std::future::ready(Ok::<_, BoxError>(response))
    });
    let far = |delay| IdempotencyLayer::new(Far { store: InMemory::default(), delay, works: true }).single_caller();
    for delay in [SECOND, 6 * SECOND] {
        let outcome = far(delay).layer(handler).oneshot(keyed(&tool("t"), "k", Ask("x", None))).await;
        assert_eq!(ended(&outcome), Instant::now(), "{delay:?}");
    }
    let near = layer().layer(handler).oneshot(keyed(&tool("t"), "k", Ask("x", None))).await;
    assert_eq!(near.unwrap().completed, Some(Instant::now()));
}

/// What the module's documentation states.
#[test]
fn a_call_under_a_key_allocates_what_is_stated() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let target = tool("t");
    let answers = service_fn(|_: Request<Ask>| std::future::ready(Ok::<_, BoxError>(Response::new("done"))));
    let mut service = layer().layer(answers);
    let mut calls = |from: usize, count: usize| {
        for key in from..from + count {
            let request = keyed(&target, &key.to_string(), Ask("x", None));
            let mut call = std::pin::pin!(service.call(request));
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
    };
    let requests =
        allocation_counter::measure(|| (0..1000).for_each(|key: usize| drop(keyed(&target, &key.to_string(), Ask("x", None)))));
    calls(0, 2000);
    let measured = allocation_counter::measure(|| calls(10_000, 1000)).count_total - requests.count_total;
    // The table and the order of ends grow a little too.
    assert!((3000..3400).contains(&measured), "{measured} in 1000 calls");
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Call { key: usize, changed: bool },
    Poll(prop::sample::Index),
    Drop(prop::sample::Index),
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..2_usize, prop::bool::weighted(0.1)).prop_map(|(key, changed)| Move::Call { key, changed }),
        8 => any::<prop::sample::Index>().prop_map(Move::Poll),
        2 => any::<prop::sample::Index>().prop_map(Move::Drop),
        2 => (1..4000_u64).prop_map(Move::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is polled, dropped and lost in whatever order: a key has one effect at most, whoever is told of a success is told
    /// of that one, and in the end nobody waits and no key is held.
    #[test]
    fn a_key_has_one_effect(moves in prop::collection::vec(moves(), 1..80), seed: u64) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
            let effects: Arc<[AtomicUsize; 2]> = Arc::default();
            let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
            let handler = {
                let effects = effects.clone();
                service_fn(move |call: Request<Ask>| {
                    let key = usize::from(call.head.meta.as_ref().is_some_and(|meta| meta.idempotency_key.as_deref() == Some("1")));
                    let (effects, rng) = (effects.clone(), rng.clone());
                    async move {
                        let draw = || rng.lock().unwrap().u32(..100);
                        let (takes, fate) = (draw(), draw());
                        sleep(Duration::from_millis(takes.into())).await;
                        match fate {
                            0..15 => return Err(BoxError::from(Transport::not_sent("refused"))),
                            15..30 => return Err(Rejected::new("breaker", Reason::BreakerOpen).into()),
                            30..40 => return Err(Transport::unknown("lost request").into()),
                            _ => {}
                        }
                        let effect = effects[key].fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(takes.into())).await;
                        if fate < 60 { Err(Transport::unknown("lost answer").into()) } else { Ok(Response::new(["first", "second"][effect.min(1)])) }
                    }
                })
            };
            let store = InMemory::default();
            let service = IdempotencyLayer::new(store.clone()).single_caller().layer(handler);
            let target = tool("t");
            let mut under_way = Vec::new();
            let judge = |outcome: Outcome| match outcome {
                Ok(response) => assert_eq!(response.result, Ok("first")),
                Err(error) => assert_ne!(Verdict::of_error(&*error), Verdict::Ok),
            };
            for step in moves {
                match step {
                    Move::Call { key, changed } => {
                        let arguments = if changed { "y" } else { "x" };
                        let call = service.clone().oneshot(keyed(&target, &key.to_string(), Ask(arguments, None)));
                        under_way.push(Box::pin(call));
                    }
                    Move::Pass(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
                    Move::Poll(_) | Move::Drop(_) if under_way.is_empty() => {}
                    Move::Drop(which) => drop(under_way.swap_remove(which.index(under_way.len()))),
                    Move::Poll(which) => {
                        let which = which.index(under_way.len());
                        if let Poll::Ready(outcome) = poll(&mut under_way[which]) {
                            drop(under_way.swap_remove(which));
                            judge(outcome);
                        }
                    }
                }
            }
            let began = Instant::now();
            for outcome in futures_util::future::join_all(under_way).await {
                judge(outcome);
            }
            prop_assert!(began.elapsed() <= 11 * SECOND, "somebody hung");
            prop_assert!(effects.iter().all(|effects| effects.load(Ordering::Relaxed) <= 1));
            prop_assert_eq!(store.running(), 0);
            Ok(())
        })?;
    }
}

#[test]
fn the_store_in_memory_is_its_own_handle() {
    let layer = IdempotencyLayer::default().single_caller();
    assert_eq!(layer.in_memory().map(InMemory::keys), Some(0));
    #[derive(Debug)]
    struct Elsewhere;
    impl Store for Elsewhere {
        fn claim(&self, _: &Keyed<'_>) -> Reply<Claim> {
            Reply::now(Ok(Claim::Unknown))
        }
    }
    assert!(IdempotencyLayer::new(Elsewhere).in_memory().is_none());
}
