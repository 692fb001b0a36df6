use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{CacheLayer, Terms, store::Store};
use crate::{
    call::{
        Admission, Annotations, CacheScope, CallParams, CallResult, Caller, Digest, ErrorObject, Freshness, Head, Meta, Method,
        Request, Response, ResultKind, Served, Target, TargetPolicy, Verdict,
    },
    catalogue::{Catalogue, Scope},
    classify::code,
    deadline::{DeadlineLayer, Limits},
    error::{BoxError, HttpStatus, Reason, Rejected, Transport},
};

const SECOND: Duration = Duration::from_secs(1);

/// An answer that says how long it is good for.
#[derive(Debug, Clone, PartialEq)]
struct Page {
    text: &'static str,
    freshness: Freshness,
    kind: ResultKind,
    weight: usize,
}

impl CallResult for Page {
    fn kind(&self) -> ResultKind {
        self.kind
    }

    fn freshness(&self) -> Freshness {
        self.freshness
    }

    fn set_ttl(&mut self, left: Duration) {
        self.freshness.ttl = left;
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

fn page(text: &'static str, seconds: u32, scope: CacheScope) -> Page {
    Page { text, freshness: Freshness { ttl: seconds * SECOND, scope }, kind: ResultKind::Complete, weight: 1000 }
}

fn public(text: &'static str, seconds: u32) -> Page {
    page(text, seconds, CacheScope::Public)
}

fn private(text: &'static str, seconds: u32) -> Page {
    page(text, seconds, CacheScope::Private)
}

/// Parameters of which all that matters can be said.
#[derive(Debug, Clone, Copy)]
struct Params {
    arguments: Option<u8>,
    continues: bool,
}

impl CallParams for Params {
    fn arguments(&self) -> Option<Digest> {
        self.arguments.map(|byte| Digest::of(&[byte]))
    }

    fn continuation(&self) -> Option<Digest> {
        self.continues.then(|| Digest::of(b"continues"))
    }
}

const ASKS: Params = Params { arguments: Some(0), continues: false };

type Outcome = Result<Response<Page>, BoxError>;

/// An upstream that answers as it was told last, after a second; classified, as an attempt would be.
#[derive(Clone)]
struct Upstream {
    says: Arc<Mutex<Box<dyn Fn() -> Outcome + Send>>>,
    heads: Arc<Mutex<Vec<Head>>>,
}

impl Upstream {
    fn new(page: Page) -> Self {
        let upstream = Self { says: Arc::new(Mutex::new(Box::new(|| Err("nothing".into())))), heads: Arc::default() };
        upstream.answers(page);
        upstream
    }

    fn answers(&self, page: Page) {
        self.says(move || Ok(Response::new(page.clone())));
    }

    fn fails(&self, error: impl Fn() -> BoxError + Send + 'static) {
        self.says(move || Err(error()));
    }

    fn says(&self, says: impl Fn() -> Outcome + Send + 'static) {
        *self.says.lock().unwrap() = Box::new(says);
    }

    fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// The layer in front of it.
    fn behind(
        &self,
        layer: &CacheLayer,
    ) -> impl Service<Request<Params>, Response = Response<Page>, Error = BoxError, Future: Send> + Clone + use<> {
        let upstream = self.clone();
        layer.layer(service_fn(move |request: Request<Params>| {
            let upstream = upstream.clone();
            upstream.heads.lock().unwrap().push(request.head);
            async move {
                sleep(SECOND).await;
                let mut outcome = upstream.says.lock().unwrap()();
                if let Ok(response) = &mut outcome {
                    response.completed = Some(Instant::now());
                    response.verdict = Some(Verdict::of_answer(response));
                }
                outcome
            }
        }))
    }
}

fn layer() -> CacheLayer {
    CacheLayer::new(NonZeroU64::new(1 << 20).unwrap()).single_caller()
}

fn list() -> Arc<Target> {
    Catalogue::new("up").resolve(&Method::ToolsList, None, None)
}

async fn ask<S>(service: &S, target: &Arc<Target>, caller: Option<&Caller>, params: Params) -> Outcome
where
    S: Service<Request<Params>, Response = Response<Page>, Error = BoxError> + Clone,
{
    let mut request = Request::new(target.clone(), params);
    if let Some(caller) = caller {
        request.head.caller = caller.clone();
    }
    service.clone().oneshot(request).await
}

async fn text<S>(service: &S, target: &Arc<Target>) -> (&'static str, Served)
where
    S: Service<Request<Params>, Response = Response<Page>, Error = BoxError> + Clone,
{
    let response = ask(service, target, None, ASKS).await.unwrap();
    (response.result.unwrap().text, response.served)
}

const fn kept(age: u64, stale: bool) -> Served {
    Served::Cache { age: Duration::from_secs(age), stale }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_fresh_for_its_time_and_no_longer() {
    let (upstream, target) = (Upstream::new(public("one", 10)), list());
    let service = upstream.behind(&layer());
    assert_eq!(text(&service, &target).await, ("one", Served::Attempt));
    upstream.answers(public("two", 10));
    advance(10 * SECOND - Duration::from_millis(1)).await;
    assert!(matches!(text(&service, &target).await, ("one", Served::Cache { stale: false, .. })));
    advance(Duration::from_millis(1)).await;
    assert_eq!(text(&service, &target).await, ("two", Served::Attempt));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_life_is_cut() {
    let (upstream, target) = (Upstream::new(public("one", 1_000_000)), list());
    let service = upstream.behind(&layer().longest(5 * SECOND));
    text(&service, &target).await;
    advance(5 * SECOND).await;
    text(&service, &target).await;
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_counts_and_what_continues_or_cannot_be_read_is_not_kept() {
    let (upstream, target) = (Upstream::new(public("one", 10)), list());
    let service = upstream.behind(&layer());
    let calls = async |params| {
        ask(&service, &target, None, params).await.unwrap();
        upstream.calls()
    };
    assert_eq!([calls(ASKS).await, calls(ASKS).await], [1, 1]);
    assert_eq!(calls(Params { arguments: Some(1), ..ASKS }).await, 2);
    let other = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    ask(&service, &other, None, ASKS).await.unwrap();
    assert_eq!(upstream.calls(), 3, "another upstream, if of the same name");
    for params in [Params { arguments: None, ..ASKS }, Params { continues: true, ..ASKS }] {
        let before = upstream.calls();
        assert_eq!([calls(params).await, calls(params).await], [before + 1, before + 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_complete_results_are_kept() {
    let target = list();
    let kinds = [ResultKind::InputRequired, ResultKind::Task, ResultKind::ToolError, ResultKind::Error(code::INVALID_PARAMS)];
    for kind in kinds {
        let upstream = Upstream::new(Page { kind, ..public("one", 10) });
        let service = upstream.behind(&layer());
        text(&service, &target).await;
        text(&service, &target).await;
        assert_eq!(upstream.calls(), 2, "{kind:?}");
    }
    let upstream = Upstream::new(public("one", 10));
    upstream.says(|| Ok(Response::from_error(ErrorObject::new(7, "no"))));
    let service = upstream.behind(&layer());
    for _ in 0..2 {
        ask(&service, &target, None, ASKS).await.unwrap();
    }
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_private_answer_is_for_its_own_authorisation_and_a_public_one_for_all() {
    let [a, b] = [b"1", b"2"].map(|token| Caller::of_tenant("t").access_token(token));
    let (nobody, target) = (Caller::of_tenant("t"), list());
    let layer = CacheLayer::new(NonZeroU64::new(1 << 20).unwrap());
    let upstream = Upstream::new(private("mine", 10));
    let service = upstream.behind(&layer);
    for (caller, calls) in [(&a, 1), (&a, 1), (&b, 2), (&b, 2), (&nobody, 3), (&nobody, 4)] {
        ask(&service, &target, Some(caller), ASKS).await.unwrap();
        assert_eq!(upstream.calls(), calls);
    }
    upstream.answers(public("ours", 10));
    let target = list();
    for caller in [&a, &b, &nobody, &Caller::of_tenant("other")] {
        assert_eq!(ask(&service, &target, Some(caller), ASKS).await.unwrap().result.unwrap().text, "ours");
    }
    assert_eq!(upstream.calls(), 5);
}

/// What was public and is private now is not served to others any more, not even for want of anything better.
#[tokio::test(start_paused = true)]
async fn a_scope_that_changes_is_heeded() {
    let [a, b] = [b"1", b"2"].map(|token| Caller::of_tenant("t").access_token(token));
    let (upstream, target) = (Upstream::new(public("ours", 10)), list());
    let service = upstream.behind(&CacheLayer::new(NonZeroU64::new(1 << 20).unwrap()));
    ask(&service, &target, Some(&a), ASKS).await.unwrap();
    advance(10 * SECOND).await;
    upstream.answers(private("a's", 10));
    ask(&service, &target, Some(&a), ASKS).await.unwrap();
    upstream.fails(|| Transport::not_sent("refused").into());
    ask(&service, &target, Some(&b), ASKS).await.unwrap_err();
    assert_eq!(ask(&service, &target, Some(&a), ASKS).await.unwrap().result.unwrap().text, "a's");

    // And back: the later one counts, for its own caller too.
    upstream.answers(public("ours again", 10));
    ask(&service, &target, Some(&b), ASKS).await.unwrap();
    assert_eq!(ask(&service, &target, Some(&a), ASKS).await.unwrap().result.unwrap().text, "ours again");
}

/// Answers may come in another order than they were given in: the one that was given last counts, whosever it is.
#[tokio::test(start_paused = true)]
async fn the_latest_answer_counts_in_whichever_order_they_come() {
    let terms = Terms { longest: 60 * SECOND, stale_if_error: Duration::ZERO, ..Terms::default() };
    let store = Store::new(NonZeroU64::new(1 << 20).unwrap(), true, terms);
    let ask = store.ask(&Request::new(list(), ASKS)).unwrap();
    let began = Instant::now();
    let latest = |page, after: u32| {
        let mut response = Response::new(page);
        response.completed = Some(began + after * SECOND);
        store.keep(&ask, &response);
        let found = store.find(&ask).unwrap();
        found.entry.answer::<Page>(began, Some(SECOND)).unwrap().result.unwrap().text
    };
    assert_eq!([latest(public("late", 10), 2), latest(public("early", 10), 1)], ["late"; 2]);
    assert_eq!([latest(private("mine", 10), 4), latest(public("before", 10), 3), latest(public("with it", 10), 4)], ["mine"; 3]);
    assert_eq!([latest(public("ours", 10), 6), latest(private("mine, before", 10), 5)], ["ours"; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_a_lookup_found_is_counted() {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (upstream, target) = (Upstream::new(public("one", 10)), list());
    let service = upstream.behind(&layer().stale_while_revalidate(5 * SECOND).stale_if_error(60 * SECOND));
    text(&service, &target).await;
    text(&service, &target).await;
    text(&service, &target).await;
    upstream.fails(|| Transport::not_sent("refused").into());
    advance(11 * SECOND).await;
    assert_eq!(text(&service, &target).await, ("one", kept(11, true)));
    advance(11 * SECOND).await;
    assert_eq!(text(&service, &target).await.0, "one");
    let counted: BTreeMap<String, u64> = recorder
        .snapshotter()
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, .., value)| match value {
            DebugValue::Counter(times) => {
                let outcome = key.key().labels().find(|label| label.key() == "outcome").map_or("", metrics::Label::value);
                Some((format!("{} {outcome}", key.key().name()), times))
            }
            _ => None,
        })
        .collect();
    let expected =
        [("lookups_total hit", 2), ("lookups_total miss", 2), ("lookups_total stale", 1), ("stale_if_error_total ", 1)];
    assert_eq!(counted, expected.map(|(name, times)| (format!("buttress_cache_{name}"), times)).into());
}

#[tokio::test(start_paused = true)]
async fn tools_are_kept_as_the_operator_says_and_for_their_own_caller() {
    let policy = TargetPolicy::default().cache_for(10 * SECOND);
    let catalogue = Catalogue::new("up").tool("t", policy.clone()).tool("w", policy).tool("u", TargetPolicy::default());
    let catalogue = catalogue.trust_annotations();
    for (name, read_only) in [("t", true), ("w", false), ("u", true)] {
        let annotations = Annotations { read_only: Some(read_only), idempotent: None };
        catalogue.learn(&Method::ToolsCall, Scope::Public, [(name, annotations)]);
    }
    for (name, calls) in [("t", 1), ("w", 2), ("u", 2)] {
        let upstream = Upstream::new(public("done", 10));
        let service = upstream.behind(&layer());
        let target = catalogue.resolve(&Method::ToolsCall, Some(name), None);
        text(&service, &target).await;
        text(&service, &target).await;
        assert_eq!(upstream.calls(), calls, "{name}");
    }
    let upstream = Upstream::new(public("done", 10));
    let service = upstream.behind(&CacheLayer::new(NonZeroU64::new(1 << 20).unwrap()));
    let target = catalogue.resolve(&Method::ToolsCall, Some("t"), None);
    text(&service, &target).await;
    text(&service, &target).await;
    assert_eq!(upstream.calls(), 2, "nobody knows whose it is");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_while_one_fetch_is_under_way() {
    let (upstream, target) = (Upstream::new(public("one", 10)), list());
    let service = upstream.behind(&layer().stale_while_revalidate(5 * SECOND));
    text(&service, &target).await;
    upstream.answers(public("two", 10));
    advance(11 * SECOND).await;
    for _ in 0..3 {
        assert_eq!(text(&service, &target).await, ("one", kept(11, true)));
    }
    sleep(2 * SECOND).await;
    assert_eq!(text(&service, &target).await, ("two", kept(1, false)));
    let admissions: Vec<_> = upstream.heads.lock().unwrap().iter().map(|head| head.admission).collect();
    assert_eq!(admissions, [Admission::Wait, Admission::NoWait]);
    // Nobody asks, and nothing is fetched; and past its grace, nothing stale is served.
    advance(100 * SECOND).await;
    assert_eq!(upstream.calls(), 2);
    assert_eq!(text(&service, &target).await, ("two", Served::Attempt));
}

/// Else a list would be stale for as long as it may be, and each who asks would cost a fetch that comes to nothing.
#[tokio::test(start_paused = true)]
async fn a_fetch_in_the_background_has_the_operators_time_whoever_asked() {
    let hurried = Meta { timeout: Some(SECOND / 100), ..Meta::default() };
    for (limits, granted) in [(Limits::default(), Some(55)), (Limits::at_most(5 * SECOND), Some(5)), (Limits::NONE, None)] {
        let (upstream, target) = (Upstream::new(public("one", 10)), list());
        let service = upstream.behind(&layer().stale_while_revalidate(5 * SECOND));
        text(&service, &target).await;
        upstream.answers(public("two", 10));
        advance(11 * SECOND).await;
        let mut request = Request::new(target.clone(), ASKS);
        request.head.meta = Some(Arc::new(hurried.clone()));
        let arrived = request.head.arrived;
        let answer = DeadlineLayer::new(limits).layer(service.clone()).oneshot(request).await.unwrap();
        assert_eq!(answer.served, kept(11, true));
        sleep(2 * SECOND).await;
        assert_eq!(text(&service, &target).await, ("two", kept(1, false)));
        let head = upstream.heads.lock().unwrap()[1].clone();
        assert_eq!(head.end().map(|(end, _)| end - arrived), granted.map(|seconds| seconds * SECOND));
        assert_eq!(head.granted, None, "nobody hurries");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_may_be_made_again_and_there_are_not_too_many() {
    let upstream = Upstream::new(public("one", 10));
    let service = upstream.behind(&layer().stale_while_revalidate(100 * SECOND).refreshes(1));
    let (one, other) = (list(), list());
    text(&service, &one).await;
    text(&service, &other).await;
    advance(20 * SECOND).await;
    upstream.fails(|| Transport::not_sent("refused").into());
    for _ in 0..2 {
        assert_eq!(text(&service, &one).await.0, "one");
        assert_eq!(text(&service, &other).await.0, "one");
        sleep(2 * SECOND).await;
    }
    assert_eq!(upstream.calls(), 4, "one fetch at once");
}

#[tokio::test(start_paused = true)]
async fn the_tools_of_a_sick_server_do_not_vanish() {
    let failures: [fn() -> BoxError; 5] = [
        || Transport::not_sent("refused").into(),
        || Transport::unknown("reset").into(),
        || HttpStatus { code: 429, retry_after: None, in_session: false }.into(),
        || HttpStatus { code: 503, retry_after: None, in_session: false }.into(),
        || Rejected::new("breaker", Reason::BreakerOpen).into(),
    ];
    for failure in failures {
        // Of a server that gives its lists no time.
        let (upstream, target) = (Upstream::new(private("one", 0)), list());
        let service = upstream.behind(&layer().stale_if_error(60 * SECOND));
        assert_eq!([text(&service, &target).await.1, text(&service, &target).await.1], [Served::Attempt; 2]);
        upstream.fails(failure);
        assert_eq!(text(&service, &target).await, ("one", kept(1, true)));
        advance(58 * SECOND).await;
        assert!(ask(&service, &target, None, ASKS).await.is_err(), "it is a minute old when the call fails");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_gone_is_forgotten() {
    let answers: [fn() -> Outcome; 3] = [
        || Ok(Response::from_error(ErrorObject::new(code::RESOURCE_NOT_FOUND, "gone"))),
        || Err(HttpStatus { code: 403, retry_after: None, in_session: false }.into()),
        || Ok(Response::new(Page { kind: ResultKind::InputRequired, ..private("who are you", 0) })),
    ];
    for answer in answers {
        let target = Catalogue::new("up").resolve(&Method::ResourcesRead, None, None);
        let upstream = Upstream::new(private("one", 10));
        let service = upstream.behind(&layer());
        text(&service, &target).await;
        advance(10 * SECOND).await;
        upstream.says(answer);
        let _gone = ask(&service, &target, None, ASKS).await;
        upstream.fails(|| Transport::not_sent("refused").into());
        assert!(ask(&service, &target, None, ASKS).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_notification_makes_lists_stale_and_discards_what_is_under_way() {
    let catalogue = Catalogue::new("up");
    let target = catalogue.resolve(&Method::ToolsList, None, None);
    let (upstream, layer) = (Upstream::new(public("one", 100)), layer().stale_while_revalidate(100 * SECOND));
    let service = upstream.behind(&layer);
    text(&service, &target).await;
    assert!(layer.notified(&catalogue, "notifications/tools/list_changed"));
    let asked_before = tokio::spawn({
        let (service, target) = (service.clone(), target.clone());
        async move { text(&service, &target).await }
    });
    sleep(SECOND / 2).await;
    assert!(layer.notified(&catalogue, "notifications/tools/list_changed"));
    assert_eq!(asked_before.await.unwrap(), ("one", Served::Attempt));
    upstream.answers(public("two", 100));
    assert_eq!(text(&service, &target).await, ("two", Served::Attempt), "kept although it was asked for before the change");
    assert_eq!(text(&service, &target).await.1, kept(0, false));
    // Others do not concern it.
    assert!(layer.notified(&catalogue, "notifications/prompts/list_changed"));
    assert!(!layer.notified(&catalogue, "notifications/message"));
    assert_eq!(text(&service, &target).await.1, kept(0, false));
    // Better than an error all the same.
    layer.invalidate(&target);
    upstream.fails(|| Transport::not_sent("refused").into());
    assert_eq!(text(&service, &target).await, ("two", kept(1, true)));
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_a_change_is_not_kept() {
    let (upstream, target, layer) = (Upstream::new(public("one", 10)), list(), layer());
    let service = upstream.behind(&layer);
    let asked = tokio::spawn(async move { text(&service, &target).await });
    sleep(SECOND / 2).await;
    layer.invalidate(&list());
    assert_eq!(layer.entries(), 0);
    asked.await.unwrap();
    assert_eq!(layer.entries(), 1, "another upstream's list has changed");

    let (target, service) = (list(), upstream.behind(&layer));
    let asked = tokio::spawn({
        let target = target.clone();
        async move { text(&service, &target).await }
    });
    sleep(SECOND / 2).await;
    layer.invalidate(&target);
    asked.await.unwrap();
    assert_eq!(layer.entries(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_has_changed_is_not_fresh_whatever_template_covers_it() {
    let catalogue = Catalogue::new("up").resource_template("a://{x}", Default::default()).unwrap();
    let (upstream, layer) = (Upstream::new(public("one", 100)), layer());
    let service = upstream.behind(&layer);
    for uri in ["a://1", "b://2"] {
        let target = catalogue.resolve(&Method::ResourcesRead, Some(uri), None);
        text(&service, &target).await;
        assert_eq!(text(&service, &target).await.1, kept(0, false));
        assert!(layer.notified(&catalogue, "notifications/resources/updated"));
        assert_eq!(text(&service, &target).await, ("one", Served::Attempt), "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_has_become_invalid_makes_all_pages_stale() {
    let (upstream, target) = (Upstream::new(public("page", 10)), list());
    let service = upstream.behind(&layer());
    let page = |arguments| Params { arguments: Some(arguments), ..ASKS };
    ask(&service, &target, None, page(1)).await.unwrap();
    advance(5 * SECOND).await;
    ask(&service, &target, None, page(2)).await.unwrap();
    advance(5 * SECOND).await;
    upstream.says(|| Ok(Response::from_error(ErrorObject::new(code::INVALID_PARAMS, "no such cursor"))));
    ask(&service, &target, None, page(1)).await.unwrap();
    upstream.answers(public("new page", 10));
    assert_eq!(ask(&service, &target, None, page(2)).await.unwrap().served, Served::Attempt);
}

#[tokio::test(start_paused = true)]
async fn its_size_is_bounded_in_bytes() {
    let layer = CacheLayer::new(NonZeroU64::new(20_000).unwrap()).single_caller();
    let (upstream, target) = (Upstream::new(public("one", 1_000)), list());
    let service = upstream.behind(&layer);
    for arguments in 0..100 {
        ask(&service, &target, None, Params { arguments: Some(arguments), ..ASKS }).await.unwrap();
    }
    assert!((10..=16).contains(&layer.entries()) && layer.bytes() <= 20_000, "{} in {}", layer.entries(), layer.bytes());
    layer.clear();
    assert_eq!((layer.entries(), layer.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_when_all_was_forgotten_is_not_kept() {
    let (upstream, target, layer) = (Upstream::new(public("old", 10)), list(), layer());
    let service = upstream.behind(&layer);
    let under_way = tokio::spawn({
        let (service, target) = (service.clone(), target.clone());
        async move { text(&service, &target).await }
    });
    sleep(SECOND / 2).await;
    layer.clear();
    assert_eq!(under_way.await.unwrap().0, "old");
    upstream.answers(public("new", 10));
    assert_eq!(text(&service, &target).await, ("new", Served::Attempt));
    // Nor is what was found before it, once all is forgotten.
    advance(11 * SECOND).await;
    upstream.fails(|| Transport::not_sent("down").into());
    let under_way = tokio::spawn(async move { ask(&service, &target, None, ASKS).await });
    sleep(SECOND / 2).await;
    layer.clear();
    assert!(under_way.await.unwrap().is_err());
}

/// Whoever keeps the answer in turn would serve it for its whole time once more.
#[tokio::test(start_paused = true)]
async fn an_answer_says_how_much_of_its_time_is_left() {
    let (upstream, target, layer) = (Upstream::new(public("one", 60)), list(), layer().stale_while_revalidate(SECOND));
    let service = upstream.behind(&layer);
    let left = async || ask(&service, &target, None, ASKS).await.unwrap().result.unwrap().freshness.ttl;
    assert_eq!(left().await, 60 * SECOND);
    advance(59 * SECOND).await;
    assert_eq!(left().await, SECOND);
    upstream.fails(|| Transport::not_sent("down").into());
    advance(SECOND).await;
    assert_eq!(left().await, Duration::ZERO, "past its time");
    advance(SECOND).await;
    assert_eq!(left().await, Duration::ZERO, "better than an error");
}

#[tokio::test(start_paused = true)]
async fn two_services_of_one_layer_share_it() {
    let (upstream, target, layer) = (Upstream::new(public("one", 10)), list(), layer());
    text(&upstream.behind(&layer), &target).await;
    assert_eq!(text(&upstream.behind(&layer), &target).await.1, kept(0, false));
}

/// What a call costs beyond the bare service: nothing where its answer is not kept, and of an answer from here its own copy.
#[test]
fn it_allocates_what_it_states() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = runtime.enter();
    let layer = CacheLayer::new(NonZeroU64::new(1 << 30).unwrap()).single_caller();
    let answer = |seconds: u32| {
        service_fn(move |_: Request<u64>| std::future::ready(Ok::<_, BoxError>(Response::new(public("one", seconds)))))
    };
    let target = list();
    let allocated = |calls: std::ops::Range<u64>, seconds: u32| {
        let mut service = layer.layer(answer(seconds));
        let mut call = |arguments| {
            let answer = futures_util::FutureExt::now_or_never(service.call(Request::new(target.clone(), arguments)));
            assert!(answer.unwrap().is_ok());
        };
        let many = calls.end - calls.start;
        let counted = allocation_counter::measure(|| calls.for_each(&mut call));
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let each = counted.count_total as f64 / many as f64;
        each
    };
    allocated(0..100, 1_000);
    let made = allocated(100..10_100, 1_000);
    let found = allocated(100..10_100, 1_000);
    // Now and then moka tidies up.
    assert!(found <= 0.1 && made <= 12.0, "{made} a miss that is kept, {found} a hit");
}

#[path = "steering_tests.rs"]
mod steering;
