//! What the layers make of answers that are read from bytes: an error stands within them, and so does what kind of result it is.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::sleep;
use tower::service_fn;

use super::{RawAnswer, RawCall, RawMessage};
use crate::{
    BoxError, Stack, StackService,
    cache::CacheLayer,
    call::{Caller, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    coalesce::CoalesceLayer,
    retry::RetryLayer,
};

/// A stack, what it knows, and how often its server was reached.
struct Served {
    stack: StackService<RawMessage, RawAnswer>,
    catalogue: Catalogue,
    reached: Arc<AtomicUsize>,
}

impl Served {
    /// The server takes a second to say this to its nth call, from 0.
    fn by(stack: Stack, says: impl Fn(usize, &str) -> String + Clone + Send + Sync + 'static) -> Self {
        let reached = Arc::<AtomicUsize>::default();
        let counted = reached.clone();
        let server = service_fn(move |call: Request<RawMessage>| {
            let said = says(counted.fetch_add(1, Ordering::Relaxed), &String::from_utf8_lossy(call.params.bytes()));
            async move {
                sleep(Duration::from_secs(1)).await;
                Ok::<_, BoxError>(Response::new(RawAnswer::parse(format!(r#"{{"jsonrpc":"2.0","id":1,{said}}}"#).into())?))
            }
        });
        let reads = TargetPolicy::default().read_only(true).cache_for(Duration::from_secs(60));
        Self { stack: stack.service(server), catalogue: Catalogue::new("up").tool("t", reads), reached }
    }

    async fn ask(&self, method: &str, params: &str) -> String {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let call = RawCall::parse(message.into()).unwrap();
        let response = self.stack.answer(call.request(&self.catalogue, Caller::default().access_token(b"t"))).await.unwrap();
        String::from_utf8(call.answer(response).to_vec()).unwrap()
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_client_cannot_do_is_not_said_to_another() {
    let served = Served::by(Stack::new().coalesce(CoalesceLayer::new()), |nth, _| match nth {
        0 => r#""error":{"code":-32021,"message":"Missing required client capability"}"#.to_owned(),
        _ => r#""result":{"messages":[]}"#.to_owned(),
    });
    let ask = || served.ask("prompts/get", r#"{"name":"p"}"#);
    let (first, second) = tokio::join!(ask(), ask());
    assert!(first.contains("-32021") && second.contains("messages"), "{first} {second}");
    assert_eq!(served.reached(), 2);
}

/// In 2025-11-25 a task is known by its member alone.
#[tokio::test(start_paused = true)]
async fn a_task_is_its_own_callers() {
    let megabyte = NonZeroU64::new(1 << 20).unwrap();
    for stack in [Stack::new().cache(CacheLayer::new(megabyte)), Stack::new().coalesce(CoalesceLayer::new())] {
        let served = Served::by(stack, |nth, _| {
            format!(r#""result":{{"task":{{"taskId":"task-{nth}","status":"working"}},"ttlMs":60000,"cacheScope":"public"}}"#)
        });
        let ask = || served.ask("tools/call", r#"{"name":"t","task":{"ttl":60000}}"#);
        let (first, second) = tokio::join!(ask(), ask());
        let third = ask().await;
        for (nth, answer) in [first, second, third].iter().enumerate() {
            assert!(answer.contains(&format!("task-{nth}")), "{answer}");
        }
    }
}

/// A server may list other tools to a client that it can ask something.
#[tokio::test(start_paused = true)]
async fn what_was_said_to_one_client_is_kept_for_those_that_declare_the_same() {
    let megabyte = NonZeroU64::new(1 << 20).unwrap();
    let asked = |capabilities: &str| {
        let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken""#;
        format!(r#"{{"_meta":{{{meta}:"{}",{capabilities}}}}}"#, capabilities.len())
    };
    let declares = |capabilities: &str| asked(&format!(r#""io.modelcontextprotocol/clientCapabilities":{capabilities}"#));
    let served = Served::by(Stack::new().cache(CacheLayer::new(megabyte)), |_, request| {
        let tools = if request.contains("elicitation") { r#"{"name":"book"}"# } else { "" };
        format!(r#""result":{{"resultType":"complete","tools":[{tools}],"ttlMs":60000,"cacheScope":"public"}}"#)
    });
    for (said, lists, reached) in [
        (declares(r#"{"elicitation":{"form":{},"url":{}},"roots":{}}"#), true, 1),
        (declares("{}"), false, 2),
        (declares(r#"{"roots":{ }, "elicitation":{"url":{},"form":{}}}"#), true, 2),
        (declares("{}"), false, 2),
        (declares(r#"{"elicitation":{"form":{}}}"#), true, 3),
        (asked(r#""x":1"#), false, 4),
        (declares("null"), false, 5),
        // What cannot be read is nobody else's.
        (declares(r#"{"roots":{},"roots":{}}"#), false, 6),
        (declares(r#"{"roots":{},"roots":{}}"#), false, 7),
    ] {
        let answer = served.ask("tools/list", &said).await;
        assert_eq!((answer.contains("book"), served.reached()), (lists, reached), "{said}");
    }
}

/// As the conventions have it: an error is named by its code, and what is the caller's fault is none of the server's.
#[tokio::test(start_paused = true)]
async fn an_error_is_recorded_by_its_code_on_both_sides() {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    for code in [-32602, -32603, 1234] {
        let served =
            Served::by(Stack::new().retry(RetryLayer::off()), move |_, _| format!(r#""error":{{"code":{code},"message":"no"}}"#));
        served.ask("tools/call", r#"{"name":"t"}"#).await;
    }
    let mut recorded: Vec<_> = recorder
        .snapshotter()
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, _, _, value)| {
            let side = key.key().name().strip_suffix("_operation_duration_seconds")?;
            let DebugValue::Histogram(samples) = value else { return None };
            let says = |name| key.key().labels().find(|label| label.key() == name).map_or("", |label| label.value());
            let labels = [side, says("error_type"), says("rpc_response_status_code")].join(" ");
            (!samples.is_empty()).then_some(labels)
        })
        .collect();
    recorded.sort_unstable();
    assert_eq!(
        recorded,
        [
            "mcp_client -32602 -32602",
            "mcp_client -32603 -32603",
            "mcp_client application_error _OTHER",
            "mcp_server  -32602",
            "mcp_server -32603 -32603",
            "mcp_server application_error _OTHER",
        ]
    );
}
