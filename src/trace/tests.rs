//! What is shown of calls, by a subscriber that keeps the spans that have ended.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::timeout;
use tower::{Layer as _, ServiceExt, service_fn};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use super::{TARGET, TraceLayer};
use crate::{
    Stack,
    call::{CallResult, ErrorObject, Method, Request, Response, ResultKind, Revision, Session, TraceContext, Word},
    catalogue::Catalogue,
    error::{BoxError, Reason, Rejected},
    retry::{FullJitter, RetryLayer},
    testing::{Script, Step, safe_tool, tool},
};

/// A span that has ended: its own name, that of the span around it, and its members.
#[derive(Debug, Clone, Default)]
struct Shown {
    name: &'static str,
    within: Option<&'static str>,
    members: BTreeMap<&'static str, String>,
}

impl Shown {
    /// What it says there; empty: nothing.
    fn says(&self, member: &str) -> &str {
        self.members.get(member).map_or("", String::as_str)
    }

    fn all<const N: usize>(&self, members: [&str; N]) -> [&str; N] {
        members.map(|member| self.says(member))
    }
}

impl Visit for Shown {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.members.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.members.insert(field.name(), format!("{value:?}"));
    }
}

#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<Shown>>>);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Ended {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut shown = Shown { name: span.name(), within: span.parent().map(|parent| parent.name()), members: BTreeMap::new() };
        attributes.record(&mut shown);
        span.extensions_mut().insert(shown);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(shown) = span.extensions_mut().get_mut::<Shown>()
        {
            values.record(shown);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(shown) = span.extensions_mut().remove::<Shown>()
        {
            self.0.lock().unwrap().push(shown);
        }
    }
}

impl Ended {
    fn listen(&self) -> DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    fn take(&self) -> Vec<Shown> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// What has ended, if that is so many spans.
    fn exactly<const N: usize>(&self) -> [Shown; N] {
        self.take().try_into().unwrap_or_else(|spans| panic!("{spans:#?}"))
    }
}

const OUTCOME: [&str; 4] = ["buttress.verdict", "error.type", "otel.status_code", "otel.status_description"];

#[tokio::test(start_paused = true)]
async fn attempts_stand_side_by_side_within_their_call() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let failed = || Ok(Response::from_error(ErrorObject::new(-32603, "first\nline\u{2028}\u{202e}\u{1b}[31m")));
    let script = Script::new([Step::Answer(failed())]);
    let stack = Stack::new().retry(RetryLayer::default().backoff(FullJitter::default().seeded(1))).trace(TraceLayer::new());
    let answer = stack.service(script).answer(Request::new(safe_tool("t"), ())).await.unwrap();
    assert_eq!(answer.result, Ok("done"));

    let [first, second, call] = ended.exactly();
    for attempt in [&first, &second] {
        assert_eq!((attempt.name, attempt.within), ("attempt", Some("call")));
    }
    assert_eq!((call.name, call.within), ("call", None));
    let named =
        ["otel.name", "mcp.method.name", "gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.prompt.name", "buttress.upstream"];
    for span in [&first, &second, &call] {
        assert_eq!(span.all(named), ["tools/call t", "tools/call", "execute_tool", "t", "", "up"]);
    }
    assert_eq!([&first, &second, &call].map(|span| span.says("otel.kind")), ["client", "client", "server"]);
    assert_eq!([&first, &second].map(|span| span.says("buttress.attempt")), ["1", "2"]);
    assert_eq!(first.all(OUTCOME), ["ambiguous", "-32603", "error", "first line   [31m"]);
    assert_eq!(first.says("rpc.response.status_code"), "-32603");
    assert_eq!(second.all(OUTCOME), ["ok", "", "", ""]);
    assert_eq!(call.all(OUTCOME), ["ok", "", "", ""]);
    assert_eq!(call.all(["buttress.attempts", "buttress.served"]), ["2", "attempt"]);
}

/// Who knows its id could speak in it.
#[tokio::test(start_paused = true)]
async fn a_call_says_which_session_it_is_of_and_never_its_id() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let service = Stack::new().trace(TraceLayer::new()).service(Script::default());
    let call = async |id: Option<&[u8]>, revision| {
        let mut request = Request::new(tool("t"), ());
        (request.head.session, request.head.revision) = (id.map(Session::of), Revision::from_wire(revision));
        assert!(service.answer(request).await.is_ok());
        let [attempt, call] = ended.exactly();
        assert_eq!(attempt.says("mcp.session.id"), "");
        call.says("mcp.session.id").to_owned()
    };
    let one = call(Some(b"s3cret"), "2025-11-25").await;
    assert!(one.len() == 16 && one.chars().all(|c| c.is_ascii_hexdigit()), "{one}");
    assert_eq!(call(Some(b"s3cret"), "2025-11-25").await, one);
    assert_ne!(call(Some(b"other"), "2025-11-25").await, one);
    assert_eq!([call(None, "2025-11-25").await, call(Some(b"s3cret"), "2026-07-28").await], ["", ""]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_says_by_whom_and_has_no_attempt() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let refused = Rejected::new("quota", Reason::Quota);
    let script = Script::new([Step::Answer(Err(refused.into()))]);
    let outcome = TraceLayer::new().layer(script).oneshot(Request::new(tool("t"), ())).await;
    assert!(outcome.is_err());
    let [call] = ended.exactly();
    assert_eq!(call.all(OUTCOME), ["local_reject", "rejected", "error", "refused by quota: quota"]);
    assert_eq!(call.all(["buttress.refused.layer", "buttress.refused.reason", "buttress.attempts"]), ["quota", "quota", "0"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_ends_the_attempt_and_then_the_call() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let service = Stack::new().trace(TraceLayer::new()).service(Script::new([Step::Hang]));
    let call = service.answer(Request::new(tool("t"), ()));
    assert!(timeout(Duration::from_secs(1), call).await.is_err());
    let spans: [Shown; 2] = ended.exactly();
    assert_eq!(spans.each_ref().map(|span| span.name), ["attempt", "call"]);
    for span in spans {
        assert_eq!(span.all(OUTCOME), ["cancelled", "cancelled", "error", ""]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_the_callers_fault_is_an_error_to_whoever_asked_alone() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let fault = Ok(Response::from_error(ErrorObject::new(-32602, "no such tool")));
    let service = Stack::new().trace(TraceLayer::new()).service(Script::new([Step::Answer(fault)]));
    let _answer = service.answer(Request::new(tool("t"), ())).await;
    let [attempt, call] = ended.exactly();
    assert_eq!(attempt.all(OUTCOME), ["client_fault", "-32602", "error", "no such tool"]);
    assert_eq!(call.all(OUTCOME), ["client_fault", "", "", ""]);
    assert_eq!(call.says("rpc.response.status_code"), "-32602");
}

/// An answer that carries its error within itself.
#[derive(Clone)]
struct Fault;

impl CallResult for Fault {
    fn kind(&self) -> ResultKind {
        ResultKind::Error(-32602)
    }

    fn error_text(&self) -> Option<Cow<'_, str>> {
        Some("no such tool".into())
    }
}

#[tokio::test(start_paused = true)]
async fn so_it_is_where_the_answer_carries_the_error_within() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let server = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(Fault)));
    let _answer = Stack::new().trace(TraceLayer::new()).service(server).answer(Request::new(tool("t"), ())).await;
    let [attempt, call] = ended.exactly();
    assert_eq!(attempt.all(OUTCOME), ["client_fault", "-32602", "error", "no such tool"]);
    assert_eq!(call.all(OUTCOME), ["client_fault", "", "", ""]);
    assert_eq!(call.says("rpc.response.status_code"), "-32602");
}

/// The word says more than the code, and does not hide it.
#[tokio::test(start_paused = true)]
async fn an_error_that_the_handler_has_a_word_for_has_its_code_all_the_same() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let throttled = Response::from_error(ErrorObject::new(-32603, "busy")).with_word(Word::Throttled { retry_after: None });
    let script = Script::new([Step::Answer(Ok(throttled))]);
    let stack = Stack::new().retry(RetryLayer::off()).trace(TraceLayer::new());
    let _answer = stack.service(script).answer(Request::new(tool("t"), ())).await;
    let [attempt, call] = ended.exactly();
    for span in [attempt, call] {
        assert_eq!(span.all(OUTCOME), ["throttled", "throttled", "error", "busy"]);
        assert_eq!(span.says("rpc.response.status_code"), "-32603");
    }
}

#[tokio::test]
async fn what_the_handler_does_is_within_the_attempt_on_each_poll() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let handler = service_fn(async |_: Request<()>| {
        drop(tracing::info_span!("first"));
        tokio::task::yield_now().await;
        drop(tracing::info_span!("second"));
        Ok::<_, BoxError>(Response::new(()))
    });
    let answer = Stack::new().trace(TraceLayer::new()).service(handler).answer(Request::new(tool("t"), ())).await;
    assert!(answer.is_ok_and(|answer| answer.result.is_ok()));
    let within: Vec<_> = ended.take().into_iter().map(|span| (span.name, span.within)).collect();
    let expected = [("first", Some("attempt")), ("second", Some("attempt")), ("attempt", Some("call")), ("call", None)];
    assert_eq!(within, expected);
}

/// Which spans lines are written in.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Option<&'static str>>>>);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target().starts_with("buttress::record") {
            self.0.lock().unwrap().push(context.event_span(event).map(|span| span.name()));
        }
    }
}

/// Whatever becomes of it.
#[tokio::test(start_paused = true)]
async fn the_line_of_a_call_is_written_within_its_span() {
    let lines = Lines::default();
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let refused = Rejected::new("quota", Reason::Quota);
    let script = Script::new([Step::Answer(Err(refused.into())), Step::Answer(Ok(Response::new("done"))), Step::Hang]);
    let service = Stack::new().retry(RetryLayer::off()).trace(TraceLayer::new()).service(script);
    for _ in 0..3 {
        let _left = timeout(Duration::from_secs(1), service.answer(Request::new(tool("t"), ()))).await;
    }
    assert_eq!(*lines.0.lock().unwrap(), [Some("call"); 3]);
}

#[tokio::test]
async fn at_a_client_a_call_is_its_own_work() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let service = Stack::new().trace(TraceLayer::new().at_client()).service(Script::default());
    assert!(service.answer(Request::new(tool("t"), ())).await.is_ok());
    assert_eq!(ended.exactly::<2>().map(|span| span.says("otel.kind").to_owned()), ["client", "internal"]);
}

/// Also while the future is dropped, and when that is late.
#[tokio::test]
async fn what_goes_with_an_attempt_goes_within_its_span() {
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            drop(tracing::info_span!("last"));
        }
    }
    let ended = Ended::default();
    let _listening = ended.listen();
    let handler = service_fn(async |call: Request<&'static str>| {
        let _last = Last;
        if call.params == "hang" { std::future::pending().await } else { Ok::<_, BoxError>(Response::new(())) }
    });
    let layer = TraceLayer::new().of_attempts();
    let mut left = Box::pin(layer.layer(handler).oneshot(Request::new(tool("t"), "hang")));
    assert!(timeout(Duration::ZERO, &mut left).await.is_err());
    assert!(ended.take().is_empty());
    drop(left);
    assert_eq!(ended.exactly::<2>().map(|span| (span.name, span.within)), [("last", Some("attempt")), ("attempt", None)]);

    let mut kept = Box::pin(layer.layer(handler).oneshot(Request::new(tool("t"), "answer")));
    assert!((&mut kept).await.is_ok());
    assert_eq!(ended.exactly::<2>().map(|span| span.name), ["last", "attempt"], "it is over, though its future is still there");
}

#[tokio::test]
async fn invented_names_are_in_no_span() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let catalogue = Catalogue::new("up");
    let service = Stack::new().trace(TraceLayer::new()).service(Script::default());
    for n in 0..10_000 {
        let (method, name) = match n % 4 {
            0 => (Method::ToolsCall, format!("tool {n}")),
            1 => (Method::PromptsGet, format!("prompt{n}")),
            2 => (Method::ResourcesRead, format!("invented://{n}")),
            _ => (Method::from_wire(&format!("invented/{n}")), String::new()),
        };
        let _answer = service.answer(Request::new(catalogue.resolve(&method, Some(&name), None), ())).await;
    }
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for span in ended.take() {
        for member in ["otel.name", "mcp.method.name", "gen_ai.tool.name", "gen_ai.prompt.name"] {
            *said.entry(span.says(member).to_owned()).or_default() += 1;
        }
    }
    assert_eq!(said.keys().collect::<Vec<_>>(), ["", "_OTHER", "prompts/get", "resources/read", "tools/call"]);
}

#[tokio::test]
async fn a_read_is_named_by_its_template() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let catalogue = Catalogue::new("up").resource_template("a://{x}", Default::default()).unwrap();
    let target = catalogue.resolve(&Method::ResourcesRead, Some("a://secret"), None);
    assert!(TraceLayer::new().of_attempts().layer(Script::default()).oneshot(Request::new(target, ())).await.is_ok());
    let [attempt] = ended.exactly();
    assert_eq!(attempt.says("otel.name"), "resources/read a://{x}");
}

#[tokio::test]
async fn what_others_wrote_is_cut() {
    let ended = Ended::default();
    let _listening = ended.listen();
    let long = Ok(Response::from_error(ErrorObject::new(-32603, "é".repeat(1_000_000))));
    let layer = TraceLayer::new().of_attempts();
    let _answer = layer.layer(Script::new([Step::Answer(long)])).oneshot(Request::new(tool("t"), ())).await;
    let [attempt] = ended.exactly();
    assert_eq!(attempt.says("otel.status_description"), format!("{}…", "é".repeat(128)));
}

/// A level that nobody shows, and nobody at all: the call goes on, and what its caller says of traces goes no further.
#[tokio::test]
async fn where_nobody_listens_nothing_is_shown_and_nothing_is_relayed() {
    let mut request = Request::new(tool("t"), ());
    let trace = TraceContext::new(1, 2, 1);
    request.head.meta = Some(Arc::new(crate::call::Meta { trace, ..crate::call::Meta::default() }));
    let seen = Arc::new(Mutex::new(None));
    let see = {
        let seen = seen.clone();
        service_fn(move |call: Request<()>| {
            *seen.lock().unwrap() = call.head.traced;
            async { Ok::<_, BoxError>(Response::new(())) }
        })
    };
    let service = Stack::new().trace(TraceLayer::new()).service(see);
    let quiet = tracing_subscriber::registry()
        .with(Ended::default().with_filter(tracing_subscriber::filter::Targets::new().with_target(TARGET, tracing::Level::WARN)));
    tracing::subscriber::with_default(quiet, || {
        let answer = service.answer(request.clone());
        assert!(futures_util::FutureExt::now_or_never(answer).is_some_and(|answer| answer.is_ok()));
    });
    assert_eq!(seen.lock().unwrap().take(), Some(Arc::default()));
    let _answer = service.answer(request).await;
    assert_eq!(seen.lock().unwrap().take(), Some(Arc::default()));
}
