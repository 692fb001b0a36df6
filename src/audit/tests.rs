use std::{
    borrow::Cow,
    collections::BTreeMap,
    future::Future,
    io::{self, Write},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::{Layer, Service};

use super::{Arguments, AuditHandle, AuditLayer, FileSink, HashKey, OnFull, Sink};
use crate::{
    call::{
        Arrival, Baggage, CallParams, Caller, ErrorObject, Identify, Meta, Method, OneTenant, Request, Response, Revision,
        Served, Session, Target, TargetPolicy, TraceContext, Traced,
    },
    catalogue::Catalogue,
    error::{BoxError, Clock, Exhausted, HttpStatus, Panicked, Reason, Rejected, TimedOut, Transport},
    testing::{Outcome, Script, Step, tool},
};

/// A sink whose lines can be read, and that fails on demand.
#[derive(Clone, Default)]
pub(super) struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {}

impl Memory {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    pub(super) async fn lines(&self, trail: &AuditHandle) -> Vec<Value> {
        trail.flush().await;
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What a call says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    name: String,
    arguments: Option<String>,
}

impl CallParams for Said {
    fn arguments_text(&self) -> Option<Cow<'_, str>> {
        self.arguments.as_deref().map(Cow::Borrowed)
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some((&*self.name).into())
    }

    fn request_id(&self) -> Option<Cow<'_, str>> {
        Some("7".into())
    }
}

const DONE: &str = "done";

pub(super) fn echo() -> impl Service<Request<Said>, Response = Response<&'static str>, Error = BoxError, Future: Send> + Clone {
    tower::service_fn(async |_: Request<Said>| Ok(Response::new(DONE)))
}

pub(super) fn known(name: &str) -> Arc<Target> {
    tool(name)
}

fn unknown() -> Arc<Target> {
    Catalogue::new("up").resolve(&Method::ToolsCall, Some("made up"), None)
}

/// The one line of a call to `target`.
async fn line(layer: impl FnOnce(AuditLayer) -> AuditLayer, request: Request<Said>) -> (Value, String) {
    let sink = Memory::default();
    let layer = layer(AuditLayer::new(sink.clone()).unwrap());
    let answer = layer.layer(echo()).call(request).await.unwrap();
    assert_eq!(answer.result, Ok(DONE));
    let [line] = &sink.lines(&layer.handle()).await[..] else { panic!("{}", sink.text()) };
    assert!(sink.text().ends_with("}\n") && sink.text().matches('\n').count() == 1);
    (line.clone(), sink.text())
}

/// Counters by name and the values of their labels.
pub(super) struct Counted {
    snapshotter: Snapshotter,
    _installed: metrics::LocalRecorderGuard<'static>,
}

impl Counted {
    pub(super) fn new() -> Self {
        let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
        Self { snapshotter: recorder.snapshotter(), _installed: metrics::set_default_local_recorder(recorder) }
    }

    /// Those that are not zero. Reads them once: the recorder starts anew.
    pub(super) fn take(&self) -> BTreeMap<String, u64> {
        let read = self.snapshotter.snapshot().into_vec().into_iter();
        let named = read.filter_map(|(key, _, _, value)| {
            let labels: Vec<&str> = key.key().labels().skip(1).map(metrics::Label::value).collect();
            match value {
                DebugValue::Counter(0) | DebugValue::Gauge(_) | DebugValue::Histogram(_) => None,
                DebugValue::Counter(count) => Some((format!("{}:{}", key.key().name(), labels.join(",")), count)),
            }
        });
        named.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_on_record_by_its_template_and_never_by_its_uri() {
    let catalogue = Catalogue::new("up").resource_template("a://{x}", Default::default()).unwrap();
    for (uri, template) in [("a://secret", "a://{x}".into()), ("b://secret", Value::Null)] {
        let target = catalogue.resolve(&Method::ResourcesRead, Some(uri), None);
        let said = Said { name: uri.to_owned(), arguments: None };
        let (told, text) = line(AuditLayer::all_methods, Request::new(target, said)).await;
        assert_eq!([&told["resource_template"], &told["known"], &told["tool"]], [&template, &Value::Null, &Value::Null]);
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_call_has_its_line() {
    let error = |code| Ok(Response::from_error(ErrorObject::new(code, "words of the handler's")));
    let lost = |error: BoxError| Err(error);
    let mut cached = Response::new("kept");
    cached.served = Served::Cache { age: Duration::from_secs(3), stale: true };
    let timed_out = TimedOut { clock: Clock::Hard, after: Duration::from_secs(1) };
    let forbidden = HttpStatus { code: 403, retry_after: None, in_session: false };
    let ends: Vec<(Outcome, Value)> = vec![
        (
            Ok(Response::new("done")),
            json!({ "outcome": "success", "verdict": "ok", "attempts": 1, "served": "attempt", "result": { "is_error": false } }),
        ),
        (
            Ok(cached),
            json!({ "outcome": "success", "verdict": "ok", "attempts": 0, "served": "stale", "age_ms": 3000, "result": { "is_error": false } }),
        ),
        (
            error(-32602),
            json!({ "outcome": "error", "verdict": "client_fault", "attempts": 1, "served": "attempt", "result": { "is_error": true, "code": -32602 } }),
        ),
        (
            error(-32603),
            json!({ "outcome": "error", "verdict": "ambiguous", "attempts": 1, "served": "attempt", "result": { "is_error": true, "code": -32603 } }),
        ),
        (
            lost(Rejected::new("quota", Reason::Quota).into()),
            json!({ "outcome": "rejected", "verdict": "local_reject", "layer": "quota", "reason": "quota", "attempts": 0 }),
        ),
        (
            lost(Exhausted::new(3, timed_out.into()).into()),
            json!({ "outcome": "timeout", "verdict": "ambiguous", "attempts": 3 }),
        ),
        (
            lost(TimedOut { clock: Clock::Patience, ..timed_out }.into()),
            json!({ "outcome": "timeout", "verdict": "hurried", "attempts": 1 }),
        ),
        (lost(Panicked.into()), json!({ "outcome": "panic", "verdict": "ambiguous", "attempts": 1 })),
        (lost(forbidden.into()), json!({ "outcome": "denied", "verdict": "denied", "attempts": 1 })),
        (lost(Transport::not_sent("refused").into()), json!({ "outcome": "error", "verdict": "not_sent", "attempts": 1 })),
        (lost(Transport::unknown("reset").into()), json!({ "outcome": "unknown", "verdict": "ambiguous", "attempts": 1 })),
    ];
    let (sink, counted) = (Memory::default(), Counted::new());
    let layer = AuditLayer::new(sink.clone()).unwrap();
    let (outcomes, expected): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    let mut service = layer.layer(Script::new(outcomes.into_iter().map(|end| Step::After(Duration::from_millis(20), end))));
    let target = known("t");
    for _ in &expected {
        let _outcome = service.call(Request::new(target.clone(), ())).await;
    }
    let lines = sink.lines(&layer.handle()).await;
    assert_eq!(lines.len(), expected.len());
    for (seq, (line, mut expected)) in lines.into_iter().zip(expected).enumerate() {
        let mut line = line.as_object().unwrap().clone();
        assert!(line.remove("event_id").unwrap().as_str().unwrap().len() == 36);
        let time = line.remove("time").unwrap();
        assert!(humantime::parse_rfc3339(time.as_str().unwrap()).is_ok() && time.as_str().unwrap().len() == 24, "{time}");
        for (name, value) in json!({
            "schema": "buttress.audit.v1", "seq": seq, "upstream": "up", "method": "tools/call", "tool": "t", "known": true, "read_only": false,
            "actor": { "tenant": "default", "authenticated": false }, "arguments": { "mode": "names" }, "duration_ms": 20.0,
        })
        .as_object()
        .unwrap()
        {
            expected[name] = value.clone();
        }
        assert_eq!(Value::Object(line), expected);
    }
    assert!(!sink.text().contains("words of the handler's"));
    let counts = counted.take();
    assert_eq!(counts["buttress_audit_events_total:error"], 3);
    assert_eq!(counts.values().sum::<u64>(), 11);
}

/// Whoever looks for what led to something goes by when it was asked for.
#[tokio::test(start_paused = true)]
async fn a_record_bears_the_time_of_arrival() {
    let hour = Duration::from_secs(3600);
    let (sink, layer_of) = (Memory::default(), |sink| AuditLayer::new(sink).unwrap());
    let layer = layer_of(sink.clone());
    let mut service = layer.layer(Script::new([Step::After(hour, Ok(Response::new("done")))]));
    #[expect(clippy::disallowed_methods, reason = "records bear the wall's time")]
    let now = std::time::SystemTime::now();
    service.call(Request::new(known("t"), ())).await.unwrap();
    let lines = sink.lines(&layer.handle()).await;
    let arrived = humantime::parse_rfc3339(lines[0]["time"].as_str().unwrap()).unwrap();
    let before = now.duration_since(arrived).unwrap_or_default();
    assert!(before > hour / 2, "the clock stood still, so the wall's says that it came an hour before it ended: {before:?}");
}

#[tokio::test]
async fn a_line_says_who_called_what() {
    let mut request = Request::new(known("t"), Said { name: "t".into(), arguments: Some(r#"{"city":"Oslo"}"#.into()) });
    request.head.revision = Revision::from_wire("2026-07-28");
    request.head.caller = Caller::of_tenant("acme").principal("ada").client("claude").agent("s-1").access_token(b"s3cret");
    let (told, text) = line(|layer| layer, request.clone()).await;
    assert_eq!(
        told["actor"],
        json!({ "tenant": "acme", "principal": "ada", "client": "claude", "agent": "s-1", "authenticated": true })
    );
    assert_eq!(told["arguments"], json!({ "mode": "names", "bytes": 15, "count": 1, "names": ["city"], "sizes": [6] }));
    assert_eq!((&told["request_id"], &told["protocol"]), (&json!("7"), &json!("2026-07-28")));
    assert!(!text.contains("s3cret") && !text.contains("Oslo"));

    let key = HashKey::new(b"sixteen bytes or more").unwrap();
    let (told, text) = line(|layer| layer.pseudonyms(key.clone()), request).await;
    assert_eq!(told["actor"]["tenant"], key.hash_bytes(b"acme"));
    assert!(["acme", "ada", "claude", "s-1"].iter().all(|name| !text.contains(&format!("\"{name}\""))));
}

#[tokio::test]
async fn a_line_says_which_session_it_is_of_and_never_its_id() {
    let mut request = Request::new(known("t"), Said::default());
    request.head.session = Some(Session::of(b"s3cret"));
    let (parts, ()) = http::Request::builder().header("mcp-session-id", "s3cret").body(()).unwrap().into_parts();
    request.head.caller = OneTenant.identify(&Arrival { parts: Some(&parts), client: None });
    for (revision, expected) in [("2025-11-25", json!(Session::of(b"s3cret").pseudonym())), ("2026-07-28", Value::Null)] {
        request.head.revision = Revision::from_wire(revision);
        let (told, text) = line(|layer| layer, request.clone()).await;
        assert_eq!(told["session"], expected);
        assert_eq!(told["actor"]["agent"], Session::of(b"s3cret").pseudonym());
        assert!(!text.contains("s3cret"));
    }
}

#[tokio::test]
async fn a_line_says_whether_its_call_only_reads() {
    for reads in [false, true] {
        let policy = TargetPolicy::default().read_only(reads);
        let target = Catalogue::new("up").tool("t", policy).resolve(&Method::ToolsCall, Some("t"), None);
        assert_eq!(line(|layer| layer, Request::new(target, Said::default())).await.0["read_only"], reads);
    }
}

#[tokio::test]
async fn each_member_of_a_line_has_its_row_in_the_table() {
    let table: Vec<&str> = include_str!("mod.rs").lines().filter(|line| line.starts_with("//! | `")).collect();
    let mut request = Request::new(known("t"), Said { arguments: Some("{}".to_owned()), ..Said::default() });
    request.head.caller = Caller::of_tenant("acme").principal("ada").client("claude").agent("a");
    let (told, _) = line(|layer| layer, request).await;
    for (member, value) in told.as_object().unwrap() {
        let own = table.iter().any(|row| row.split('|').nth(1).is_some_and(|names| names.contains(&format!("`{member}`"))));
        let inner = table.iter().any(|row| row.starts_with(&format!("//! | `{member}.")));
        assert!(own || (value.is_object() && inner), "{member}");
    }
}

#[tokio::test]
async fn a_line_says_whose_span_is_whose() {
    let ids = |told: &Value| {
        ["trace_id", "span_id", "caller_trace_id", "caller_span_id"].map(|id| told[id].as_str().map(str::to_owned))
    };
    let hex = |id: &str| Some(id.to_owned());
    let mut request = Request::new(known("t"), Said::default());
    assert_eq!(ids(&line(|layer| layer, request.clone()).await.0), [const { None }; 4]);

    let trace = TraceContext::new(0xa, 0xb, 1).map(|caller| caller.with_state("their=state"));
    let meta = Meta { trace, baggage: Baggage::parse("their=baggage"), ..Meta::default() };
    request.head.meta = Some(Arc::new(meta));
    let caller = [hex("0000000000000000000000000000000a"), hex("000000000000000b")];
    let (told, text) = line(|layer| layer, request.clone()).await;
    assert_eq!(ids(&told), [None, None, caller[0].clone(), caller[1].clone()]);
    assert!(!text.contains("their"));

    // Of what is sent on, only a span of our own is ours.
    let relayed = TraceContext::new(1, 1, 0);
    request.head.traced = Some(Arc::new(Traced { relayed: relayed.clone(), ..Traced::default() }));
    assert_eq!(ids(&line(|layer| layer, request.clone()).await.0)[..2], [None, None]);
    let span = TraceContext::new(u128::MAX, u64::MAX, 0);
    request.head.traced = Some(Arc::new(Traced { span, relayed, baggage: None }));
    let [caller_trace, caller_span] = caller;
    assert_eq!(
        ids(&line(|layer| layer, request).await.0),
        [hex(&"f".repeat(32)), hex(&"f".repeat(16)), caller_trace, caller_span]
    );
}

#[tokio::test]
async fn whatever_callers_choose_is_one_bounded_line() {
    let long = "x".repeat(10_000);
    for name in ["a\"b", "a\nb", "\u{1b}[2J\u{202e}", &long] {
        let said = Said { name: name.into(), arguments: Some(json!({ name: name }).to_string()) };
        for target in [unknown(), known(name)] {
            let listed = target.name().is_some();
            let mut request = Request::new(target, said.clone());
            request.head.caller = Caller::of_tenant(name).client(name).agent(name).principal(name).access_token(b"t");
            let (told, text) = line(|layer| layer.arguments(Arguments::Full), request).await;
            assert!(text.len() < 4096 && !text.trim_end().chars().any(char::is_control), "{text}");
            let cut = name.get(..if listed { 128 } else { 64 }).map(|cut| format!("{cut}…"));
            assert_eq!(told["tool"].as_str(), cut.as_deref().or(Some(name)));
            assert_eq!((&told["known"], &told["actor"]["authenticated"]), (&json!(listed), &json!(true)));
            // Names of an invented tool are as invented.
            assert_eq!(told["arguments"].get("text").is_some(), listed);
        }
    }
}

/// As in labels, and as the specification allows: two that begin alike are two.
#[tokio::test]
async fn a_listed_name_is_written_whole() {
    let name = format!("{}delete", "customer_records.".repeat(8)).split_off(14);
    assert_eq!(name.len(), 128);
    let (told, _) = line(|layer| layer, Request::new(known(&name), Said::default())).await;
    assert_eq!(told["tool"], name);
}

#[tokio::test]
async fn denied_values_are_in_no_line() {
    let arguments = json!({ "a": [{ "Api_Key": "hush" }], "pin": { "x": "hush" }, "city": "Oslo" }).to_string();
    let key = HashKey::new(b"sixteen bytes or more").unwrap();
    for mode in [Arguments::None, Arguments::Names, Arguments::Hash(key), Arguments::Redacted, Arguments::Full] {
        let said = Said { name: "t".into(), arguments: Some(arguments.clone()) };
        let name = mode.mode();
        let (told, text) = line(|layer| layer.deny("PIN").arguments(mode), Request::new(known("t"), said)).await;
        assert!(!text.contains("hush"), "{text}");
        assert_eq!(text.contains("Oslo"), name == "full");
        assert_eq!(told["arguments"]["mode"], name);
    }
}

#[tokio::test]
async fn other_methods_are_recorded_where_that_is_asked_for() {
    let list = Catalogue::new("up").resolve(&Method::ToolsList, None, None);
    let sink = Memory::default();
    let layer = AuditLayer::new(sink.clone()).unwrap();
    layer.layer(echo()).call(Request::new(list.clone(), Said::default())).await.unwrap();
    assert_eq!(sink.lines(&layer.handle()).await.len(), 0);
    let (told, _) = line(AuditLayer::all_methods, Request::new(list, Said::default())).await;
    assert_eq!((&told["method"], told.get("tool"), told.get("known")), (&json!("tools/list"), None, None));
}

/// What a handler does, and when its caller leaves.
#[derive(Debug, Clone, Copy)]
struct Course {
    pends: u32,
    end: Finish,
    /// Dropped after so many polls.
    polls: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Answers,
    Fails,
    Refuses,
    Panics,
    PanicsAtOnce,
}

#[derive(Clone)]
struct Actor(Course);

struct Acting(Course);

impl Service<Request<Said>> for Actor {
    type Response = Response<&'static str>;
    type Error = BoxError;
    type Future = Acting;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Said>) -> Acting {
        assert_ne!(self.0.end, Finish::PanicsAtOnce, "planted");
        Acting(self.0)
    }
}

impl Future for Acting {
    type Output = Result<Response<&'static str>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0.pends > 0 {
            self.0.pends -= 1;
            return Poll::Pending;
        }
        match self.0.end {
            Finish::Answers => Poll::Ready(Ok(Response::new("done"))),
            Finish::Fails => Poll::Ready(Err(Transport::unknown("reset").into())),
            Finish::Refuses => Poll::Ready(Err(Rejected::new("breaker", Reason::BreakerOpen).into())),
            Finish::Panics | Finish::PanicsAtOnce => panic!("planted"),
        }
    }
}

impl Course {
    fn expected(self) -> &'static str {
        match self.end {
            Finish::PanicsAtOnce => "panic",
            _ if self.polls <= self.pends => "cancelled",
            Finish::Answers => "success",
            Finish::Fails => "unknown",
            Finish::Refuses => "rejected",
            Finish::Panics => "panic",
        }
    }

    /// Makes the call, and lets go of it when its time has come.
    fn run(self, layer: &AuditLayer, target: &Arc<Target>) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut service = layer.layer(Actor(self));
        let _panic = catch_unwind(AssertUnwindSafe(|| {
            let mut call = Box::pin(service.call(Request::new(target.clone(), Said::default())));
            for _ in 0..self.polls {
                if call.as_mut().poll(&mut cx).is_ready() {
                    // Kept for a while after its end: that makes no second line.
                    break;
                }
            }
        }));
    }
}

fn courses() -> impl Strategy<Value = Vec<Course>> {
    let end = prop::sample::select(vec![Finish::Answers, Finish::Fails, Finish::Refuses, Finish::Panics, Finish::PanicsAtOnce]);
    prop::collection::vec((0_u32..4, end, 0_u32..6).prop_map(|(pends, end, polls)| Course { pends, end, polls }), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// One line for each call, and its own, wherever the call is dropped and whatever its handler does.
    #[test]
    fn each_call_has_exactly_one_line(courses in courses(), fail_closed: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sink, target) = (Memory::default(), known("t"));
        let layer = AuditLayer::new(sink.clone()).unwrap();
        let layer = if fail_closed { layer.on_full(OnFull::FailClosed) } else { layer };
        for course in &courses {
            course.run(&layer, &target);
        }
        let lines = runtime.block_on(sink.lines(&layer.handle()));
        let told: Vec<(u64, &str)> =
            lines.iter().map(|line| (line["seq"].as_u64().unwrap(), line["outcome"].as_str().unwrap())).collect();
        let expected: Vec<(u64, &str)> = (0..).zip(courses.iter().map(|course| course.expected())).collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(layer.handle().backlog(), 0);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_harms_no_call_and_each_loss_is_counted() {
    let counted = Counted::new();
    let layer = AuditLayer::new(FileSink::open("/dev/full").unwrap()).unwrap();
    let (mut service, target) = (layer.layer(echo()), known("t"));
    for _ in 0..100 {
        assert!(service.call(Request::new(target.clone(), Said::default())).await.is_ok());
    }
    layer.handle().flush().await;
    let counts = counted.take();
    assert_eq!(counts["buttress_audit_events_total:success"], 100);
    assert_eq!(counts["buttress_audit_dropped_total:write_failed"], 100);
    assert!(layer.handle().is_failing());
}

pub(super) fn reason(outcome: &Outcome) -> Option<(&'static str, Reason)> {
    let rejected = outcome.as_ref().err()?.downcast_ref::<Rejected>()?;
    Some((rejected.layer(), rejected.reason()))
}

#[tokio::test]
async fn closed_to_calls_without_a_record_until_one_can_be_written_again() {
    let sink = Memory::default();
    let layer = AuditLayer::new(sink.clone()).unwrap().on_full(OnFull::FailClosed);
    let (trail, handler, target) = (layer.handle(), Script::default(), known("t"));
    let mut service = layer.layer(handler.clone());
    let mut call = async || {
        let outcome = service.call(Request::new(target.clone(), ())).await;
        trail.flush().await;
        reason(&outcome)
    };
    let refused = Some(("audit", Reason::Unrecorded));
    assert_eq!(call().await, None);
    sink.broken.store(true, Ordering::Release);
    // Nobody knows yet.
    assert_eq!(call().await, None);
    assert_eq!([call().await, call().await], [refused; 2]);
    sink.broken.store(false, Ordering::Release);
    // The record of this refusal is the one that tells.
    assert_eq!(call().await, refused);
    assert_eq!(call().await, None);
    assert_eq!(handler.calls(), 3);
    let told: Vec<_> = sink.lines(&trail).await.iter().map(|line| (line["seq"].clone(), line["outcome"].clone())).collect();
    assert_eq!(told, [(0, "success"), (4, "rejected"), (5, "success")].map(|(seq, end)| (json!(seq), json!(end))));
}

const ONE: NonZeroUsize = NonZeroUsize::MIN;

#[tokio::test]
async fn a_place_is_kept_for_each_call_that_is_let_in() {
    let layer = AuditLayer::with_capacity(Memory::default(), ONE).unwrap().on_full(OnFull::FailClosed);
    let (trail, target) = (layer.handle(), known("t"));
    let mut service = layer.layer(Script::new([Step::Hang]));
    let running = service.call(Request::new(target.clone(), ()));
    assert_eq!(trail.backlog(), 1);
    let refused = service.call(Request::new(target.clone(), ())).await;
    assert_eq!(reason(&refused), Some(("audit", Reason::Unrecorded)));
    // What keeps the connection alive is never refused.
    let ping = Catalogue::new("up").resolve(&Method::Ping, None, None);
    assert!(layer.clone().all_methods().layer(Script::default()).call(Request::new(ping, ())).await.is_ok());
    drop(running);
    trail.flush().await;
    assert_eq!(trail.backlog(), 0);
    assert!(service.call(Request::new(target, ())).await.is_ok());
}

#[tokio::test]
async fn what_becomes_of_calls_without_a_record_is_changed_while_there_is_no_room() {
    let layer = AuditLayer::with_capacity(Memory::default(), ONE).unwrap();
    let (closed, open) = (layer.clone().on_full(OnFull::FailClosed), layer);
    let (trail, target) = (closed.handle(), known("t"));
    assert_eq!((trail.on_full(), open.handle().on_full()), (OnFull::FailClosed, OnFull::Drop));
    let mut service = closed.layer(Script::new([Step::Hang]));
    let _running = service.call(Request::new(target.clone(), ()));
    let mut call = async || reason(&service.call(Request::new(target.clone(), ())).await);
    let refused = Some(("audit", Reason::Unrecorded));
    assert_eq!(call().await, refused);
    trail.set_on_full(OnFull::Drop);
    assert_eq!(call().await, None);
    trail.set_on_full(OnFull::FailClosed);
    assert_eq!(call().await, refused);
}
