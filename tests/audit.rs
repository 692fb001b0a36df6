//! The audit trail of the whole stack: what an operator reads afterwards, whatever happened.

#![cfg(feature = "audit")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use buttress::{
    BoxError, Stack,
    audit::{Arguments, AuditHandle, AuditLayer, Sink},
    call::{Caller, Request, Response, TargetPolicy},
    catalogue::Catalogue,
    deadline::Limits,
    error::Transport,
    quota::QuotaLayer,
    raw::{RawAnswer, RawCall, RawMessage},
};
use fastrand::Rng;
use governor::Quota;
use serde_json::{Value, json};
use tower::service_fn;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {}

impl Memory {
    /// What has been written since it was last read.
    async fn lines(&self, trail: &AuditHandle) -> Vec<Value> {
        trail.flush().await;
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn message(tool: &str, arguments: &Value) -> RawCall {
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    RawCall::parse(json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string().into()).unwrap()
}

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;

fn answer() -> Result<Response<RawAnswer>, BoxError> {
    Ok(Response::from_result(RawAnswer::parse(ANSWER.into())))
}

fn catalogue() -> Catalogue {
    Catalogue::new("up").tool("known", TargetPolicy::default().idempotent(true))
}

#[tokio::test(start_paused = true)]
async fn a_raw_call_is_on_record_with_all_that_it_says() {
    let sink = Memory::default();
    let layer = AuditLayer::new(sink.clone()).unwrap().arguments(Arguments::Full);
    let (trail, stack) = (layer.handle(), Stack::new().audit(layer));
    let service = stack.service(service_fn(async |_: Request<RawMessage>| answer()));
    let call = message("known", &json!({ "city": "Oslo", "token": "t0p" }));
    let response = service.answer(call.request(&catalogue(), Caller::of_tenant("acme"))).await.unwrap();
    assert_eq!(call.answer(response), ANSWER);
    let line = sink.lines(&trail).await.remove(0);
    let said = ["tool", "known", "request_id", "protocol", "outcome", "result", "arguments"].map(|name| line[name].clone());
    let arguments = json!({
        "mode": "full", "bytes": 29, "count": 2, "text": r#"{"city":"Oslo","token":"[redacted]"}"#, "cut": false,
    });
    let result = json!({ "is_error": false, "bytes": ANSWER.len() });
    assert_eq!(json!(said), json!(["known", true, "7", "2026-07-28", "success", result, arguments]));

    // What a caller spells wrongly hides nothing else.
    let odd =
        r#"{"id":"a\nb","method":"tools/call","params":{"name":"x\"y","_meta":{"io.modelcontextprotocol/protocolVersion":1}}}"#;
    let call = RawCall::parse(odd.into()).unwrap();
    service.answer(call.request(&catalogue(), Caller::default())).await.unwrap();
    let line = sink.lines(&trail).await.remove(0);
    assert_eq!((&line["tool"], &line["known"], &line["request_id"]), (&json!("x\"y"), &json!(false), &json!("a\nb")));
}

/// Answers, fails, panics, hangs: by chance.
async fn moody(rng: Arc<Mutex<Rng>>, attempts: Arc<AtomicU64>) -> Result<Response<RawAnswer>, BoxError> {
    attempts.fetch_add(1, Ordering::Relaxed);
    let (mood, delay) = {
        let mut rng = rng.lock().unwrap();
        (rng.u8(..20), Duration::from_millis(rng.u64(..40)))
    };
    tokio::time::sleep(delay).await;
    match mood {
        0 => Err(Transport::not_sent("refused").into()),
        1 => Err(Transport::unknown("reset").into()),
        2 => std::future::pending().await,
        #[expect(clippy::panic, reason = "planted")]
        3 => panic!("planted"),
        _ => answer(),
    }
}

/// Random names, refusals, retries, timeouts, panics and callers who leave: one line for each call, its own, and the attempts
/// on record are those that were made.
#[tokio::test(start_paused = true)]
async fn every_call_is_on_record_once() {
    const CALLS: usize = 6000;
    let (sink, attempts) = (Memory::default(), Arc::new(AtomicU64::new(0)));
    let layer = AuditLayer::new(sink.clone()).unwrap();
    let trail = layer.handle();
    let fast = Quota::per_second(const { NonZeroU32::new(15).unwrap() });
    let stack =
        Stack::new().deadline(Limits::at_most(Duration::from_millis(500))).quota(QuotaLayer::new().per_tenant(fast)).audit(layer);
    let rng = Arc::new(Mutex::new(Rng::with_seed(5)));
    let service = stack.service(service_fn({
        let (rng, attempts) = (rng.clone(), attempts.clone());
        move |_: Request<RawMessage>| moody(rng.clone(), attempts.clone())
    }));
    let (catalogue, mut rng) = (catalogue(), Rng::with_seed(6));
    let (mut left, mut seen, mut outcomes) = (0, 0, BTreeMap::<String, usize>::new());
    // Attempts by callers who left, which nobody sees the end of; and those on record.
    let (mut unseen, mut recorded) = (0, 0);
    for n in 0..CALLS {
        tokio::time::sleep(Duration::from_millis(rng.u64(..40))).await;
        let tool = if rng.bool() { "known".to_owned() } else { format!("made up {n}") };
        let call = service.answer(message(&tool, &json!({})).request(&catalogue, Caller::default()));
        if rng.u8(..10) == 0 {
            let before = attempts.load(Ordering::Relaxed);
            if tokio::time::timeout(Duration::from_millis(rng.u64(..60)), call).await.is_err() {
                left += 1;
                unseen += attempts.load(Ordering::Relaxed) - before;
            }
        } else {
            call.await.unwrap();
        }
        if n % 1000 == 999 {
            for line in sink.lines(&trail).await {
                assert_eq!(line["seq"], seen);
                seen += 1;
                recorded += line["attempts"].as_u64().unwrap_or_default();
                *outcomes.entry(line["outcome"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!(seen, CALLS);
    assert_eq!(recorded + unseen, attempts.load(Ordering::Relaxed));
    assert_eq!(outcomes["cancelled"], left);
    for outcome in ["success", "rejected", "timeout", "panic", "unknown"] {
        assert!(outcomes.get(outcome).is_some_and(|count| *count > 10), "{outcomes:?}");
    }
    assert_eq!(trail.backlog(), 0);
}
